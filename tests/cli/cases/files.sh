# shellcheck shell=sh
# Inputs that are none, outputs that cannot be.
model=$SOURCE/examples/lenet5.onnx
cp "$model" a.onnx
try vqc compress missing.onnx
try vqc compress .
try vqc compress /dev/null
try vqc compress a.onnx -o nowhere/a.onnx
try vqc compress a.onnx -o a.onnx/small.onnx
try vqc compress a.onnx -o a.onnx/
try vqc compress a.onnx --report nowhere/r.json
# Nothing is replaced without --force.
echo precious >a.int8.onnx
try vqc compress a.onnx
cat a.int8.onnx
try vqc compress -q --force a.onnx
try vqc compress a.onnx -o a.onnx
ln -s a.onnx link.onnx
try vqc compress a.onnx -o link.onnx
cmp "$model" a.onnx && echo 'the model is as it was'
try vqc compress -q --force a.onnx -o a.onnx
cmp a.onnx a.int8.onnx && echo 'the model was replaced'
echo "left behind:" *
