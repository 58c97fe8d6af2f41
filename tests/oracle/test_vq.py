#!/usr/bin/env python3
"""Codebooks: ONNX Runtime decodes every weight to the very bits that the program's own executor does, folds the
patterns away when it loads the model, and outputs agree. Small layers of every kind x settings of codec vq; with
the zoo, whole models as well.
"""

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
import run_tool  # noqa: E402

VQC = os.path.abspath(os.environ.get("VQC") or os.path.join(os.environ.get("B") or os.path.join(common.ROOT, "build"),
                                                            "vqc"))
# name -> settings under weights
SETTINGS = {
    "2x256": ["dim=2", "codebook_size=256"],
    "1x16": ["dim=1", "codebook_size=16"],
    "3x700": ["dim=3", "codebook_size=700"],
    "4x37 float32 output": ["dim=4", "codebook_size=37", "codebook_type=float32", "along=output"],
    "9x200 kernel": ["dim=9", "codebook_size=200", "along=kernel"],
    "5x50 int8 input scaled": ["dim=5", "codebook_size=50", "codebook_type=int8", "along=input", "channel_scale=on"],
    "2x2x32": ["dim=2", "codebook_size=32", "stages=2"],
    "3x4x13 groups": ["dim=4", "codebook_size=13", "stages=3", "output_groups=3", "input_groups=2",
                      "channel_scale=on"],
    "2.5 bits": ["bits_per_weight=2.5"],
}
# (operator, weight's shape, input's shape, weight's place, attributes)
LAYERS = [
    ("MatMul", [150, 90], [4, 150], 1, {}),
    ("Gemm", [90, 150], [4, 150], 1, {"transB": 1}),
    ("Conv", [40, 30, 3, 3], [1, 30, 6, 6], 1, {}),
    ("Conv", [120, 80, 1, 1], [1, 80, 5, 5], 1, {}),
    ("ConvTranspose", [30, 40, 3, 3], [1, 30, 4, 4], 1, {}),
    ("MatMul", [3, 70, 60], [3, 2, 70], 1, {}),
    ("Gather", [200, 61], [5], 0, {}),
]
ZOO_MODELS = ["squeezenet1.0_fp32", "magika_v3_3", "cifar_resnet_4b", "mnist_sigmoid_6x200", "ncf_ml1m", "silero_vad"]
ZOO_RECIPES = ["vq-4bit", "vq-2bit", "vq-int8-runtime", "vq-embeddings", "prune-vq"]


def layer_model(layer, opset, dtype):
    op, shape, input_shape, place, attributes = layer
    random = np.random.default_rng(len(op) + shape[0])
    spread = np.exp(random.normal(0, 1, shape[0])).reshape([-1] + [1] * (len(shape) - 1))
    weight = (random.normal(0, 0.1, shape) * spread).astype(dtype)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    if op == "Gather":
        x = random.integers(0, shape[0], input_shape)
        x_kind = TensorProto.INT64
    else:
        x = random.normal(0, 1, input_shape).astype(dtype)
        x_kind = kind
    inputs = ["W", "x"] if place == 0 else ["x", "W"]
    node = helper.make_node(op, inputs, ["y"], name="layer", **attributes)
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", x_kind, input_shape)],
                              [helper.make_tensor_value_info("y", kind, None)], [numpy_helper.from_array(weight, "W")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)],
                             ir_version=8 if opset > 8 else 4), {"x": x}


