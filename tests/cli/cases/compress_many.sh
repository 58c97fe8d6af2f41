# shellcheck shell=sh
# numbers
# The run goes on after a model that failed and says so.
cp "$SOURCE/examples/lenet5.onnx" a.onnx
cp a.onnx c.onnx
echo 'not a model' >b.onnx
try vqc compress a.onnx c.onnx -o good/
vqc compress a.onnx b.onnx c.onnx missing.onnx -o out/ >table 2>errors
echo "exit $?"
cat table
grep -c '^vqc: b.onnx: ' errors
grep '^vqc: missing.onnx: ' errors
ls out
try vqc compress -q a.onnx c.onnx -o out/
try vqc compress -q --force a.onnx c.onnx -o out
try vqc compress missing.onnx a.onnx --dry-run
