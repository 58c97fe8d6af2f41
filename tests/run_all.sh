#!/bin/sh
# Runs the given make targets, each a test runner whose output ends with "N passed, N failed[, N skipped]"
# (criterion's own summary is understood too), and adds them up. A runner that fails without counting a
# failure, or ends without a summary, counts as one failure. Output is kept in $B/logs/RUNNER.log.
set -u
cd "$(dirname "$0")/.." || exit 1
B=${B:-build}
MAKE=${MAKE:-make}
logs=$B/logs
mkdir -p "$logs"
passed=0
failed=0
skipped=0
broken=

# "passed failed skipped" of a log, or nothing.
summary_of() {
    sed 's/\x1b\[[0-9;]*m//g' "$1" | awk '
        /^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$/ { p = $1; f = $3; s = ($6 == "skipped") ? $5 : 0; found = 1 }
        /Synthesis: Tested: / {
            for (i = 1; i < NF; i++) {
                if ($i == "Tested:") t = $(i + 1)
                if ($i == "Passing:") p = $(i + 1)
            }
            f = t - p; s = 0; found = 1
        }
        END { if (found) print p + 0, f + 0, s + 0 }'
}

for runner in "$@"; do
    log=$logs/$runner.log
    echo "==> $runner"
    start=$(date +%s)
    { $MAKE --no-print-directory B="$B" "$runner" </dev/null 2>&1; echo $? >"$log.status"; } | tee "$log"
    status=$(cat "$log.status")
    rm -f "$log.status"
    counts=$(summary_of "$log")
    if [ -z "$counts" ]; then
        echo "$runner: ended without a summary line (exit code $status)"
        counts="0 1 0"
    fi
    # shellcheck disable=SC2086
    set_counts() { p=$1 f=$2 s=$3; }
    # shellcheck disable=SC2086
    set_counts $counts
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then
        echo "$runner: exit code $status without a counted failure"
        f=1
    fi
    if [ "$f" -gt 0 ]; then
        broken="$broken $runner"
    fi
    passed=$((passed + p))
    failed=$((failed + f))
    skipped=$((skipped + s))
    echo "==> $runner: $p passed, $f failed, $s skipped in $(($(date +%s) - start)) s"
    echo
done
[ -z "$broken" ] || echo "failed runners:$broken (logs in $logs)"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
