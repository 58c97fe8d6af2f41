# shellcheck shell=sh
# vqc eval: accuracy, distance to the original, JSON, and what is wrong.
cp "$SOURCE/examples/lenet5.onnx" a.onnx
cp "$SOURCE/examples/lenet5.eval.npz" data.npz
vqc compress -q a.onnx
try vqc eval a.onnx --data data.npz
try vqc eval a.onnx --ref a.onnx --data data.npz --samples 10
vqc eval a.int8.onnx --ref a.onnx -d data.npz --json -j 1 | grep -v time_ns >one.json
vqc eval a.int8.onnx --ref a.onnx -d data.npz --json -j 3 | grep -v time_ns >three.json
cmp one.json three.json && echo 'same figures at 1 and 3 threads'
python3 - <<'END'
import json
text = open("one.json").read().rstrip().rstrip("}").rstrip().rstrip(",") + "}"
report = json.loads(text)
print(sorted(report), report["format"], report["kind"], report["synthetic"])
print(sorted(report["accuracy"]) == sorted(report["ref_accuracy"]), sorted(report["outputs"][0]))
print(report["outputs"][0]["sqnr_db"] > 25, report["accuracy"]["top1"] > 0.9)
END
try vqc eval a.onnx -d synthetic
try vqc eval a.onnx --ref a.int8.onnx -d synthetic --samples 2
try vqc eval a.onnx -d data.npz --labels none.tsv
try vqc eval a.onnx -d data.npz --label-offset 9
try vqc eval a.onnx -d data.npz --label-offset x
try vqc eval a.onnx
try vqc eval a.onnx -d data.npz --reff a.onnx
