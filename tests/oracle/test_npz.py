"""NumPy as the oracle of formats/npz: test_npz.py [PATH_OF_NPZ_COPY].

Archives of every dtype, byte order and memory order that NumPy writes go through tests/oracle/npz_copy.c
(read by our reader, written by our writer) and come back through NumPy. Without an argument the tool is
compiled into a temporary folder. Prints "N passed, N failed"; exit code 1 when something failed.
"""

import io
import os
import subprocess
import sys
import tempfile
import zipfile

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCES = ["tests/oracle/npz_copy.c", "formats/npy.c", "formats/npz.c", "formats/npz_archive.c",
           "formats/npz_file.c", "formats/npz_member.c", "formats/npz_write.c", "formats/file_output.c",
           "formats/file_util.c", "core/error.c", "core/memory.c", "core/dtype.c"]
TYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"]
SHAPES = [(), (0,), (1,), (7,), (3, 5), (0, 4), (2, 3, 4), (2, 1, 3, 2, 2), (128, 784)]


def build_tool(folder):
    tool = os.path.join(folder, "npz_copy")
    subprocess.run([os.environ.get("CC", "cc"), "-std=c17", "-D_GNU_SOURCE", "-O1", "-I.", *SOURCES, "-o",
                    tool, "-lz"], cwd=ROOT, check=True)
    return tool


def make_arrays(rng):
    arrays = {}
    for code in TYPES:
        for shape in SHAPES:
            for swap in ("<", ">"):
                for order in ("C", "F"):
                    count = int(np.prod(shape))
                    if code == "b1":
                        values = rng.integers(0, 2, count).astype(bool)
                    else:
                        raw = rng.bytes(count * int(code[1]))
                        values = np.frombuffer(raw, dtype=swap + code)
                    name = f"{code}/{'x'.join(map(str, shape))} {swap}{order} ä"
                    arrays[name] = np.array(values.reshape(shape), order=order)
    return arrays


def same_bits(a, b):
    little = a.astype(a.dtype.newbyteorder("<"), copy=False)
    return (a.shape == b.shape and little.dtype == b.dtype and
            little.tobytes(order="C") == b.tobytes(order="C"))


class Unseekable(io.RawIOBase):
    """A stream that zipfile cannot seek in, so that sizes go into data descriptors."""

    def __init__(self, file):
        self.file = file

    def writable(self):
        return True

    def write(self, data):
        return self.file.write(data)

    def flush(self):
        self.file.flush()


def write_with_descriptors(path, arrays):
    with open(path, "wb") as file, zipfile.ZipFile(Unseekable(file), "w", zipfile.ZIP_DEFLATED) as out:
        for name, array in arrays.items():
            with out.open(name + ".npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array)


def main():
    passed = failed = 0
    rng = np.random.default_rng(1)
    arrays = make_arrays(rng)
    with tempfile.TemporaryDirectory() as folder:
        tool = sys.argv[1] if len(sys.argv) > 1 else build_tool(folder)
        source = os.path.join(folder, "in.npz")
        target = os.path.join(folder, "out.npz")
        writers = {
            "savez": lambda: np.savez(source, **arrays),
            "savez_compressed": lambda: np.savez_compressed(source, **arrays),
            "data descriptors": lambda: write_with_descriptors(source, arrays),
        }
        for writer, write in writers.items():
            for method in ("stored", "deflated"):
                write()
                run = subprocess.run([tool, source, target, method], capture_output=True, text=True,
                                     check=False)
                if run.returncode != 0:
                    failed += 1
                    print(f"FAIL {writer}, {method}: exit {run.returncode}: {run.stderr.strip()}")
                    continue
                with zipfile.ZipFile(target) as out:
                    damaged = out.testzip()
                back = np.load(target)
                wrong = [n for n in arrays if n not in back.files or not same_bits(arrays[n], back[n])]
                if damaged or wrong or len(back.files) != len(arrays):
                    failed += 1
                    print(f"FAIL {writer}, {method}: damaged {damaged}, wrong {wrong[:5]}")
                else:
                    passed += 1
        np.savez(source, objects=np.array([{}, None], dtype=object))
        run = subprocess.run([tool, source, target, "stored"], capture_output=True, text=True, check=False)
        if run.returncode == 3 and "objects.npy" in run.stderr and "'|O'" in run.stderr:
            passed += 1
        else:
            failed += 1
            print(f"FAIL objects: exit {run.returncode}: {run.stderr.strip()}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
