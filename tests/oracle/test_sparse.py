#!/usr/bin/env python3
"""Sparse storage: ONNX Runtime decodes weights with zeros to the very bits of the dense form of the same code, folds the
patterns away when it loads the model, and fuses the same integer kernels behind them; sizes are what was promised."""

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
STAND_IN = 1e-30  # coded as 0 is but not 0: such weights are kept, so nothing is sparse
SPECS = ["bits=8", "bits=8 symmetric=false", "bits=4", "bits=3 symmetric=false", "bits=8 granularity=block block_size=32",
         "bits=4 granularity=block block_size=24 symmetric=false", "codec=float16", "codec=bfloat16",
         "bits=8 activations=dynamic"]
LAYERS = [("MatMul", [96, 80], [4, 96]), ("Conv", [40, 24, 3, 3], [1, 24, 6, 6])]


def model_of(op, weight, input_shape, opset):
    graph = helper.make_graph([helper.make_node(op, ["x", "W"], ["y"])], "g",
                              [helper.make_tensor_value_info("x", TensorProto.FLOAT, input_shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
                              [numpy_helper.from_array(weight, "W")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 21 else 10)


def compress(folder, model, settings, extra=()):
    source, target = os.path.join(folder, "m.onnx"), os.path.join(folder, "o.onnx")
    recipe = os.path.join(folder, "r.yaml")
    onnx.save(model, source)
    with open(recipe, "w") as file:
        file.write("version: 1\nweights:\n" + ("" if "codec=keep" in settings else "  min_elements: 0\n"))
        file.writelines(f"{'' if s.startswith(('activations', 'prune')) else '  '}{s.replace('=', ': ')}\n" for s in settings)
    done = subprocess.run([VQC, "compress", source, "-c", recipe, "-o", target, "--force", "--json", *extra],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target, json.loads(done.stdout)["layers"]


def run(path, x, folder):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.optimized_model_filepath = os.path.join(folder, "optimized.onnx")
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    output = session.run(None, {"x": x})[0]
    return output, [n.op_type for n in onnx.load(options.optimized_model_filepath).graph.node]


def weights(random, shape, zeros):
    weight = random.normal(0, 0.1, shape).astype(np.float32)
    weight.reshape(-1)[random.permutation(weight.size)[:round(zeros * weight.size)]] = 0
    return weight


def has_all_scales(op, weight, spec):
    """Which outputs have a kept weight behind every scale: stand-ins alone would have a scale of their own."""
    lines = weight.T if op == "MatMul" else weight.reshape(weight.shape[0], -1)
    block = 32 if "block_size=32" in spec else 24 if "block_size=24" in spec else lines.shape[1]
    return np.all(np.add.reduceat(lines != 0, np.arange(0, lines.shape[1], block), axis=1) > 0, axis=1)


def test_same_as_dense(folder):
    random = np.random.default_rng(5)
    forms = set()
    count = 0
    for op, shape, input_shape in LAYERS:
        x = random.normal(size=input_shape).astype(np.float32)
        for spec in SPECS:
            for opset in (11, 13, 21):
                for zeros in (0.6, 0.8, 0.9):
                    weight = weights(random, shape, zeros)
                    dense = np.where(weight == 0, np.float32(STAND_IN), weight)
                    path, layers = compress(folder, model_of(op, weight, input_shape, opset), spec.split())
                    got, got_ops = run(path, x, folder)
                    pattern = layers[0]["pattern"]
                    dense_path, dense_layers = compress(folder, model_of(op, dense, input_shape, opset), spec.split())
                    wanted, wanted_ops = run(dense_path, x, folder)
                    what = f"{op} {spec} opset {opset} {zeros}: {pattern}"
                    sparse = "gaps" in pattern or "mask" in pattern
                    assert "," not in dense_layers[0]["pattern"], what
                    assert sparse or "gain nothing" in layers[0]["reason"], what + layers[0]["reason"]
                    whole = has_all_scales(op, weight, spec)
                    assert np.count_nonzero(whole) > 10, what
                    got, wanted = (np.take(y, np.flatnonzero(whole), 1) for y in (got, wanted))
                    # int4 codes are int8 ones when sparse: another kernel
                    packed = "bits=4" in spec and opset == 21 and "DequantizeLinear" in pattern
                    most = (0.02 * np.max(np.abs(wanted)) if packed
                            else 1e-5 if "bfloat16" in spec else 0)  # bfloat16 holds the stand-in: other sums
                    assert np.max(np.abs(got - wanted)) <= most, what
                    assert sorted(got_ops) == sorted(wanted_ops), f"{what}: {got_ops}, dense {wanted_ops}"
                    assert not sparse or layers[0]["after_bytes"] < dense_layers[0]["after_bytes"], what
                    forms.add(pattern)
                    count += sparse
    assert count > 100 and any("mask" in f for f in forms) and any("gaps" in f for f in forms), (count, forms)
    print(f"{count} sparse layers equal their dense form: {sorted(forms)}")


def test_static(folder):
    """Behind static activations the weights are still those of QLinearConv and QGemm."""
    random = np.random.default_rng(6)
    init = {"w1": weights(random, [32, 16, 3, 3], 0.9), "w2": weights(random, [32 * 16, 100], 0.9),
            "b1": weights(random, [32], 0), "b2": weights(random, [100], 0)}
    nodes = [helper.make_node("Conv", ["x", "w1", "b1"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
             helper.make_node("Relu", ["a"], ["r"]), helper.make_node("Flatten", ["r"], ["f"]),
             helper.make_node("Gemm", ["f", "w2", "b2"], ["y"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 8, 8])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
                              [numpy_helper.from_array(v, k) for k, v in init.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    samples = os.path.join(folder, "c.npz")
    np.savez(samples, x=random.normal(size=(16, 16, 8, 8)).astype(np.float32))
    path, layers = compress(folder, model, ["bits=8", "activations=static"], ["--calib", samples])
    _, ops = run(path, random.normal(size=(1, 16, 8, 8)).astype(np.float32), folder)
    assert all("gaps" in layer["pattern"] for layer in layers), layers
    assert "QLinearConv" in ops and "QGemm" in ops and "ScatterElements" not in ops, ops
    print(f"static: {ops}")


PRUNED = ["codec=keep", "codec=float16", "codec=bfloat16", "bits=8", "bits=4", "codec=float8e4m3fn",
          "codec=vq dim=1 codebook_size=16", "codec=vq dim=2 codebook_size=64", "codec=vq dim=4 codebook_size=256",
          "codec=vq dim=2 codebook_size=16 stages=2 codebook_type=int8", "codec=vq dim=2 codebook_size=64 along=output"]
PATTERNS = [("unstructured", 0.5), ("unstructured", 0.9), ('"2:4"', 0.5), ("block", 0.75)]


def sqnr(wanted, got):
    wanted, got = wanted.astype(np.float64), got.astype(np.float64)
    return 10 * np.log10(np.sum(wanted ** 2) / np.sum((wanted - got) ** 2))


def test_pruned(folder):
    """ONNX Runtime decodes exactly as many zeros as were asked for, where magnitudes say; the errors are those of the
    report; nothing of the decoding is left in the graph that it runs."""
    random = np.random.default_rng(8)
    weight = random.normal(0, 0.1, [96, 80]).astype(np.float32)
    unit = np.eye(96, dtype=np.float32)
    forms = set()
    for spec in PRUNED:
        for opset in (9, 11, 13, 21):
            for pattern, share in PATTERNS:
                settings = spec.split() + [f"prune={{pattern: {pattern}, sparsity: {share}"
                                           + (", block: [4, 1]}" if pattern == "block" else "}")]
                if "2:4" in pattern:
                    settings[-1] = 'prune={pattern: "2:4"}'
                path, layers = compress(folder, model_of("MatMul", weight, [96, 96], opset), settings)
                decoded, ops = run(path, unit, folder)
                layer = layers[0]
                what = f"{spec} opset {opset} {pattern} {share}: {layer['pattern']} {layer['reason']}"
                assert layer["zeros"] == round(share * weight.size), what
                if "foldable" in layer["pattern"] or layer["pattern"] == "":  # else integers are multiplied
                    assert np.count_nonzero(decoded == 0) >= layer["zeros"], what
                    assert abs(sqnr(weight, decoded) - layer["metrics"]["sqnr_db"]) < 1e-3, what
                    assert ops in (["MatMul"], ["FusedMatMul"]), f"{what}: {ops}"
                    gone = np.argsort(np.abs(weight), axis=None, kind="stable")[:layer["zeros"]]
                    assert pattern != "unstructured" or not np.any(decoded.reshape(-1)[gone]), what
                    assert "2:4" not in pattern or np.all(
                        np.count_nonzero(decoded.reshape(24, 4, 80), axis=1) <= 2), what
                    assert spec != "codec=keep" or np.all((decoded == weight) | (decoded == 0)), what
                rest = os.path.getsize(os.path.join(folder, "m.onnx")) - layer["before_bytes"]
                # but for the length of lengths around it
                assert abs(layer["after_bytes"] + rest - os.path.getsize(path)) <= 4 or opset == 9, what
                forms.add(layer["codec"].split()[0] + ", " + layer["pattern"])
    print(f"pruned: {sorted(forms)}")


def test_sizes(folder):
    random = np.random.default_rng(7)
    for opset in (11, 13):
        dense = compress(folder, model_of("MatMul", weights(random, [512, 512], 0), [1, 512], opset), ["bits=8"])[1]
        for zeros, most in ((0.9, 0.25), (0.5, 0.63)):
            layer = compress(folder, model_of("MatMul", weights(random, [512, 512], zeros), [1, 512], opset),
                             ["bits=8"])[1]
            share = layer[0]["after_bytes"] / dense[0]["after_bytes"]
            assert share <= most, f"{zeros} zeros at opset {opset}: {share} of the dense bytes"
            print(f"opset {opset}, {zeros:.0%} zeros: {share:.4f} of the dense bytes")


if __name__ == "__main__":
    failed = 0
    for test in (test_same_as_dense, test_static, test_pruned, test_sizes):
        with tempfile.TemporaryDirectory() as scratch:
            try:
                test(scratch)
            except Exception as problem:  # any is a failure of this test
                failed += 1
                print(f"FAIL {test.__name__}: {type(problem).__name__}: {str(problem)[:300]}")
    common.summary(4 - failed, failed, 0)