def compress(path, out, arguments):
    done = subprocess.run([VQC, "compress", path, "-o", out, "--json", "--force", *arguments], capture_output=True,
                          text=True, timeout=300, check=False)
    if done.returncode not in (0, 5):
        raise AssertionError(f"exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout)


def probe(written, names):
    """A model that only computes these values of the main graph, from constants."""
    model = onnx.ModelProto()
    model.CopyFrom(written)
    made = {output: node for node in model.graph.node for output in node.output}
    needed, stack = set(), list(names)
    while stack:
        node = made.get(stack.pop())
        if node is not None and id(node) not in needed:
            needed.add(id(node))
            stack.extend(node.input)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node if id(node) in needed]
    read = {name for node in nodes for name in node.input}
    constants = [tensor for tensor in model.graph.initializer if tensor.name in read]
    graph = helper.make_graph(nodes, "probe", [], [helper.make_empty_tensor_value_info(name) for name in names],
                              constants)
    return helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=max(model.ir_version, 4))


def foldable_names(written, report):
    made = {output for node in written.graph.node for output in node.output}
    return [layer["name"] for layer in report["layers"] if layer["status"] == "coded" and layer["scope"] == ""
            and layer["name"] in made and layer["codec"].startswith("vq")]


def same_bits(written, names, work, tool):
    """Weights decoded by ONNX Runtime, plain and optimized, and by the program's executor: the same bits."""
    path = os.path.join(work, "probe.onnx")
    onnx.save(probe(written, names), path)
    folder = os.path.join(work, "probe")
    os.makedirs(folder, exist_ok=True)
    ours = run_tool.run_all(tool, [(path, folder)], work)[folder]
    if ours.error is not None:
        raise AssertionError(f"executor: {ours.error}")
    for optimize in (False, True):
        theirs = common.session(path, optimize).run(None, {})
        for place, (name, value) in enumerate(zip(names, theirs)):
            mine = ours.outputs[place]
            if value.shape != tuple(mine.shape) or value.tobytes() != np.asarray(mine).tobytes():
                raise AssertionError(f"{name}: ONNX Runtime decodes other values")


