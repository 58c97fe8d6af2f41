#!/bin/sh
# Installs what a task needs and is not there yet, and says what it does. Safe to run again.
#   tools/setup.sh [build] [test] [python] [dev]
# build: compile vqc; test: run the tests; python: the oracle environment ($VENV, default build/venv);
# dev: clang's sanitizers and fuzzing. Default: build. Linux distributions other than Debian and its
# relatives get the list of what is missing.
set -eu
cd "$(dirname "$0")/.."
VENV=${VENV:-build/venv}

have_header() {
    printf '#include <%s>\n' "$1" | ${CC:-gcc} -E -x c - >/dev/null 2>&1
}

# One line per need: group, Debian package, a command that succeeds when it is there.
needs() {
    cat <<'NEEDS'
build gcc command -v gcc
build libc6-dev have_header stdlib.h
build pkg-config command -v pkg-config
build protobuf-c-compiler command -v protoc-c
build libprotobuf-c-dev pkg-config --exists libprotobuf-c
build libonnx-dev test -e /usr/include/onnx/onnx.proto
build libyaml-dev pkg-config --exists yaml-0.1
build libcjson-dev pkg-config --exists libcjson
build zlib1g-dev pkg-config --exists zlib
build libpng-dev pkg-config --exists libpng
build libjpeg-dev pkg-config --exists libjpeg
test libcriterion-dev have_header criterion/criterion.h
test libsimde-dev have_header simde/x86/avx512.h
test gcc-aarch64-linux-gnu command -v aarch64-linux-gnu-gcc
test libc6-dev-arm64-cross test -e /usr/aarch64-linux-gnu/include/stdlib.h
test qemu-user command -v qemu-aarch64
test python3 command -v python3
test python3-venv python3 -c 'import ensurepip, venv'
test util-linux command -v setpriv
test git command -v git
test clang-format command -v clang-format
test shellcheck command -v shellcheck
test mandoc command -v mandoc
dev clang command -v clang
dev clang-tidy command -v clang-tidy
dev libomp-dev ls /usr/lib/llvm-*/lib/libarcher.so
NEEDS
}

missing_packages() {
    needs | while read -r group package probe; do
        case " $* " in *" $group "*) ;; *) continue ;; esac
        eval "$probe" >/dev/null 2>&1 </dev/null || printf '%s ' "$package"
    done
}

install_packages() {
    missing=$(missing_packages "$@")
    if [ -z "$missing" ]; then
        echo "setup: everything for '$*' is installed"
        return
    fi
    missing=${missing% }
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "setup: missing (Debian package names): $missing" >&2
        echo "setup: there is no apt-get here; install their counterparts and run this again" >&2
        exit 1
    fi
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        # A password can be asked for on a terminal only.
        if command -v sudo >/dev/null 2>&1 && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
            as_root="sudo "
        else
            echo "setup: packages are missing; run this as root, then start again:" >&2
            echo "    apt-get update && apt-get install -y --no-install-recommends $missing" >&2
            exit 1
        fi
    fi
    echo "setup: installing $missing"
    echo "setup: ${as_root}apt-get update && ${as_root}apt-get install -y --no-install-recommends $missing"
    # The words of $as_root and $missing are meant to be split.
    # shellcheck disable=SC2086
    { ${as_root}apt-get update -q </dev/null &&
        ${as_root}env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -q --no-install-recommends $missing </dev/null; } || {
        echo "setup: apt-get failed; to do this by hand:" >&2
        echo "    apt-get update && apt-get install -y --no-install-recommends $missing" >&2
        exit 1
    }
    missing=$(missing_packages "$@")
    if [ -n "$missing" ]; then
        echo "setup: still missing after the installation: $missing" >&2
        exit 1
    fi
}

install_python() {
    stamp=$VENV/.requirements
    if [ -x "$VENV/bin/python" ] && cmp -s tests/oracle/requirements.txt "$stamp"; then
        echo "setup: the Python environment $VENV is up to date"
        return
    fi
    echo "setup: making the Python environment $VENV (onnx, onnxruntime, numpy, pillow)"
    [ -x "$VENV/bin/python" ] || python3 -m venv "$VENV"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
        -r tests/oracle/requirements.txt </dev/null
    "$VENV/bin/python" -c 'import numpy, onnx, onnxruntime, PIL'
    cp tests/oracle/requirements.txt "$stamp"
}

[ $# -gt 0 ] || set -- build
groups=
python=
for group in "$@"; do
    case $group in
        build | test | dev) groups="$groups $group" ;;
        python) python=yes ;;
        *)
            echo "setup: unknown task \"$group\", expected build, test, python or dev" >&2
            exit 2
            ;;
    esac
done
# shellcheck disable=SC2086
[ -z "$groups" ] || install_packages $groups
[ -z "$python" ] || install_python
