# shellcheck shell=sh
# All problems of a recipe at once, each with its place.
cp "$SOURCE/examples/lenet5.onnx" a.onnx
cat >bad.yaml <<'END'
version: 1
weights:
  codec: int
  bits: 7
  granularty: channel
gates:
  max_size_ratio: 2
END
try vqc compress a.onnx -c bad.yaml
printf 'version: 1\nweights: [\n' >broken.yaml
try vqc compress a.onnx -c broken.yaml
try vqc compress a.onnx -c missing.yaml
try vqc compress a.onnx -c .
try vqc compress a.onnx --set weights.bits=9 --set weight.bits=4 --set weights
echo "left behind:" *
