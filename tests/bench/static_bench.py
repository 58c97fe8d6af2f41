"""Static int8 quantization: vqc beside ONNX Runtime's quantize_static in six settings, in one run.

For each model: seconds from start to written file, peak memory, bytes, output SQNR and top-1 by ONNX Runtime.
Like is compared with like: vqc once as a whole (configs/int8-static.yaml: it measures what helps, and verifies the
written model), and once per calibration method with a recipe that does what quantize_static does: ranges by that
method from all samples, int8 weights per channel, nothing searched, corrected or verified. quantize_static runs as its documentation says: quant_pre_process first, QDQ, minmax, entropy and percentile
calibration, per tensor and per channel. Both read the same calibration arrays from one npz file. Every line
is a process of its own, and this one stays small: a child starts with its parent's resident set as its peak.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, "..", ".."))
CALIBRATION_SAMPLES = 64
MODELS = ["mobilenetv2_fp32_dithered", "squeezenet1.0_fp32", "cifar_resnet_4b"]
METHODS = ["MinMax", "Entropy", "Percentile"]
SETTINGS = [(method, channel) for channel in (False, True) for method in METHODS]

# What quantize_static does, as a recipe.
SAME_WORK = """
version: 1
weights: {{codec: int, bits: 8, granularity: channel, symmetric: true}}
activations: static
static: {{format: qdq, type: uint8, operators: chains, observer: {observer}, weight_codes: int8,
         equalize: none, bias_correction: off{more}}}
verify: false
"""

# Runs in a process of its own: the calibration arrays of a model, [samples, ...] per input.
PREPARE = """
import os, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import common
name, target, samples = sys.argv[2], sys.argv[3], int(sys.argv[4])
model = next(model for model in common.all_models() if model.name == name)
if name in common.PICTURE_MODELS:
    common.LABELLED_SAMPLES = 4 * samples
    feeds, _, _ = model.feeds(True)
    feeds = feeds[1::4][:samples]
    arrays = {key: np.concatenate([feed[key] for feed in feeds]) for key in feeds[0]}
else:
    arrays = dict(np.load(os.path.join(model.zoo, "data", name + ".calib.npz")))
    arrays = {key: value[:samples] for key, value in arrays.items()}
np.savez(target, **arrays)
print(model.path)
"""

# The other tool, as a whole: imports, preprocessing, calibration, the written file.
QUANTIZE = """
import sys
import numpy as np
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
source, data, target, method, channel = sys.argv[1:6]

class Reader(CalibrationDataReader):
    def __init__(self):
        arrays = np.load(data)
        self.arrays = {key: arrays[key] for key in arrays.files}
        self.at = 0

    def get_next(self):
        i, self.at = self.at, self.at + 1
        if i >= len(next(iter(self.arrays.values()))):
            return None
        return {key: value[i:i + 1] for key, value in self.arrays.items()}

quant_pre_process(source, target + ".pre")
quantize_static(target + ".pre", target, Reader(), quant_format=QuantFormat.QDQ, per_channel=channel == "1",
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                calibrate_method=getattr(CalibrationMethod, method))
"""

# SQNR and top-1 of written files against the source: one JSON line per file.
SCORE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import common
name, samples, files = sys.argv[2], int(sys.argv[3]), sys.argv[4:]
model = next(model for model in common.all_models() if model.name == name)
common.LABELLED_SAMPLES = samples
feeds, labels, offset = model.feeds(True)
reference = common.run(model.path, feeds)
for file in files:
    try:
        outputs = common.run(file, feeds)
        print(json.dumps([common.worst_output_sqnr(reference, outputs),
                          common.accuracy(outputs, labels, offset) - common.accuracy(reference, labels, offset)]))
    except Exception as error:
        print(json.dumps([str(error)[:100], None]))
"""


