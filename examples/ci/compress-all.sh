#!/bin/sh
# Compresses every model of a folder under the gates of a recipe; a step of a build.
#
#     compress-all.sh MODELS OUT [RECIPE [OPTION...]]
#
# MODELS   folder with .onnx files
# OUT      folder for the smaller models and for report.json; made when it is missing
# RECIPE   a recipe with gates (default: gates.yaml beside this script)
# OPTION   passed on to vqc compress, for example -j 4
#
# $VQC names the program (default: vqc on the PATH). The exit code is that of vqc: 0 when every model
# was written within its gates, 5 when one missed a gate, 2 to 4 when one could not be compressed.
set -u

usage() {
    echo "usage: compress-all.sh MODELS OUT [RECIPE [OPTION...]]" >&2
    exit 2
}

[ $# -ge 2 ] || usage
models=$1
out=$2
shift 2
recipe=$(dirname -- "$0")/gates.yaml
if [ $# -gt 0 ]; then
    recipe=$1
    shift
fi
case $models in -*) models=./$models ;; esac
case $out in -*) out=./$out ;; esac

found=0
for model in "$models"/*.onnx; do
    [ -f "$model" ] || continue
    found=$((found + 1))
    set -- "$@" "$model"
done
if [ "$found" -eq 0 ]; then
    echo "compress-all.sh: $models: no .onnx file in this folder" >&2
    exit 3
fi

code=0
"${VQC:-vqc}" compress -c "$recipe" -o "$out/" --report "$out/report.json" --force "$@" || code=$?

case $code in
0) echo "compress-all.sh: $found of $found models are within their gates; results: $out/report.json" ;;
5) echo "compress-all.sh: a gate was missed; results: $out/report.json" >&2 ;;
*) echo "compress-all.sh: failed with exit code $code" >&2 ;;
esac
exit "$code"
