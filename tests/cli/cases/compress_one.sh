# shellcheck shell=sh
# numbers
cp "$SOURCE/examples/lenet5.onnx" lenet5.onnx
try vqc compress lenet5.onnx
try vqc compress lenet5.onnx -v --force
try vqc compress lenet5.onnx -c "$SOURCE/configs/float16.yaml"
try vqc compress lenet5.onnx --set weights.bits=4 -o four.onnx
try vqc compress lenet5.onnx -o made/here/
echo "left behind:" * made/here/*
# Same bytes at every thread count and with every kernel.
for option in -j1 -j2 --cpu=c; do
    vqc compress -q lenet5.onnx -o again.onnx $option --force && cmp again.onnx lenet5.int8.onnx && echo "$option: same bytes"
done
