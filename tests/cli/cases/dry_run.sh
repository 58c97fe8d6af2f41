# shellcheck shell=sh
# A dry run tells the exact size and writes nothing.
cp "$SOURCE/examples/lenet5.onnx" a.onnx
chmod a-w a.onnx
for recipe in int8 int8-dynamic int4-block32 float16 mixed; do
    planned=$(vqc compress a.onnx --dry-run -c "$SOURCE/configs/$recipe.yaml" | sed -n 's/^  after *\([0-9,]*\) bytes.*/\1/p' | tr -d ,)
    ls
    vqc compress -q a.onnx -c "$SOURCE/configs/$recipe.yaml" -o real.onnx || echo "exit $?"
    [ "$planned" = "$(wc -c <real.onnx)" ] && echo "$recipe: as planned" || echo "$recipe: planned $planned, got $(wc -c <real.onnx)"
    rm real.onnx
done
vqc compress a.onnx --dry-run -o new/ | head -n 1
vqc compress a.onnx a.onnx --dry-run
vqc compress a.onnx --dry-run --set report.file=r.json >/dev/null && ls