def check_folded(path):
    """ONNX Runtime's optimized model decodes nothing any more (DequantizeLinear it leaves alone on purpose)."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = path + ".optimized.onnx"
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    model = onnx.load(options.optimized_model_filepath)
    constants = {tensor.name for tensor in model.graph.initializer}
    left = [node.op_type for node in model.graph.node if all(name in constants for name in node.input if name)
            and node.op_type != "DequantizeLinear"
            and not node.name.startswith("InsertedPrecisionFreeCast")]  # float16 operators that it lacks
    if left:
        raise AssertionError(f"not folded: {left}")


def check_layer(layer, setting, opset, dtype, work, tool):
    model, feeds = layer_model(layer, opset, dtype)
    path, out = os.path.join(work, "in.onnx"), os.path.join(work, "out.onnx")
    onnx.save(model, path)
    arguments = ["--set", "weights.codec=vq"] + [f for s in SETTINGS[setting] for f in ("--set", "weights." + s)]
    report = compress(path, out, arguments)
    written = onnx.load(out)
    names = foldable_names(written, report)
    if not names:
        raise AssertionError(f"not coded as vq: {report['layers'][0]['codec']} {report['layers'][0]['reason']}")
    same_bits(written, names, work, tool)
    check_folded(out)
    layer_report = report["layers"][0]
    source = numpy_helper.to_array(model.graph.initializer[0])
    decoded = common.session(os.path.join(work, "probe.onnx"), False).run(None, {})[0]
    measured = common.sqnr_db(source, decoded)
    if abs(measured - layer_report["metrics"]["sqnr_db"]) > 0.01:
        raise AssertionError(f"report {layer_report['metrics']['sqnr_db']} dB, measured {measured}")
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(decoded, "W"))
    expected = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)
    got = common.session(out).run(None, feeds)
    if common.worst_output_sqnr([expected], [got]) < (50 if dtype == np.float16 else 90):
        raise AssertionError("outputs are not those of the decoded weights")


def check_shared(storage, work, tool):
    """Three layers of different operators with one codebook: one payload, decoded alike by both."""
    random = np.random.default_rng(5)
    shapes = {"A": [30, 20, 3, 3], "B": [45, 64], "C": [64, 41]}
    weights = [numpy_helper.from_array(random.normal(0, 0.1, shape).astype(np.float32), name)
               for name, shape in shapes.items()]
    nodes = [helper.make_node("Conv", ["x", "A"], ["a"]), helper.make_node("Gather", ["B", "i"], ["b"]),
             helper.make_node("MatMul", ["b", "C"], ["c"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 20, 5, 5]),
                                           helper.make_tensor_value_info("i", TensorProto.INT64, [3])],
                              [helper.make_tensor_value_info("a", TensorProto.FLOAT, None),
                               helper.make_tensor_value_info("c", TensorProto.FLOAT, None)], weights)
    path, out = os.path.join(work, "in.onnx"), os.path.join(work, "out.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    report = compress(path, out, ["--set", "weights.codec=vq", "--set", "weights.dim=3", "--set",
                                  "weights.codebook_size=100", "--set", "weights.shared_codebook=one", "--set",
                                  "weights.channel_scale=on", "--set", f"weights.codebook_type={storage}"])
    written = onnx.load(out)
    books = [tensor for tensor in written.graph.initializer if list(tensor.dims) == [100, 3]]
    if len(books) != 1 or {layer["codec"] for layer in report["layers"]} != {f"vq 3x100 {storage} scaled"}:
        raise AssertionError(f"{len(books)} codebooks, {[layer['codec'] for layer in report['layers']]}")
    same_bits(written, foldable_names(written, report), work, tool)
    check_folded(out)
    done = subprocess.run([VQC, "report", out, "--json"], capture_output=True, text=True, check=True)
    seen = {layer["codec"] for layer in json.loads(done.stdout)["layers"]}
    if seen != {f"vq 3x100 {storage} scaled"}:
        raise AssertionError(f"vqc report sees {seen}")


def check_zoo(model, recipe, work, tool):
    out = os.path.join(work, "out.onnx")
    report = compress(model.path, out, ["-c", os.path.join(common.ROOT, "configs", recipe + ".yaml")])
    size = common.model_size(out)
    if size > model.size_bytes():
        raise AssertionError(f"larger: {size}")
    written = onnx.load(out)
    names = foldable_names(written, report)
    if names:
        same_bits(written, names, work, tool)
    common.session(out)


STATIC_RECIPE = """
version: 1
activations: static
weights:
  codec: vq
  dim: 2
  codebook_size: 64
  codebook_type: int8
  channel_scale: %s
"""


def check_static(channel_scale, work, tool):
    """Codebooks behind static activations: nothing but integer kernels is left, and little is lost."""
    del tool
    recipe = os.path.join(work, "static.yaml")
    out = os.path.join(work, "out.onnx")
    optimized = os.path.join(work, "optimized.onnx")
    source = os.path.join(common.ROOT, "examples", "lenet5.onnx")
    with open(recipe, "w", encoding="utf-8") as file:
        file.write(STATIC_RECIPE % channel_scale)
    report = json.loads(subprocess.run(
        [VQC, "compress", source, "-c", recipe, "-o", out, "--force", "--json", "--calib",
         os.path.join(common.ROOT, "examples", "lenet5.calib.npz")],
        capture_output=True, text=True, check=True).stdout)
    codecs = [layer["codec"] for layer in report["layers"]]
    if not all(codec.startswith("vq 2x") for codec in codecs):
        raise AssertionError(f"coded as {codecs}")
    onnx.checker.check_model(out, full_check=True)
    options = ort.SessionOptions()
    options.optimized_model_filepath = optimized
    session = ort.InferenceSession(out, options, providers=["CPUExecutionProvider"])
    left = [node.op_type for node in onnx.load(optimized).graph.node]
    if {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul"} & set(left) or left.count("QLinearConv") != 2:
        raise AssertionError(f"ONNX Runtime runs {left}")
    data = np.load(os.path.join(common.ROOT, "examples", "lenet5.eval.npz"))
    reference = ort.InferenceSession(source, providers=["CPUExecutionProvider"])
    name = reference.get_inputs()[0].name
    images = data[name][:200]
    right = [0, 0]
    for image, label in zip(images, data["labels"]):
        for place, model in enumerate((reference, session)):
            right[place] += int(np.argmax(model.run(None, {name: image[None]})[0]) == label)
    if right[1] < right[0] - 6:
        raise AssertionError(f"right of 200: {right[1]}, the source {right[0]}")


ZEROS_RECIPE = """
version: 1
vq: {zeros: auto, sweeps: 1}
weights:
  codec: vq
  bits_per_weight: 0.8
  codebook_type: %s
  min_elements: 128
