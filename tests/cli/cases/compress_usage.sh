# shellcheck shell=sh
model=$SOURCE/examples/lenet5.onnx
cp "$model" a.onnx
cp "$model" b.onnx
try vqc compress
try vqc compress --confg x.yaml a.onnx
try vqc compress --frobnicate a.onnx
try vqc compress -x a.onnx
try vqc compress --re=x a.onnx --c
try vqc compress a.onnx -c
try vqc compress a.onnx --output
try vqc compress a.onnx --json=yes
try vqc compress a.onnx -j 0
try vqc compress a.onnx --jobs=many
try vqc compress a.onnx -j 99999999999999999999
try vqc compress a.onnx --cpu=mmx
try vqc compress a.onnx -c x.yaml -c y.yaml
try vqc compress a.onnx -q -v
try vqc compress a.onnx ''
try vqc compress a.onnx -o ''
# Files that would get in each other's way.
try vqc compress a.onnx b.onnx -o c.onnx
try vqc compress a.onnx ./a.onnx
mkdir sub
cp "$model" sub/a.onnx
try vqc compress a.onnx sub/a.onnx -o out/
cp "$model" a.int8.onnx
try vqc compress a.onnx a.int8.onnx --force
try vqc compress a.onnx --report a.onnx
try vqc compress a.onnx -c "$SOURCE/configs/int8.yaml" --report "$SOURCE/configs/int8.yaml"
echo "left behind:" *
cmp "$model" a.onnx
