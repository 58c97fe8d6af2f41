#!/bin/sh
# Style and structure checks; `--light` leaves out those that take more than a second.
# Ends with "N passed, N failed, N skipped"; exit code 1 on a failure.
set -u
cd "$(dirname "$0")/.." || exit 1
light=no
[ "${1:-}" != --light ] || light=yes
passed=0
failed=0
skipped=0

# Files of the project that fit the patterns: what git knows or would add; without git (an unpacked
# archive) whatever is there, but for what was built.
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    files() {
        git ls-files --cached --others --exclude-standard -- "$@" | sort -u |
            while IFS= read -r f; do [ -f "$f" ] && echo "$f"; done
    }
else
    files() {
        for pattern in "$@"; do
            case $pattern in
            */*) find . -path ./build -prune -o -type f -path "./$pattern" -print ;;
            *) find . -path ./build -prune -o -type f -name "$pattern" -print ;;
            esac
        done | sed 's|^\./||' | sort -u
    }
fi
[ -n "$(files '*.c')" ] || { echo "lint: no sources found"; echo "0 passed, 1 failed"; exit 1; }

# The same without inputs that are bad on purpose.
sources() { files "$@" | grep -v '^tests/fuzz/corpus/'; }

check() { # $1: name, then a command that prints what is wrong and exits non-zero
    name=$1
    shift
    if output=$("$@" 2>&1); then
        echo "ok   $name"
        passed=$((passed + 1))
    else
        echo "FAIL $name"
        printf '%s\n' "$output" | sed 's/^/     /' | head -60
        failed=$((failed + 1))
    fi
}
check_with() { # $1: program that must be there, then as check()
    if command -v "$1" >/dev/null 2>&1; then
        shift
        check "$@"
    else
        echo "skip $2 ($1 is not installed)"
        skipped=$((skipped + 1))
    fi
}

formatting() { files '*.c' '*.h' | xargs -r clang-format --dry-run -Werror; }
lengths() {
    files '*.c' '*.h' '*.py' '*.sh' '*.mk' Makefile | xargs -r awk '
        FNR == 1 { name = FILENAME }
        { lines[FILENAME] = FNR }
        END { for (f in lines) if (lines[f] > 800) { print f ": " lines[f] " lines, wanted at most 800"; bad = 1 } exit bad }'
}
names() { # file names are unique, so that a name in a message or an index finds one file
    twice=$(files '*.c' '*.h' | sed 's|.*/||' | sort | uniq -d)
    [ -z "$twice" ] || { echo "file names used twice: $twice"; return 1; }
}
guards() {
    bad=0
    for header in $(files 'cli/*.h' 'core/*.h' 'formats/*.h' 'kernels/*.h'); do
        grep -q '^#ifndef VQC_' "$header" || grep -q 'X-macro' "$header" ||
            { echo "$header: no include guard VQC_..."; bad=1; }
    done
    return $bad
}
headers_alone() { # every header compiles by itself, but for those that need an instruction set or a type
    bad=0
    flags=$(pkg-config --cflags libprotobuf-c yaml-0.1 libcjson zlib)
    for header in $(files 'cli/*.h' 'core/*.h' 'core/**/*.h' 'formats/*.h' 'kernels/*.h' | grep -v -e '^kernels/simd_' -e '_simd\.h$' -e '_body\.h$' -e '_bodies\.h$' -e '_avx2\.h$' -e '_avx512\.h$' -e '_neon\.h$'); do
        # shellcheck disable=SC2086
        echo "#include \"$header\"" | ${CC:-gcc} -std=c17 -D_GNU_SOURCE -fsyntax-only -fopenmp -I. \
            -isystem "${B:-build}/gen" $flags -x c - || bad=1
    done
    return $bad
}
spaces() { ! sources '*.c' '*.h' '*.py' '*.sh' '*.mk' '*.yaml' '*.md' Makefile | xargs -r grep -nE '[[:space:]]+$'; }
leftovers() {
    # Put together from pieces so that this line does not find itself.
    words="TO""DO|FIX""ME|XX""X|HA""CK"
    ! files '*.c' '*.h' '*.py' '*.sh' '*.mk' '*.yaml' Makefile | xargs -r grep -nE "(^|[^A-Za-z])($words)([^A-Za-z]|$)"
}
machine_words() {
    words="/wor""k/|/ho""me/|/ro""ot/|/opt/whe""els|localho""st:[0-9]"
    ! files '*.c' '*.h' '*.py' '*.sh' '*.mk' '*.yaml' '*.md' '*.1' '*.bash' Makefile .ci/run | xargs -r grep -nE "$words"
}
shell_scripts() { files '*.sh' .ci/run | xargs -r shellcheck; }
python_syntax() {
    files '*.py' | xargs -r python3 -c '
import ast, sys
for name in sys.argv[1:]:
    ast.parse(open(name, encoding="utf-8").read(), name)'
}
manual() { files '*.1' | xargs -r mandoc -T lint -W warning; }
executable() {
    bad=0
    for script in $(files '*.sh' .ci/run); do
        head -n 1 "$script" | grep -q '^#!' || continue
        [ -x "$script" ] || { echo "$script is not executable"; bad=1; }
    done
    return $bad
}

check "include rules" tools/check_includes.sh
check "files of at most 800 lines" lengths
check "unique file names" names
check "include guards" guards
check "no trailing blanks" spaces
check "nothing left open in the sources" leftovers
check "no machine names" machine_words
check "scripts are executable" executable
if [ "$light" = no ]; then
    check_with clang-format "clang-format" formatting
    [ ! -e "${B:-build}/gen/onnx/onnx.pb-c.h" ] || check "headers stand alone" headers_alone
    check_with shellcheck "shellcheck" shell_scripts
    check_with mandoc "manual page" manual
    check_with python3 "Python files" python_syntax
fi
if [ -n "${VQC_DELIBERATE_FAILURE:-}" ]; then
    check "a deliberate failure" false
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
