#!/bin/sh
# The same bytes at every thread count, on models large enough to be shared out: the thread sanitizer's main
# subject, and a quick check without Python. Ends with "N passed, N failed, N skipped".
set -u
cd "$(dirname "$0")/.." || exit 1
VQC=${VQC:-build/vqc}
zoo=${VQC_ZOO:-../shared/zoo}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0
skipped=0
compare() { # $1: model, $2: name of the settings, then the settings
    model=$1
    name=$2
    shift 2
    for jobs in 1 2 4 7; do
        if ! "$VQC" compress "$model" "$@" -o "$work/$jobs.onnx" --force -q -j "$jobs" 2>"$work/log"; then
            echo "FAIL $(basename "$model") $name -j $jobs:"
            sed 's/^/     /' "$work/log" | head -40
            failed=$((failed + 1))
            return
        fi
        if ! cmp "$work/1.onnx" "$work/$jobs.onnx"; then
            echo "FAIL $(basename "$model") $name: -j $jobs gives other bytes than -j 1"
            failed=$((failed + 1))
            return
        fi
    done
    echo "ok   $(basename "$model") $name"
    passed=$((passed + 1))
}
for model in examples/lenet5.onnx "$zoo/models/mnist_sigmoid_6x200.onnx" "$zoo/models/mobilenetv2_fp32_dithered.onnx"; do
    if [ ! -e "$model" ]; then
        echo "skip $(basename "$model"): not there"
        skipped=$((skipped + 1))
        continue
    fi
    compare "$model" "int8" -c configs/int8.yaml
    compare "$model" "int8 dynamic" -c configs/int8-dynamic.yaml
    compare "$model" "int4 block 32" -c configs/int4-block32.yaml
    compare "$model" "float16" -c configs/float16.yaml
    compare "$model" "int3, MSE range" --set weights.bits=3 --set weights.range=mse
    compare "$model" "int4, percentile range" --set weights.bits=4 --set weights.range=percentile
done
if [ -n "${VQC_DELIBERATE_FAILURE:-}" ]; then
    compare examples/lenet5.onnx "a deliberate failure" --set weights.bits=1
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
