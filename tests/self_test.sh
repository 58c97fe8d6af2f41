#!/bin/sh
# Proves that each runner can fail: with VQC_DELIBERATE_FAILURE set every one has a case that must fail, and
# here that is what passes. Ends with "N passed, N failed".
set -u
cd "$(dirname "$0")/.." || exit 1
B=${B:-build}
VENV=${VENV:-build/venv}
VQC=${VQC:-$PWD/$B/vqc}
MAKE=${MAKE:-make}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0
must_fail() { # $1: name, $2: what the output must hold, then a command that must exit non-zero
    name=$1
    sign=$2
    shift 2
    if "$@" >"$work/log" 2>&1 </dev/null; then
        echo "FAIL $name: did not fail"
        failed=$((failed + 1))
    elif ! grep -qE "$sign" "$work/log"; then
        echo "FAIL $name: failed, but not by the case that was to fail ($sign):"
        tail -n 10 "$work/log" | sed 's/^/     /'
        failed=$((failed + 1))
    else
        echo "ok   $name can fail"
        passed=$((passed + 1))
    fi
}
deliberate() { env VQC_DELIBERATE_FAILURE=1 "$@"; }

# The driver: a runner that fails, one that lies about it, one without a summary, one that passes.
cat >"$work/Makefile" <<'EOT'
good:
	@echo "2 passed, 0 failed"
bad:
	@echo "1 passed, 2 failed, 3 skipped"; exit 1
liar:
	@echo "5 passed, 0 failed"; exit 1
silent:
	@true
EOT
drive() { env MAKE="$MAKE -f $work/Makefile" B="$work" tests/run_all.sh "$@"; }
must_fail "run_all (a failing runner)" '^3 passed, 2 failed, 3 skipped$' drive good bad
must_fail "run_all (exit code without a count)" '^7 passed, 1 failed, 0 skipped$' drive good liar
must_fail "run_all (no summary)" '^2 passed, 1 failed, 0 skipped$' drive good silent
must_fail "run_all (no such runner)" '^2 passed, 1 failed, 0 skipped$' drive good nothing

# The include rules: one breach of each kind.
breach() { # $1: file, $2: line
    rm -rf "$work/tree"
    mkdir -p "$work/tree/$(dirname "$1")"
    printf '%s\n' "$2" >"$work/tree/$1"
    tools/check_includes.sh "$work/tree"
}
must_fail "include rules (core -> formats)" 'core/a.c:1' breach core/a.c '#include "formats/npy.h"'
must_fail "include rules (kernels -> core)" 'kernels/a.c:1' breach kernels/a.c '#include "core/error.h"'
must_fail "include rules (formats -> cli)" 'formats/a.h:1' breach formats/a.h '#include "cli/args.h"'
must_fail "include rules (not from the root)" 'core/a.c:1' breach core/a.c '#include "error.h"'
must_fail "include rules (intrinsics)" 'core/a.c:1' breach core/a.c '#include <immintrin.h>'
must_fail "include rules (libyaml)" 'formats/a.c:1' breach formats/a.c '#include <yaml.h>'
must_fail "include rules (BLAS)" 'core/a.c:1' breach core/a.c '#include <cblas.h>'
must_fail "include rules (ONNX header)" 'cli/a.c:1' breach cli/a.c '#include <onnx/onnx.pb-c.h>'
must_fail "include rules (exit)" 'core/a.c:1' breach core/a.c 'void f(void) { exit(1); }'
must_fail "include rules (printing)" 'core/a.c:1' breach core/a.c 'void f(void) { printf("x"); }'
must_fail "include rules (files)" 'kernels/a.c:1' breach kernels/a.c 'void f(void) { fopen("x", "r"); }'

# The runners.
must_fail "lint" 'FAIL a deliberate failure' deliberate tools/lint.sh --light
must_fail "unit" 'deliberate' deliberate "$B/unit-tests"
must_fail "kernels" '^[0-9]+ passed, [1-9][0-9]* failed' "$B/test_kernels" --break f32_absmax
must_fail "cli" '^0 passed, [1-9][0-9]* failed' tests/cli/run.sh -d tests/cli/failing "$VQC"
must_fail "threads" 'deliberate' deliberate env VQC="$VQC" VQC_ZOO=/nowhere tests/threads.sh
must_fail "oracles" 'deliberate' deliberate env B="$B" VENV="$VENV" \
    tests/oracle/run_tests.sh tests/oracle/test_npz.py
must_fail "fuzz replay" 'deliberate' deliberate env B="$B" tests/fuzz/replay.sh
must_fail "install" 'deliberate' deliberate env MAKE="$MAKE" B="$B" tests/install/run.sh
must_fail "faults" 'FAIL a deliberate failure' deliberate "$VENV/bin/python" tests/faults/run.py \
    --vqc "$VQC" --failalloc "$B/failalloc.so" --only none
must_fail "conformance" 'a deliberate failure' deliberate "$VENV/bin/python" tests/conformance/run.py \
    --vqc "$VQC" --work "$work/conformance" --limit 20
must_fail "conformance (executor)" 'run: got .* has "a deliberate failure"' deliberate "$VENV/bin/python" \
    tests/conformance/run.py --vqc "$VQC" --work "$work/conformance" --limit 20
must_fail "zoo executor" '^FAIL lenet5:' deliberate env B="$B" MAKE="$MAKE" "$VENV/bin/python" \
    tests/oracle/test_zoo_exec.py lenet5
must_fail "zoo" 'bytes_after' deliberate "$VENV/bin/python" tests/oracle/zoo_run.py \
    --vqc "$VQC" --work "$work/zoo" --model lenet5 --recipe int8 --processes 1
if [ -d "${VQC_ZOO:-../shared/zoo}" ]; then # it has no case without the models
    must_fail "static zoo" 'iris_mlp +int8-static' deliberate "$VENV/bin/python" tests/oracle/static_zoo.py \
        --vqc "$VQC" --work "$work/static-zoo" --model iris_mlp --recipe int8-static --processes 1
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
