# shellcheck shell=sh
# Pruned models: zeros are not stored, a dry run foretells the bytes, and reports say what it gained.
cp "$SOURCE/examples/lenet5.onnx" m.onnx

sizes() { # the bytes of the dry run, of the report and of the file
    said=$(vqc compress m.onnx "$@" --dry-run | sed -n 's/^  after *\([0-9,]*\) bytes.*/\1/p' | tr -d ,)
    vqc compress m.onnx "$@" -o out.onnx --force -q || echo "failed"
    real=$(wc -c <out.onnx)
    dense=$(wc -c <m.onnx)
    test "$said" -eq "$real" || echo "$*: the dry run said $said, the file has $real"
    echo "$*" | sed "s|$SOURCE/||"
    echo "  $real of $dense bytes"
}

sizes -c "$SOURCE/configs/prune-50.yaml"
sizes -c "$SOURCE/configs/prune-50.yaml" --set weights.sparse=off
sizes -c "$SOURCE/configs/prune-50.yaml" --set prune.sparsity=0.9
sizes -c "$SOURCE/configs/prune-50.yaml" --set prune.sparsity=0.01
sizes -c "$SOURCE/configs/prune-50.yaml" --set prune.pattern=2:4
sizes -c "$SOURCE/configs/prune-int8.yaml"
sizes -c "$SOURCE/configs/prune-int8.yaml" --set prune.sparsity=0.9
sizes -c "$SOURCE/configs/prune-vq.yaml"

cat >half.yaml <<END
version: 1
weights: {codec: float16}
prune: {sparsity: 0.5}
END
sizes -c half.yaml
try vqc compress m.onnx -c half.yaml -o half.onnx
try vqc compress m.onnx -c half.yaml --set prune.sparsity=0.05 -o most.onnx
try vqc report half.onnx --ref m.onnx

# zeros that are in the model already, without pruning
cat >zeros.yaml <<END
version: 1
weights: {codec: keep, sparse: on}
END
vqc compress m.onnx -c "$SOURCE/configs/prune-50.yaml" --set weights.sparse=off -o zeros.onnx -q
vqc compress m.onnx -c "$SOURCE/configs/prune-50.yaml" -o sparse.onnx -q
vqc compress zeros.onnx -c zeros.yaml -o again.onnx -q
cmp sparse.onnx again.onnx && echo "the same file"
vqc report again.onnx --ref zeros.onnx | grep "  fc"
