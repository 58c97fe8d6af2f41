# shellcheck shell=sh
# numbers
cp "$SOURCE/examples/lenet5.onnx" a.onnx
vqc compress -q a.onnx
try vqc report a.onnx
try vqc report a.int8.onnx --ref a.onnx
try vqc report a.int8.onnx --ref a.onnx --sort error --top 2
try vqc report a.onnx --csv
vqc report a.int8.onnx --ref a.onnx --csv >table.csv
python3 - <<'END'
import csv, os
rows = list(csv.DictReader(open("table.csv")))
print("adds up:", sum(int(r["bytes"]) for r in rows) == os.path.getsize("a.int8.onnx"))
print("measured:", all(float(r["sqnr_db"]) > 20 for r in rows if r["kind"] == "weight" and r["stored_as"].startswith("int8")))
END
