# shellcheck shell=sh
# vqc run: figures, written outputs, and what is wrong.
cp "$SOURCE/examples/lenet5.onnx" a.onnx
cp "$SOURCE/examples/lenet5.eval.npz" data.npz
try vqc run a.onnx -i data.npz --samples 3
try vqc run a.onnx --input data.npz --samples 20 -o out.npz
try vqc run a.onnx --input data.npz -o out.npz
vqc run a.onnx -i data.npz --samples 20 -j 1 -o one.npz >/dev/null && cmp out.npz one.npz && echo 'same bytes with one thread'
vqc run a.onnx -i data.npz --samples 2 --profile | grep -c 'Conv'
try vqc run a.onnx -i synthetic --samples 1 -o y.pb
try vqc run a.onnx -i data.npz -o y.pb --force
try vqc run a.onnx -i data.npz -o y.txt
python3 - <<'END'
import io, struct, zipfile
# an array of a wrong shape under a wrong name
header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"
header += b" " * (-(len(header) + 11) % 64) + b"\n"
data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 24
with zipfile.ZipFile("wrong.npz", "w") as archive:
    archive.writestr("nothing.npy", data)
END
try vqc run a.onnx -i wrong.npz
try vqc run a.onnx -i missing.npz
mkdir empty
try vqc run a.onnx -i empty
try vqc run missing.onnx -i data.npz
try vqc run a.onnx
try vqc run a.onnx -i data.npz --image crop=3
try vqc run a.onnx -i data.npz --image size=3
try vqc run a.onnx -i data.npz --image resize=0
try vqc run a.onnx -i x=data.npz
try vqc run a.onnx -i nothing=y.pb
try vqc run -i data.npz
try vqc run a.onnx -i data.npz --samples 0
ls
