# shellcheck shell=sh
# The batch script of examples/ci: good, gate missed, failed, nothing to do.
script=$SOURCE/examples/ci/compress-all.sh
export VQC
mkdir models empty
cp "$SOURCE/examples/lenet5.onnx" models/a.onnx
cp models/a.onnx 'models/b c.onnx'
show() { sed -E 's/ +/ /g; s/-{10,}/---/; s/[0-9][0-9,.]*(%| m?s)?/N/g'; }
run() {
    "$script" "$@" >out 2>err
    echo "exit $?"
    show <out
    show <err
}
run models small
ls small
python3 -c 'import json; d = json.load(open("small/report.json")); print(d["exit_code"], len(d["models"]))'
# A build runs again over its old results.
run models small
sed 's/max_size_ratio: .*/max_size_ratio: 0.01/' "$SOURCE/examples/ci/gates.yaml" >hard.yaml
run models small hard.yaml -q
echo 'not a model' >models/bad.onnx
"$script" models small "$SOURCE/examples/ci/gates.yaml" -q >out 2>err
echo "exit $?"
tail -n 1 err
ls small
run empty small
run models
# The recipes in the text are the ones that work.
sed -n '/^    gates:/,/^$/s/^    //p' "$SOURCE/examples/ci/README.md" | sed '1i version: 1' >readme.yaml
vqc compress models/a.onnx -c readme.yaml --dry-run >/dev/null && echo 'README gates: fine'