"""


def check_zeros(storage, work, tool):
    """Chosen zeros: layers are stored without them, ONNX Runtime decodes the bits that the program's executor does."""
    recipe = os.path.join(work, "zeros.yaml")
    out = os.path.join(work, "out.onnx")
    with open(recipe, "w", encoding="utf-8") as file:
        file.write(ZEROS_RECIPE % storage)
    source = os.path.join(common.ROOT, "examples", "lenet5.onnx")
    calib = os.path.join(common.ROOT, "examples", "lenet5.calib.npz")
    report = compress(source, out, ["-c", recipe, "--calib", calib])
    layers = {layer["name"]: layer for layer in report["layers"]}
    if not any(word in layers["fc1.weight"]["pattern"] for word in ("gaps", "mask")):
        raise AssertionError(f"fc1 is stored as {layers['fc1.weight']['pattern']}")
    onnx.checker.check_model(out, full_check=True)
    same_bits(onnx.load(out), foldable_names(onnx.load(out), report), work, tool)
    images = np.load(os.path.join(common.ROOT, "examples", "lenet5.eval.npz"))
    session = common.session(out)
    right = np.mean(np.argmax(session.run(None, {"image": images["image"]})[0], axis=1) == images["labels"])
    if right < 0.85:
        raise AssertionError(f"accuracy {right}")


def main():
    ort.set_default_logger_severity(4)
    tool = run_tool.build_tool()
    passed, failed, skipped = 0, 0, 0
    jobs = []
    for number, layer in enumerate(LAYERS):
        for place, setting in enumerate(SETTINGS):
            opset = [7, 11, 13][(number + place) % 3]
            opset = 11 if layer[0] == "Gemm" and opset == 7 else opset  # its third input was not optional
            # float16 has no kernels for some operators at old opsets
            dtype = np.float16 if (number + place) % 5 == 4 and opset >= 11 else np.float32
            jobs.append((f"{layer[0]} {layer[1]} {setting} opset {opset} {np.dtype(dtype).name}", check_layer,
                         (layer, setting, opset, dtype)))
    for storage in ("float32", "float16", "int8"):
        jobs.append((f"shared codebook {storage}", check_shared, (storage,)))
    for channel_scale in ("on", "off"):
        jobs.append((f"static activations, channel_scale {channel_scale}", check_static, (channel_scale,)))
    for storage in ("float32", "float16", "int8"):
        jobs.append((f"chosen zeros {storage}", check_zeros, (storage,)))
    zoo = {model.name: model for model in common.all_models()} if common.zoo_folder() else {}
    for name in ZOO_MODELS:
        for recipe in ZOO_RECIPES:
            if name in zoo:
                jobs.append((f"{name} {recipe}", check_zoo, (zoo[name], recipe)))
            else:
                skipped += 1
    for label, function, arguments in jobs:
        if len(sys.argv) > 1 and not any(word in label for word in sys.argv[1:]):
            continue
        with tempfile.TemporaryDirectory() as work:
            try:
                function(*arguments, work, tool)
                passed += 1
            except Exception as problem:  # any is a failure of this job
                failed += 1
                print(f"FAIL {label}: {type(problem).__name__}: {str(problem)[:300]}")
    common.summary(passed, failed, skipped)


if __name__ == "__main__":
    main()