def measure(command):
    """(seconds, peak resident bytes, exit code) of one command."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.monotonic() - start, usage.ru_maxrss * 1024, process.returncode


def script(text, *arguments):
    done = subprocess.run([sys.executable, "-c", text, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-1000:])
    return done.stdout.splitlines()


def vqc_command(options, path, data, folder, stem, recipe):
    return [options.vqc, "compress", path, "-c", recipe, "--calib", data, "-o", os.path.join(folder, stem + ".onnx"),
            "--force"]


def one_model(options, name):
    """Rows [method, what, seconds, peak bytes, file bytes, SQNR or why not, points of top-1]; the first is vqc's whole
    recipe, then one of vqc per method."""
    folder = os.path.join(options.work, name)
    oracle = os.path.join(ROOT, "tests", "oracle")
    data = os.path.join(folder, "calibration.npz")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    path = script(PREPARE, oracle, name, data, str(CALIBRATION_SAMPLES))[-1]
    rows, files = [], []
    commands = [(None, "vqc int8-static", "vqc", vqc_command(options, path, data, folder, "vqc",
                                                             os.path.join(ROOT, "configs", "int8-static.yaml")))]
    for method in METHODS:
        recipe = os.path.join(folder, method + ".yaml")
        with open(recipe, "w", encoding="utf-8") as file:
            more = ", percentile: 99.999" if method == "Percentile" else ""  # quantize_static's
            file.write(SAME_WORK.format(observer=method.lower(), more=more))
        commands.append((method, f"vqc {method.lower()}, the same work", "vqc-" + method,
                         vqc_command(options, path, data, folder, "vqc-" + method, recipe)))
    for method, channel in SETTINGS:
        stem = f"{method}-{int(channel)}"
        commands.append((method, f"quantize_static {method.lower()}, per {'channel' if channel else 'tensor'}", stem,
                         [sys.executable, "-c", QUANTIZE, path, data, os.path.join(folder, stem + ".onnx"), method,
                          str(int(channel))]))
    for method, what, stem, command in commands:
        target = os.path.join(folder, stem + ".onnx")
        seconds, peak, code = measure(command)
        if not os.path.exists(target):
            rows.append([method, what, seconds, peak, None, f"no file (exit code {code})", None])
            continue
        rows.append([method, what, seconds, peak, os.path.getsize(target), None, None])
        files.append((rows[-1], target))
    scores = script(SCORE, oracle, name, str(options.samples), *[target for _, target in files])
    for (row, _), line in zip(files, scores):
        row[5], row[6] = json.loads(line)
    shutil.rmtree(folder, ignore_errors=True)
    return rows


def show(name, rows):
    same = {row[0]: row for row in rows[:1 + len(METHODS)]}
    print(f"\n{name}, {CALIBRATION_SAMPLES} samples; times and memory also as multiples of vqc with the same work and "
          f"of vqc int8-static\n")
    print("| program | time | / same | / int8-static | peak memory | / same | / int8-static | file | output SQNR | "
          "top-1 |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for method, what, seconds, peak, size, sqnr, points in rows:
        quality = sqnr if isinstance(sqnr, str) else f"{sqnr:.1f} dB"
        print(f"| {what} | {seconds:.2f} s | {seconds / same[method][2]:.1f} | {seconds / rows[0][2]:.1f} | "
              f"{peak / 1e6:.0f} MB | {peak / same[method][3]:.1f} | {peak / rows[0][3]:.1f} | "
              f"{'-' if size is None else f'{size / 1e6:.2f} MB'} | {quality} | "
              f"{'-' if points is None else f'{points:+.1f}'} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vqc", default="build/vqc")
    parser.add_argument("--work", default="build/bench/static")
    parser.add_argument("--model", action="append", help="only this model (repeatable)")
    parser.add_argument("--samples", type=int, default=200, help="labelled samples that score the files")
    options = parser.parse_args()
    options.vqc = os.path.abspath(options.vqc)
    options.work = os.path.abspath(options.work)
    zoo = os.environ.get("VQC_ZOO") or os.path.join(ROOT, "..", "shared", "zoo")
    if not os.path.isdir(os.path.join(zoo, "models")):
        print("no zoo at $VQC_ZOO or ../shared/zoo: static quantization is not measured")
        return
    for name in options.model or MODELS:
        show(name, one_model(options, name))


if __name__ == "__main__":
    main()
