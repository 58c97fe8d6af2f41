# shellcheck shell=sh
# numbers
# Integer activations: samples by --calib and --eval, the calibration cache, and what is wrong with requests.
model=$SOURCE/examples/lenet5.onnx
calib=$SOURCE/examples/lenet5.calib.npz
eval=$SOURCE/examples/lenet5.eval.npz
recipe=$SOURCE/configs/int8-static.yaml
vqc compress "$model" -c "$recipe" --calib "$calib" --eval "$eval" -o a.onnx --calib-cache c.json \
    --report r.json >out
echo "exit $?"
grep -E '^  (integers|output|accuracy|       )' out
grep -c 'most noise arises in' out
grep -o '"verification":' r.json
vqc compress "$model" -c "$recipe" --calib "$calib" -o b.onnx --calib-cache c.json -v >out
echo "exit $?"
grep -E 'kept apart of|from the calibration cache' out
cmp a.onnx b.onnx && echo same
cp "$calib" no.json
try vqc compress "$model" -c "$recipe" --calib "$calib" -o x.onnx --calib-cache no.json
sed 's/"fingerprint":\(.*\)"[0-9a-f]*"/"fingerprint":\1"0123456789abcdef"/' c.json >other.json
vqc compress "$model" -c "$recipe" --calib "$calib" -o x.onnx --calib-cache other.json 2>err
echo "exit $?"
grep -c 'the calibration of another model' err
try vqc compress "$model" b.onnx -c "$recipe" --calib "$calib" -o out/ --calib-cache c.json
try vqc compress "$model" -c "$recipe" -o x.onnx
try vqc compress "$model" -c "$recipe" --calib missing.npz -o x.onnx
try vqc compress "$model" --set gates.min_cosine=0.9 -o x.onnx
vqc compress -q "$model" --set gates.min_output_sqnr_db=190 --eval "$eval" -o g.onnx 2>/dev/null
echo "exit $?"
try vqc compress -q "$model" --set gates.min_accuracy=50 --eval synthetic -o x.onnx
# What integer layers do otherwise than a key or the standard says.
vqc compress "$model" -c "$recipe" --calib "$calib" -o p.onnx --set weights.pattern=foldable -v | grep 'weights.pattern holds'
vqc compress "$model" -c "$SOURCE/configs/int16-static.yaml" --calib "$calib" -o w.onnx --set target.operators=standard -v |
    grep 'of com.microsoft'
ls
