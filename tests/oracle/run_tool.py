"""run_tool.c from Python: inputs to files, outputs back as arrays."""

import os
import subprocess

import ml_dtypes
import numpy as np
import onnx
from onnx import helper, numpy_helper

import common


class Result:
    """What one model gave: outputs, or the error's text."""

    def __init__(self):
        self.outputs = {}
        self.error = None
        self.time_ns = None
        self.peak_bytes = None


def build_tool():
    """Path of the built run_tool."""
    return common.build_tool("run_tool")


def write_inputs(folder, values):
    """input_K.pb for every value that is not None: arrays, or TensorProto as they are."""
    os.makedirs(folder, exist_ok=True)
    for number, value in enumerate(values):
        if value is None:
            continue
        proto = value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(np.asarray(value))
        with open(os.path.join(folder, f"input_{number}.pb"), "wb") as stream:
            stream.write(proto.SerializeToString())


def read_output(path, dtype, dims):
    """One element after the other; below a byte one byte each."""
    wanted = np.dtype(helper.tensor_dtype_to_np_dtype(dtype))
    raw = open(path, "rb").read()
    if wanted in (np.dtype(ml_dtypes.int4), np.dtype(ml_dtypes.int2)):
        array = np.frombuffer(raw, np.int8).astype(wanted)
    elif wanted in (np.dtype(ml_dtypes.uint4), np.dtype(ml_dtypes.uint2)):
        array = np.frombuffer(raw, np.uint8).astype(wanted)
    else:
        array = np.frombuffer(raw, wanted)
    return array.reshape(dims)


def run_all(tool, jobs, work, options=()):
    """jobs: list of (model path, folder). Returns folder -> Result."""
    results = {folder: Result() for _, folder in jobs}
    listing = os.path.join(work, "jobs.txt")
    with open(listing, "w") as stream:
        stream.writelines(f"{model} {folder}\n" for model, folder in jobs)
    done = subprocess.run([tool, *options, listing], capture_output=True, text=True, check=False, errors="replace",
                          timeout=1200)
    if done.returncode != 0:
        raise RuntimeError(f"{tool}: exit code {done.returncode}: {done.stderr[-500:]}")
    for line in done.stdout.splitlines():
        words = line.split(" ")
        if words[0] == "ok" and words[1] in results:
            dims = [int(d) for d in words[5:]]
            path = os.path.join(words[1], f"got_{words[2]}.raw")
            results[words[1]].outputs[int(words[2])] = read_output(path, int(words[3]), dims)
        elif words[0] == "done" and words[1] in results:
            results[words[1]].time_ns, results[words[1]].peak_bytes = float(words[2]), int(words[3])
        elif words[0] == "error" and words[1] in results:
            results[words[1]].error = " ".join(words[2:])
        elif words[0] == "crash" and words[1] in results:
            results[words[1]].error = f"crashed (signal or code {words[2]})"
    for result in results.values():
        if result.error is None and result.time_ns is None:
            result.error = "no answer"
    return results
