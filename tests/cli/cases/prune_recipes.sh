# shellcheck shell=sh
# The shipped pruning recipes with calibration data: exit codes, the share of zeros in the JSON report, and what is
# refused.
cp "$SOURCE/examples/lenet5.onnx" m.onnx
calib=$SOURCE/examples/lenet5.calib.npz
check() { python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$@"; }

with() { # options: compress with the samples, and what came out
    echo "$*" | sed "s|$SOURCE/||"
    vqc compress m.onnx --calib "$calib" "$@" -o out.onnx --force --json >r.json
    echo "exit $?"
}

layers='[l for l in d["layers"] if l.get("zeros", 0) > 0]'
for name in prune-50 prune-int8 prune-vq; do
    with -c "$SOURCE/configs/$name.yaml"
    check r.json "len($layers) > 0, d['weight_zeros'] >= sum(l['zeros'] for l in $layers)"
    check r.json "all(abs(l['sparsity'] - l['zeros'] / l['elements']) < 1e-9 for l in $layers)"
    check r.json "'for what they see' in ' '.join(d['notes'])"
    test "$(wc -c <out.onnx)" -lt "$(wc -c <m.onnx)" && echo smaller
done
with -c "$SOURCE/configs/prune-50.yaml"
check r.json "sorted(set(round(l['sparsity'], 3) for l in $layers))"
with -c "$SOURCE/configs/prune-50.yaml" --set prune.pattern=2:4
check r.json "sorted(set(round(l['sparsity'], 2) for l in $layers))"
with -c "$SOURCE/configs/prune-channels.yaml"
check r.json "d.get('weight_zeros', 0) < 100, 'channels' in ' '.join(d['notes'])"
test "$(wc -c <out.onnx)" -lt "$(wc -c <m.onnx)" && echo smaller

cat >target.yaml <<END
version: 1
weights: {codec: keep}
prune: {target: {output_sqnr_db: 25}}
END
with -c target.yaml
check r.json "[float(n.split('(')[1].split(' dB')[0]) >= 25 for n in d['notes'] if 'SQNR of 25.0 dB' in n]"

# without samples
try vqc compress m.onnx -c target.yaml -o out.onnx --force
try vqc compress m.onnx -c "$SOURCE/configs/prune-50.yaml" --set prune.score=obs -o out.onnx --force
# keys that do not fit
for key in sparsity=1.5 sparsity=-1 pattern=5:4 pattern=2:100 pattern=some score=best scope=model threshold=-1; do
    try vqc compress m.onnx -c "$SOURCE/configs/prune-50.yaml" --set "prune.$key" -o out.onnx --force
done
try vqc compress m.onnx --set prune.pattern=block --set prune.sparsity=0.5 -o out.onnx --force
try vqc compress m.onnx --set prune.sparsity=0.5 --set prune.threshold=0.1 -o out.onnx --force
