# shellcheck shell=sh
# JSON on stdout and in a file is valid and the same; errors are in it too.
cp "$SOURCE/examples/lenet5.onnx" a.onnx
echo 'not a model' >b.onnx
check() { python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$@"; }
vqc compress a.onnx --json --report r.json >out.json || echo "exit $?"
cmp out.json r.json && echo same
check r.json 'd["format"], "error" in d'
vqc compress a.onnx b.onnx --force --json >many.json 2>errors
echo "exit $?"
wc -l <errors
check many.json 'd["format"], d["exit_code"], len(d["models"])'
check many.json '["error" in m for m in d["models"]], d["models"][1]["input"], d["models"][1]["exit_code"]'
vqc compress b.onnx --json >bad.json 2>errors
echo "exit $?"
check bad.json 'd["input"], d["exit_code"], d["error"].startswith("b.onnx: ")'
vqc report a.onnx --json >report.json || echo "exit $?"
check report.json 'd["format"]'
vqc compress a.onnx --force -q --set report.file=set.json && check set.json 'd["format"]'
vqc compress a.onnx --force -q --report /dev/full
echo "exit $?"
# Names need no help to stay valid JSON.
odd=$(printf 'a"\\\t\001\377.onnx')
vqc compress "$odd" --json 2>/dev/null >odd.json
echo "exit $?"
check odd.json 'ascii(d["input"])'
