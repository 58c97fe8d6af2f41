#!/bin/sh
# Runs tests/oracle/test_*.py (or those given), which compare single parts with NumPy, onnx and ONNX Runtime,
# and adds their closing lines up.
set -u
cd "$(dirname "$0")/../.." || exit 1
VENV=${VENV:-build/venv}
B=${B:-build}
passed=0
failed=0
skipped=0
[ -z "${VQC_DELIBERATE_FAILURE:-}" ] || {
    echo "FAIL a deliberate failure"
    failed=1
}
scripts=${*:-tests/oracle/test_*.py}
for script in $scripts; do
    log=$B/$(basename "$script" .py).log
    case $script in
        */test_opset.py) set -- --tool "$B/opset_tool" --work "$B/opset-test" ;;
        *) set -- ;;
    esac
    "$VENV/bin/python" "$script" "$@" >"$log" 2>&1
    code=$?
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' "$log" | tail -n 1)
    echo "$(basename "$script"): ${line:-no summary, exit code $code}"
    numbers=$(printf '%s\n' "${line:-0 passed, 1 failed}" | tr -c '0-9\n' ' ')
    # shellcheck disable=SC2086
    set -- $numbers 0
    passed=$((passed + $1))
    failed=$((failed + $2))
    skipped=$((skipped + $3))
    [ "$code" -eq 0 ] || tail -n 40 "$log"
    [ "$code" -eq 0 ] || [ "$2" -gt 0 ] || failed=$((failed + 1))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
