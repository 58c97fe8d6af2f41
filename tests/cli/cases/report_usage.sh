# shellcheck shell=sh
try vqc report
try vqc report a.onnx b.onnx
try vqc report a.onnx --reff b.onnx
try vqc report a.onnx --ref
try vqc report a.onnx --sort size
try vqc report a.onnx --sort error
try vqc report a.onnx --top some
try vqc report a.onnx --json --csv
try vqc report a.onnx --json --top 3
try vqc report missing.onnx
try vqc report .
cp "$SOURCE/examples/lenet5.onnx" a.onnx
try vqc report a.onnx --ref missing.onnx
