#!/usr/bin/env python3
"""Zeros of pruned layers in front of every kind of codebook: ONNX Runtime folds the written patterns to weights of which
exactly as many are 0 as were pruned, behind static activations in int8 for its integer kernels, and computes what vqc says."""

import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import common  # noqa: E402

VQC = os.path.abspath(os.environ.get("VQC") or os.path.join(os.environ.get("B") or os.path.join(common.ROOT, "build"),
                                                            "vqc"))
SHARE = 0.5
CODEBOOKS = {
    "packed": "dim: 4, codebook_size: 32",
    "output groups": "dim: 4, codebook_size: 16, output_groups: 2",
    "input groups": "dim: 2, codebook_size: 16, input_groups: 3",
    "scales": "dim: 4, codebook_size: 32, channel_scale: on",
    "stages": "dim: 1, codebook_size: 4, stages: 2",
    "stages of vectors": "dim: 4, codebook_size: 16, stages: 2, channel_scale: on",
    "shared": "dim: 4, codebook_size: 32, shared_codebook: all",
    "shared scalars": "dim: 1, codebook_size: 8, shared_codebook: all",
    "two": "dim: 1, codebook_size: 2",
    "int8": "dim: 4, codebook_size: 32, codebook_type: int8, output_groups: 2",
    "not sparse": "dim: 4, codebook_size: 32, sparse: off",
}
HEADS = {"size": "", "speed": "target: {objective: speed}\n", "static": "activations: static\n"}


def network(opset, holds):
    """Two convolutions and a Gemm; the first weight is smaller than min_elements. holds: with an operator that the standard
    dropped after operator set 9, so that the model cannot be raised."""
    random = np.random.default_rng(opset)

    def tensor(name, *dims):
        scale = 1.0 / np.sqrt(np.prod(dims[1:]))
        return numpy_helper.from_array(random.normal(0, scale, dims).astype(np.float32), name)

    nodes = [helper.make_node("Conv", ["x", "A", "a"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
             helper.make_node("Relu", ["c"], ["r"]),
             helper.make_node("Conv", ["r", "B", "b"], ["d"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
             helper.make_node("Relu", ["d"], ["s"]),
             helper.make_node("Flatten", ["s"], ["f"]),
             helper.make_node("Gemm", ["f", "C", "k"], ["y"], transB=1)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])]
    if holds:
        nodes[1] = helper.make_node("ScaledTanh", ["c"], ["r"], alpha=1.0, beta=1.0)
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])], outputs,
                              [tensor("A", 8, 3, 3, 3), tensor("B", 24, 8, 3, 3), tensor("C", 10, 24 * 64),
                               tensor("a", 8), tensor("b", 24), tensor("k", 10)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 21 else 10)


def compress(folder, model, head, codebook, calib):
    source, target, recipe = (os.path.join(folder, n) for n in ("m.onnx", "o.onnx", "r.yaml"))
    onnx.save(model, source)
    with open(recipe, "w") as file:
        file.write(f"version: 1\n{head}weights: {{codec: vq, {codebook}}}\nprune: {{sparsity: {SHARE}}}\n")
    extra = ["--calib", calib] if calib else []
    return target, subprocess.run([VQC, "compress", source, "-c", recipe, "-o", target, "--force", "--json", *extra],
                                  capture_output=True, text=True)


def folded(path, level, folder):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = level
    options.optimized_model_filepath = os.path.join(folder, "optimized.onnx")
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session, onnx.load(options.optimized_model_filepath).graph


def zeros_of(graph, elements, dtypes):
    found = [a for a in (numpy_helper.to_array(t) for t in graph.initializer) if a.size == elements and a.dtype in dtypes]
    return [int((a == 0).sum()) for a in found]


def main():
    check = common.Checks()
    random = np.random.default_rng(5)
    with tempfile.TemporaryDirectory() as folder:
        calib = os.path.join(folder, "calib.npz")
        np.savez(calib, x=random.normal(0, 1, (64, 1, 3, 8, 8)).astype(np.float32))
        x = random.normal(0, 1, (1, 3, 8, 8)).astype(np.float32)
        for opset, holds in ((9, False), (9, True), (13, False), (21, False)):
            model = network(opset, holds)
            for kind, head in HEADS.items():
                for name, codebook in CODEBOOKS.items():
                    for data in (None, calib) if kind != "static" and opset == 9 else (calib,):
                        if kind == "static" and ("stages" in name or "input groups" in name):
                            continue  # refused: one stage, one input group
                        text = codebook + (", codebook_type: int8" if kind == "static" and name != "int8" else "")
                        path, done = compress(folder, model, head, text, data)
                        what = f"opset {opset}{' held' if holds else ''}, {kind}, {name}{', calibrated' if data else ''}"
                        if done.returncode != 0:
                            check(False, f"{what}: exit code {done.returncode}: {done.stderr.strip()[:200]}")
                            continue
                        report = json.loads(done.stdout)
                        notes = [n for n in report["notes"] if "not verified" in n or "not all zeros" in n]
                        check(not notes, f"{what}: {notes}")
                        level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
                        session, graph = folded(path, level if kind == "static" else
                                                ort.GraphOptimizationLevel.ORT_ENABLE_BASIC, folder)
                        for elements in (24 * 8 * 9, 10 * 24 * 64):
                            zeros = zeros_of(graph, elements, (np.float32, np.int8, np.uint8))
                            least = round(SHARE * elements)  # int8 codewords, and sums of two, may be 0 themselves
                            most = least * 11 // 10 if kind == "static" or "stages" in name else least
                            check(len(zeros) == 1 and least <= zeros[0] <= most, f"{what}: {zeros} zeros of {elements}")
                        if kind == "static" and "shared" not in name and not holds:
                            kinds = {n.op_type for n in graph.node}
                            check("QLinearConv" in kinds and "Conv" not in kinds, f"{what}: {sorted(kinds)}")
                        wanted = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
                        got = session.run(None, {"x": x})[0]
                        check(np.corrcoef(wanted.ravel(), got.ravel())[0, 1] > 0.5, f"{what}: the output is another one")
    common.summary(check.passed, check.failed, 0)


if __name__ == "__main__":
    main()
