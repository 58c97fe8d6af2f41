#!/bin/sh
# Tests of the command line: runs each cases/NAME.sh in an empty folder and compares its transcript with
# cases/NAME.expected.
#
#     tests/cli/run.sh [-u] [-d FOLDER] [PROGRAM [NAME...]]
#
# -u   write the transcripts as the new expected files instead of comparing
# -d   cases from another folder
# PROGRAM is build/vqc when not given. The last line is "N passed, N failed"; the exit code is 1 after a failure.
#
# A case is a shell script that calls
#     try COMMAND...     runs it; shows the command, its stdout, its stderr behind "! " and its exit code
# and may print more. $VQC is the program, also reachable as vqc; $SOURCE the project's folder. Times and memory
# become TIME and MEMORY; in a case with a line "# numbers" every number becomes N.
set -u

folder=$(cd "$(dirname "$0")" && pwd) || exit 1
SOURCE=$(cd "$folder/../.." && pwd) || exit 1
cases=$folder/cases
update=no
self_test=yes
while getopts ud: option; do
    case $option in
    u) update=yes ;;
    d)
        cases=$(cd "$OPTARG" && pwd) || exit 1
        self_test=no
        ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))

program=${1:-$SOURCE/build/vqc}
[ $# -gt 0 ] && shift
VQC=$(cd "$(dirname "$program")" && pwd)/$(basename "$program")
if [ ! -x "$VQC" ]; then
    echo "tests/cli: $VQC is missing; build it first" >&2
    exit 1
fi
export VQC SOURCE
export LC_ALL=C TERM=xterm
unset COLUMNS NO_COLOR OMP_NUM_THREADS

work=$(mktemp -d) || exit 1
trap 'chmod -R u+w "$work" 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
mkdir "$work/bin" && ln -s "$VQC" "$work/bin/vqc" || exit 1

cat >"$work/prelude.sh" <<'PRELUDE'
PATH=$TEST_WORK/bin:$PATH
try() {
    printf '$ %s\n' "$*"
    try_code=0
    "$@" >"$TEST_WORK/stdout" 2>"$TEST_WORK/stderr" </dev/null || try_code=$?
    cat "$TEST_WORK/stdout"
    sed 's/^/! /' "$TEST_WORK/stderr"
    printf '[exit %d]\n\n' "$try_code"
}
PRELUDE

# Takes out of a transcript what differs between machines and runs.
normalise() {
    sed -E -e "s|$work/run|FOLDER|g" -e "s|$SOURCE|SOURCE|g" \
        -e 's/\b[0-9]+(\.[0-9]+)? (ms|s)\b/TIME/g' -e 's/\b[0-9]+ min [0-9]+ s\b/TIME/g' \
        -e 's/^(  memory +).*/\1MEMORY/' \
        -e 's/^vqc [0-9]+\.[0-9]+\.[0-9]+$/vqc VERSION/' -e 's/^kernels: .*/kernels: .../' \
        -e 's/(here:|has no .*, only) [a-z0-9, ]+/\1 .../'
}

# The same for cases that should not change with every byte of the format; columns move with their numbers.
drop_numbers() {
    sed -E -e '/^\[?exit /b' -e 's/failed \(([0-9]+)\)/failed (code_\1)/' \
        -e 's/\b([0-9]{1,3}(,[0-9]{3})+|[0-9]+(\.[0-9]+)?(e[-+][0-9]+)?)\b/N/g' -e 's/  +/  /g' \
        -e 's/-{10,}/----------/' -e 's/ +$//' -e 's/\bN ([kMG]?B)\b/N B/g'
}

passed=0
failed=0
run_case() {
    name=$1
    expected=$cases/$name.expected
    rm -rf "$work/run"
    mkdir "$work/run"
    (
        cd "$work/run" || exit 1
        export TEST_WORK="$work"
        cat "$work/prelude.sh" "$cases/$name.sh" >"$work/script.sh"
        sh -u "$work/script.sh"
    ) >"$work/raw" 2>"$work/raw_stderr" </dev/null
    code=$?
    [ -s "$work/raw_stderr" ] && sed 's/^/!! /' "$work/raw_stderr" >>"$work/raw"
    [ "$code" -eq 0 ] || echo "script failed: $code" >>"$work/raw"
    normalise <"$work/raw" >"$work/actual"
    if grep -q '^# numbers$' "$cases/$name.sh"; then
        drop_numbers <"$work/actual" >"$work/plain"
        mv "$work/plain" "$work/actual"
    fi
    if [ "$update" = yes ]; then
        cp "$work/actual" "$expected"
    fi
    if [ -f "$expected" ] && diff -u "$expected" "$work/actual" >"$work/diff" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED $name"
        if [ -f "$expected" ]; then cat "$work/diff"; else echo "no file $expected"; fi
    fi
}

if [ $# -gt 0 ]; then
    for name in "$@"; do
        run_case "$name"
    done
else
    for case_file in "$cases"/*.sh; do
        run_case "$(basename "$case_file" .sh)"
    done
    # Every case in failing/ is wrong: this runner must say so, each time.
    if [ "$self_test" = yes ]; then
        wrong=$(find "$folder/failing" -name '*.sh' | wc -l)
        report=$("$0" -d "$folder/failing" "$VQC") && code=0 || code=$?
        if [ "$code" -eq 1 ] && [ "$(echo "$report" | tail -n 1)" = "0 passed, $((wrong)) failed" ]; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
            echo "FAILED: the runner did not notice cases that must fail (exit $code):"
            echo "$report"
        fi
    fi
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
