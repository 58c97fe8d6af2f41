# shellcheck shell=sh
# Bytes that are no ONNX model: exit code 3, one line, nothing written.
: >empty.onnx
echo 'this is not a model' >text.onnx
head -c 100000 "$SOURCE/examples/lenet5.onnx" >short.onnx
head -c 1000 /dev/zero >zero.onnx
for name in empty text short zero; do
    code=0
    vqc compress $name.onnx >out 2>err || code=$?
    echo "$name: exit $code, $(wc -l <out) lines of output, $(grep -c "^vqc: $name.onnx: ." err) of $(wc -l <err) lines of errors"
    code=0
    vqc report $name.onnx >out 2>err || code=$?
    echo "$name: exit $code, $(wc -l <out) lines of output, $(grep -c "^vqc: $name.onnx: ." err) of $(wc -l <err) lines of errors"
done
rm out err
echo "left behind:" *
