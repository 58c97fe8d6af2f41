# shellcheck shell=sh
# A missed gate: exit code 5, a line on stderr for each, the file kept or removed.
cp "$SOURCE/examples/lenet5.onnx" a.onnx
vqc compress -q a.onnx --set gates.max_size_ratio=0.01 2>err
echo "exit $?"
sed -E 's/got [0-9.]+/got N/' err
ls
vqc compress -q --force a.onnx --set gates.max_size_ratio=0.01 --set gates.on_miss=remove_file -o removed.onnx 2>err
echo "exit $?"
ls
vqc compress a.onnx -o good.onnx --set gates.max_size_ratio=0.9 --set gates.min_weight_sqnr_db=1 >out
echo "exit $?"
grep gates out
vqc compress a.onnx -o bad.onnx --set gates.per_layer.min_weight_sqnr_db=200 >out 2>err
echo "exit $?"
grep gates out | sed -E 's/[0-9]+ time/N time/'
grep -c '^vqc: a.onnx: .*: gate per_layer.min_weight_sqnr_db missed: got .*, expected at least 200$' err
# A failed model counts for more than a missed gate.
vqc compress -q a.onnx missing.onnx -o out/ --set gates.max_size_ratio=0.01 2>/dev/null
echo "exit $?"
