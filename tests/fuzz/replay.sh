#!/bin/sh
# Replays tests/fuzz/corpus/NAME/* through $B/replay/NAME for every fuzz target and adds the results up.
set -u
cd "$(dirname "$0")/../.." || exit 1
B=${B:-build}
passed=0
failed=0
for source in tests/fuzz/fuzz_*.c; do
    name=$(basename "$source" .c)
    name=${name#fuzz_}
    output=$(find "tests/fuzz/corpus/$name" -type f -print0 2>/dev/null | sort -z |
        xargs -0 "$B/replay/$name" 2>"$B/replay/$name.log")
    code=$?
    line=$(printf '%s\n' "$output" | tail -n 1)
    p=${line%% passed*}
    f=${line#*passed, }
    f=${f%% failed*}
    case "$p$f" in
        '' | *[!0-9]*)
            echo "FAIL $name: no summary, exit code $code"
            p=0
            f=1
            ;;
    esac
    echo "$name: $line"
    if [ "$f" -gt 0 ]; then
        printf '%s\n' "$output" | grep '^FAIL'
        tail -n 30 "$B/replay/$name.log"
    fi
    passed=$((passed + p))
    failed=$((failed + f))
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
