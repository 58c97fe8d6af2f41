#!/bin/sh
# Installs into a folder, builds a small program against what was installed (shared and static, through
# pkg-config), runs it, and takes everything away again. Ends with "N passed, N failed".
set -u
cd "$(dirname "$0")/../.." || exit 1
B=${B:-build}
CC=${CC:-gcc}
MAKE=${MAKE:-make}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=/opt/vqc-check
root=$work/root$prefix
passed=0
failed=0
check() { # $1: name, then a command
    name=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        echo "ok   $name"
        passed=$((passed + 1))
    else
        echo "FAIL $name"
        sed 's/^/     /' "$work/log" | tail -20
        failed=$((failed + 1))
    fi
}
run_make() { $MAKE --no-print-directory B="$B" DESTDIR="$work/root" PREFIX=$prefix "$@"; }

# The folder is not where vqc.pc says it will be: pkg-config moves the prefix.
export PKG_CONFIG_PATH="$root/lib/pkgconfig"
config() { pkg-config --define-variable=prefix="$root" "$@" vqc; }

have_all() {
    for file in bin/vqc lib/libvqc.a lib/libvqc.so lib/libvqc.so.0 include/vqc.h lib/pkgconfig/vqc.pc \
        share/man/man1/vqc.1 share/bash-completion/completions/vqc share/vqc/configs/int8.yaml; do
        [ -e "$root/$file" ] || { echo "missing: $file"; return 1; }
    done
}
soname() { objdump -p "$root/lib/libvqc.so" | grep -q 'SONAME *libvqc\.so\.0$'; }
exports() { # exactly the functions of the public header
    nm -D --defined-only "$root/lib/libvqc.so" | awk '{ print $3 }' | sort >"$work/exported"
    # The compiler's own reading of the header, not another pattern over its text.
    printf '#include <vqc.h>\n' | $CC -I"$root/include" -E -P -x c - | tr -s '\n ' ' ' |
        grep -oE '(^|[^a-z0-9_])vqc_[a-z0-9_]+ ?\(' | grep -oE 'vqc_[a-z0-9_]+' | sort -u >"$work/declared"
    [ -s "$work/declared" ] && diff "$work/declared" "$work/exported"
}
shared_build() {
    # shellcheck disable=SC2046
    $CC -std=c17 -Wall -Wextra -Werror -o "$work/shared" tests/install/client.c $(config --cflags --libs)
}
static_build() {
    # Only vqc itself from its archive; the system's libraries as they come.
    # shellcheck disable=SC2046
    $CC -std=c17 -Wall -Wextra -Werror -o "$work/static" tests/install/client.c \
        $(config --static --cflags --libs | sed "s|-lvqc|$root/lib/libvqc.a|")
}
needs_library() { ldd "$work/shared" | grep -q 'libvqc\.so\.0 => '"$root"; }
no_library() { ! ldd "$work/static" | grep -q libvqc; }
model=examples/lenet5.onnx
client() { "$1" "$model" "$work/$2.onnx" && [ -s "$work/$2.onnx" ]; }
same_output() { cmp "$work/shared.onnx" "$work/static.onnx" && cmp "$work/shared.onnx" "$work/cli.onnx"; }
header_cxx() {
    command -v g++ >/dev/null 2>&1 || { echo "no g++"; return 0; }
    printf '#include <vqc.h>\nint main() { return vqc_version() == nullptr; }\n' |
        g++ -I"$root/include" -fsyntax-only -Wall -Wextra -Werror -x c++ -
}
installed_program() { "$root/bin/vqc" --version && "$root/bin/vqc" compress "$model" -o "$work/cli.onnx"; }
completion() {
    bash -c '. "$1" && complete -p vqc' check "$root/share/bash-completion/completions/vqc"
}
empty_again() { [ -z "$(find "$work/root" -type f -o -type l)" ]; }

check "make install" run_make install
check "everything is installed" have_all
check "the shared library's name" soname
check "exported functions are those of vqc.h" exports
check "a program with the shared library" shared_build
check "a program with the static library" static_build
export LD_LIBRARY_PATH="$root/lib"
check "the first needs libvqc.so.0" needs_library
check "the second does not" no_library
check "the first runs" client "$work/shared" shared
check "the second runs" client "$work/static" static
check "the installed program runs" installed_program
check "all three wrote the same file" same_output
check "the header is fit for C++" header_cxx
check "the completion loads" completion
check "make uninstall" run_make uninstall
check "nothing is left" empty_again
[ -z "${VQC_DELIBERATE_FAILURE:-}" ] || check "a deliberate failure" false
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
