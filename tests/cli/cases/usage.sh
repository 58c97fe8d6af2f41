# shellcheck shell=sh
# What is wrong, the nearest right word, exit code 2.
try vqc
try vqc frobnicate
try vqc comprss
try vqc --hlep
try vqc -x
try vqc model.onnx
try vqc help nothing
try vqc help compress report
