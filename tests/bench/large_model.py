"""Time and memory on a model of 1 GiB: vqc beside cp and beside ONNX Runtime's own tools, in one run.

The model is sixteen 4096 x 4096 float32 MatMuls, written here from a seed. Every line says whether the
bound was met; the exit code is 1 when one was missed and --strict is given.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time

SIDE = 4096
LAYERS = 16
GIB = 1 << 30

# Sizes of the work on one layer beside the model itself: its float weights, their codes, their decoding.
LAYER_WORKING_SET = SIDE * SIDE * (4 + 4 + 1)

TOOL = """
import sys
import onnxruntime.quantization as q
source, target = sys.argv[2:4]
if sys.argv[1] == "dynamic":
    q.quantize_dynamic(source, target, per_channel=True)
else:
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    quantizer = MatMulNBitsQuantizer(onnx.load(source), bits=4, block_size=32, is_symmetric=True)
    quantizer.process()
    quantizer.model.save_model_to_file(target, False)
"""


def write_model(path):
    """Inline weights, under the 2 GB limit of one protobuf message.

    Runs in a process of its own: a child starts with its parent's resident set as its peak, so the
    process that measures has to stay small.
    """
    import numpy as np
    from onnx import TensorProto, helper
    rng = np.random.default_rng(1)
    nodes, tensors = [], []
    for i in range(LAYERS):
        weights = rng.standard_normal((SIDE, SIDE), dtype=np.float32) * np.float32(0.02)
        tensors.append(helper.make_tensor(f"w{i}", TensorProto.FLOAT, weights.shape, weights.tobytes(), raw=True))
        nodes.append(helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"], name=f"matmul{i}"))
    graph = helper.make_graph(nodes, "large", [helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["n", SIDE])],
                              [helper.make_tensor_value_info(f"x{LAYERS}", TensorProto.FLOAT, ["n", SIDE])], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with open(path + ".tmp", "wb") as stream:
        stream.write(model.SerializeToString())
    os.replace(path + ".tmp", path)


def measure(command, output):
    """(seconds, peak resident bytes, output bytes) of a command, with the output removed before."""
    for file in (output, output + ".data"):
        if os.path.exists(file):
            os.unlink(file)
    start = time.monotonic()
    with open(os.devnull, "rb") as nothing, open(os.path.join(os.path.dirname(output), "log.txt"), "wb") as log:
        process = subprocess.Popen(command, stdin=nothing, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - start
    if process.returncode != 0:
        tail = open(log.name, encoding="utf-8", errors="replace").read()[-500:]
        sys.exit(f"{' '.join(command[:4])} ...: exit code {process.returncode}\n{tail}")
    size = sum(os.path.getsize(file) for file in (output, output + ".data") if os.path.exists(file))
    return seconds, usage.ru_maxrss * 1024, size


def best(command, output, repeats):
    """The fastest of some runs; the peak is the largest."""
    runs = [measure(command, output) for _ in range(repeats)]
    return min(run[0] for run in runs), max(run[1] for run in runs), runs[-1][2]


def import_seconds(python, code):
    """What starting Python and importing the tool costs, to be taken off its time."""
    start = time.monotonic()
    subprocess.run([python, "-c", code], check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return time.monotonic() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vqc", default="build/vqc")
    parser.add_argument("--work", default="build/bench")
    parser.add_argument("--strict", action="store_true", help="exit code 1 when a bound is missed")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write-model", metavar="FILE", help="only write the model")
    options = parser.parse_args()
    if options.write_model:
        write_model(options.write_model)
        return
    os.makedirs(options.work, exist_ok=True)
    if shutil.disk_usage(options.work).free < 6 * GIB:
        sys.exit(f"{options.work}: needs 6 GiB of free space")
    source = os.path.join(options.work, "large.onnx")
    target = os.path.join(options.work, "out.onnx")
    if not os.path.exists(source) or os.path.getsize(source) < GIB:
        print(f"writing {source}", flush=True)
        subprocess.run([sys.executable, __file__, "--write-model", source], check=True)
    size = os.path.getsize(source)
    with open(source, "rb") as stream:  # into the page cache
        while stream.read(1 << 24):
            pass

    rows = {}

    def row(name, command, repeats, spent=0.0):
        seconds, peak, bytes_out = best(command, target, repeats)
        rows[name] = (seconds - spent, peak, bytes_out)
        print(f"{name:34} {seconds - spent:8.2f} s  peak {peak / GIB:6.2f} GiB  output {bytes_out / GIB:5.2f} GiB",
              flush=True)

    print(f"model: {LAYERS} MatMuls of {SIDE} x {SIDE} float32, {size / GIB:.2f} GiB; warm page cache")
    compress = [options.vqc, "compress", source, "-o", target, "--force", "-q"]
    row("cp", ["cp", source, target], options.repeats)
    row("vqc int8 per channel", compress, options.repeats)
    row("vqc int4 MatMulNBits block 32",
        compress + ["--set", "weights.bits=4", "--set", "weights.granularity=block", "--set", "weights.block_size=32",
                    "--set", "target.operators=onnxruntime"], options.repeats)
    python = sys.executable
    spent = import_seconds(python, "import onnxruntime.quantization")
    row("onnxruntime quantize_dynamic", [python, "-c", TOOL, "dynamic", source, target], 1, spent)
    row("onnxruntime MatMulNBits 4-bit", [python, "-c", TOOL, "nbits", source, target], 1, spent)
    for file in (target, target + ".data"):
        if os.path.exists(file):
            os.unlink(file)

    missed = 0

    def verdict(text, value, bound, good):
        nonlocal missed
        missed += not good
        print(f"{'met   ' if good else 'MISSED'} {text}: {value} (wanted {bound})")

    copy = rows["cp"][0]
    int8, int4 = rows["vqc int8 per channel"], rows["vqc int4 MatMulNBits block 32"]
    limit = 1.3 * size + LAYER_WORKING_SET
    for name, result in (("int8", int8), ("int4", int4)):
        verdict(f"{name} peak memory", f"{result[1] / GIB:.2f} GiB", f"at most {limit / GIB:.2f} GiB",
                result[1] <= limit)
    verdict("int8 time against cp", f"{int8[0] / copy:.2f} x", "at most 3 x", int8[0] <= 3 * copy)
    dynamic, nbits = rows["onnxruntime quantize_dynamic"][0], rows["onnxruntime MatMulNBits 4-bit"][0]
    verdict("int8 against quantize_dynamic", f"{dynamic / int8[0]:.1f} x faster", "at least 10 x",
            dynamic >= 10 * int8[0])
    verdict("int4 against MatMulNBits", f"{nbits / int4[0]:.1f} x faster", "at least 3 x", nbits >= 3 * int4[0])
    sys.exit(1 if missed and options.strict else 0)


if __name__ == "__main__":
    main()
