"""Time of core/exec against ONNX Runtime on the zoo's models: exec_speed.py [--threads 1,2] [--rounds N] [--profile N]
[--batch N] [--cpu-time] [MODEL...].

Both run the same random inputs of the model's shapes (free dimensions: --batch for the first, 1 or a given size
otherwise); measurements alternate and the best of all rounds counts. Prints one line per model and thread count: vqc
ms, ONNX Runtime ms, ratio. --cpu-time: for one thread, processor time of that thread instead of elapsed time (both), so
that a machine that others use does not decide. Needs the oracle environment and a built libvqc.a (make B=...).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ZOO = os.environ.get("VQC_ZOO", os.path.join(ROOT, "..", "shared", "zoo"))
BUILD = os.environ.get("B", "build")
MODELS = ("squeezenet1.0_fp32", "mobilenetv2_fp32_dithered", "yolox_nano", "cifar_resnet_4b", "ultraface_rfb_320", "pfld",
          "super_resolution_10", "mnist_sigmoid_6x200", "mnist-8", "magika_v3_3", "cifar_vit_ibp_3_3_8", "fns_mosaic",
          "ppocr_v3_det", "dnsmos_sig_bak_ovr", "basic_pitch", "aidreams_llama_233k", "capp_gpt", "tinytimemixer_etth1")
SIZES = {"ppocr_v3_det": [1, 3, 320, 320], "basic_pitch": [1, 43844, 1], "super_resolution_10": [1, 1, 224, 224],
         "dnsmos_sig_bak_ovr": [1, 144160], "tinytimemixer_etth1": [1, 512, 7]}

ort.set_default_logger_severity(4)


def build_tool(folder):
    tool = os.path.join(folder, "exec_time")
    subprocess.run([os.environ.get("CC", "cc"), "-std=c17", "-D_GNU_SOURCE", "-O2", "-I.", f"-I{BUILD}/gen",
                    "tests/bench/exec_time.c", f"{BUILD}/libvqc.a", "-o", tool, "-fopenmp", "-lprotobuf-c", "-lyaml",
                    "-lcjson", "-lz", "-lm"], cwd=ROOT, check=True)
    return tool


def make_inputs(path, name, batch):
    """{input: array} of the model's shapes."""
    graph = onnx.load(path, load_external_data=False).graph
    stored = {tensor.name for tensor in graph.initializer}
    rng = np.random.default_rng(1)
    feeds = {}
    for value in graph.input:
        if value.name in stored:
            continue
        kind = value.type.tensor_type
        dims = [d.dim_value if d.HasField("dim_value") else 1 for d in kind.shape.dim]
        if dims and not kind.shape.dim[0].HasField("dim_value"):
            dims[0] = batch
        if name in SIZES and len(dims) == len(SIZES[name]):
            dims = [batch if batch > 1 and i == 0 else n for i, n in enumerate(SIZES[name])]
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if np.issubdtype(dtype, np.integer):
            feeds[value.name] = rng.integers(0, 2, dims).astype(dtype)
        else:
            feeds[value.name] = rng.standard_normal(dims).astype(dtype)
    return feeds


def time_ours(tool, path, threads, runs, profile, files, cpu_time):
    environment = dict(os.environ, EXEC_TIME_CPU="1") if cpu_time else None
    run = subprocess.run([tool, path, str(threads), str(runs), str(profile)] + files, capture_output=True, text=True,
                         env=environment)
    lines = run.stdout.splitlines()
    if run.returncode != 0:
        return None, [run.stdout.strip() or run.stderr.strip() or f"exit code {run.returncode}"]
    return float(lines[0].split()[1]), lines[1:]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", type=int, default=0)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("models", nargs="*")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tool = build_tool(folder)
        print(f"{'model':28} threads  vqc ms  onnxruntime ms  ratio")
        for name in options.models or MODELS:
            path = name if name.endswith(".onnx") else os.path.join(ZOO, "models", name + ".onnx")
            if not os.path.exists(path):
                print(f"{name:28} skipped: {path} is not there")
                continue
            feeds = make_inputs(path, name, options.batch)
            files = []
            for index, array in enumerate(feeds.values()):
                files.append(os.path.join(folder, f"{index}.raw"))
                with open(files[-1], "wb") as file:
                    dims = " ".join(str(n) for n in array.shape)
                    file.write(f"{helper.np_dtype_to_tensor_dtype(array.dtype)} {array.ndim} {dims}\n".encode())
                    file.write(array.tobytes())
            for threads in (int(n) for n in options.threads.split(",")):
                settings = ort.SessionOptions()
                settings.intra_op_num_threads = threads
                session = ort.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
                cpu_time = options.cpu_time and threads == 1
                now = time.thread_time if cpu_time else time.perf_counter
                best, ours, notes = float("inf"), float("inf"), []
                for _ in range(options.rounds):
                    start = now()
                    session.run(None, feeds)
                    once = now() - start
                    runs = max(3, min(200, int(0.3 / max(once, 1e-6))))
                    for _ in range(runs):
                        start = now()
                        session.run(None, feeds)
                        best = min(best, (now() - start) * 1e3)
                    took, notes = time_ours(tool, path, threads, runs, options.profile, files, cpu_time)
                    if took is None:
                        break
                    ours = min(ours, took)
                if took is None:
                    print(f"{name:28} {threads:7} failed: {notes[0]}")
                    continue
                print(f"{name:28} {threads:7} {ours:7.3f} {best:15.3f} {ours / best:6.2f}")
                for line in notes:
                    print("    " + line)
                sys.stdout.flush()


if __name__ == "__main__":
    main()
