#!/bin/sh
# Keeps the folders' include rules:
#   cli -> core/vqc.h, core, formats · formats -> core · core -> kernels, generated ONNX header · kernels -> libc
# and the one place of each library: intrinsics in kernels/, libyaml in formats/recipe_yaml*.c, BLAS in
# core/blas.c, the generated ONNX header in core/ and formats/. `core` never touches files, terminal or exit.
# Usage: tools/check_includes.sh [ROOT]. Prints each breach as file:line: text.
set -u
cd "${1:-$(dirname "$0")/..}" || exit 1
# The right-hand side of a pipe is a subshell, so breaches are counted in a file.
marks=$(mktemp)
trap 'rm -f "$marks"' EXIT

complain() { # $1: rule, stdin: breaches
    while IFS= read -r line; do
        printf '%s [%s]\n' "$line" "$1"
        echo x >>"$marks"
    done
}

# Project includes of a folder that are not among the allowed ones. $1: folder, $2: allowed first folders
project_includes() {
    [ -d "$1" ] || return 0
    grep -rnE --include='*.[ch]' '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$1" |
        grep -vE "\"($2)/[a-zA-Z0-9_/.-]+\"" | complain "$1 may include $2 only, from the project root"
}
project_includes cli 'core|formats|cli'
project_includes formats 'core|formats'
project_includes core 'core|kernels'
project_includes kernels 'kernels'

# $1: pattern of a header, $2: extended pattern of the files that may include it, $3: rule
only_in() {
    for dir in cli formats core kernels; do
        [ -d "$dir" ] && grep -rnE --include='*.[ch]' \
            "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]($1)" "$dir"
    done | grep -vE "^($2)" | complain "$3"
}
only_in '([a-z0-9]*intrin|arm_neon|arm_sve|cpuid)\.h' 'kernels/' 'intrinsics in kernels/ only'
only_in 'simde/' 'kernels/' 'SIMDe in kernels/ only'
only_in 'yaml\.h' 'formats/recipe_yaml[a-z0-9_]*\.[ch]:' 'libyaml in formats/recipe_yaml*.c only'
only_in '(cblas|lapacke?|openblas/.*)\.h' 'core/blas\.c:' 'BLAS and LAPACK in core/blas.c only'
only_in 'onnx/' '(core|formats)/' 'the generated ONNX header in core/ and formats/ only'
only_in '(cJSON|cjson/cJSON)\.h' 'formats/' 'JSON in formats/ only'
only_in '(zlib|png|jpeglib)\.h' 'formats/' 'zlib and images in formats/ only'
only_in '(getopt|termios|sys/ioctl)\.h' 'cli/' 'arguments and terminal in cli/ only'
# kernels/ know libc and the processor: no other library.
grep -rnE --include='*.[ch]' '^[[:space:]]*#[[:space:]]*include[[:space:]]*<' kernels 2>/dev/null |
    grep -vE '<(assert|ctype|errno|float|inttypes|limits|math|stdalign|stdatomic|stdbool|stddef|stdint|stdio|stdlib|string|time|unistd)\.h>|<([a-z0-9]*intrin|arm_neon|cpuid)\.h>|<simde/|<sys/auxv\.h>|<asm/hwcap\.h>' |
    complain 'kernels include libc and intrinsics only'

# Calls that have their place. $1: pattern, $2: folders, $3: rule
no_calls() {
    for dir in $2; do
        [ -d "$dir" ] && grep -rnE --include='*.c' "(^|[^a-zA-Z0-9_\"])($1)[[:space:]]*\(" "$dir"
    done | grep -vE '^[^:]*:[0-9]+:[[:space:]]*(\*|/\*|//)' | complain "$3"
}
no_calls 'exit|_exit|_Exit|abort|quick_exit' 'core formats kernels' 'only cli/ ends the program'
no_calls 'printf|fprintf|puts|putchar|perror|vprintf|vfprintf' 'core kernels' 'only cli/ prints'
no_calls 'printf|puts|putchar|perror|vprintf' 'formats' 'only cli/ prints'
no_calls 'fopen|open|openat|mmap|fwrite|fread|rename|unlink' 'core kernels' 'only formats/ touches files'
no_calls 'malloc|calloc|realloc|free|aligned_alloc|posix_memalign' 'kernels' 'kernels do not allocate'

if [ -s "$marks" ]; then
    echo "include rules: $(wc -l <"$marks") breaches"
    exit 1
fi
