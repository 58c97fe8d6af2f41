# shellcheck shell=sh
# vqc stats: what calibration caches hold, and joining them.
model=$SOURCE/examples/lenet5.onnx
calib=$SOURCE/examples/lenet5.calib.npz
vqc compress -q "$model" -c "$SOURCE/configs/int8-static.yaml" --calib "$calib" -o x.onnx --calib-cache a.json --set calibrate.samples=8 \
    --set target.output_sqnr_db=0
vqc compress -q "$model" -c "$SOURCE/configs/int8-static.yaml" --calib "$calib" -o y.onnx --calib-cache b.json --set calibrate.samples=16 \
    --set target.output_sqnr_db=0
try vqc stats a.json
try vqc stats a.json b.json -o both.json
try vqc stats -q a.json b.json -o both.json
try vqc stats -q a.json b.json -o both.json --force
# What was joined is a calibration like any other.
vqc compress "$model" -c "$SOURCE/configs/int8-static.yaml" --calib "$calib" -o z.onnx --calib-cache both.json >out
echo "exit $?"
grep -c 'from the calibration cache' out
# In any order, the moving averages aside.
vqc stats -q b.json a.json -o other.json
grep -v average_ both.json >first.txt && grep -v average_ other.json >second.txt && cmp first.txt second.txt && echo same
sed 's/"fingerprint":\(.*\)"[0-9a-f]*"/"fingerprint":\1"0123456789abcdef"/' b.json >stranger.json
try vqc stats a.json stranger.json -o x.json
try vqc stats a.json a.json
try vqc stats
try vqc stats a.json --force
try vqc stats missing.json
try vqc stats "$model"
try vqc stats a.json --outptu x.json
ls
# Values that were not finite are named.
sed '0,/"nan": *0/s//"nan": 7/' a.json >nan.json
vqc stats nan.json | awk '/NaN/ || $NF == 7'
vqc compress "$model" -c "$SOURCE/configs/int8-static.yaml" --calib "$calib" -o nan.onnx --calib-cache nan.json -v --set calibrate.samples=8 >out
grep NaN out
