"""Sizes and errors that `vqc report` gives (core/inspect*) against the files themselves: test_inspect.py [INSPECT_TOOL].

Every byte of every zoo model lies in exactly one row; files quantized by onnxruntime.quantization (dynamic, static QDQ
and QOperator, MatMulNBits, GatherBlockQuantized) are matched with their originals and their errors agree with weights
decoded here with NumPy or by ONNX Runtime itself. Prints "N passed, N failed, N skipped"; exit code 1 when something
failed.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from common import ROOT, all_models, model_size, summary, zoo_folder

logging.disable(logging.CRITICAL)
ort.set_default_logger_severity(4)
rng = np.random.default_rng(7)


class Checks:
    def __init__(self, tool, folder):
        self.tool = tool
        self.folder = folder
        self.passed = 0
        self.failed = 0

    def expect(self, condition, what):
        self.passed += bool(condition)
        self.failed += not condition
        if not condition:
            print(f"FAILED: {what}")

    def path(self, name):
        return os.path.join(self.folder, name)

    def inspect(self, path, reference=None):
        done = subprocess.run([self.tool, path] + ([reference] if reference else []), capture_output=True, timeout=300,
                              check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{path}: exit code {done.returncode}: {done.stderr.decode(errors='replace')}")
        return json.loads(done.stdout)


def build_tool(folder):
    build = os.environ.get("B", "build")
    subprocess.run([os.environ.get("MAKE", "make"), "-s", f"B={build}", f"{build}/libvqc.a"], cwd=ROOT, check=True)
    tool = os.path.join(folder, "inspect_tool")
    flags = subprocess.run(["pkg-config", "--libs", "libprotobuf-c", "yaml-0.1", "libcjson", "zlib", "libpng",
                            "libjpeg"], check=True, capture_output=True, text=True).stdout.split()
    subprocess.run([os.environ.get("CC", "cc"), "-std=c17", "-D_GNU_SOURCE", "-O1", "-I.",
                    "tests/oracle/inspect_tool.c", f"{build}/libvqc.a", "-o", tool, "-fopenmp", "-lm"] + flags,
                   cwd=ROOT, check=True)
    return tool


def check_sizes(checks, name, path):
    """Rows add up to the files, groups add up to the rows."""
    try:
        report = checks.inspect(path)
    except RuntimeError as problem:
        checks.expect(False, problem)
        return None
    disk = model_size(path)
    rows = sum(row["bytes"] for row in report["rows"])
    checks.expect(rows == disk == report["size"]["total_bytes"], f"{name}: rows add up to {rows}, files have {disk}")
    for group in ("by_kind", "by_op", "by_dtype"):
        total = sum(item["bytes"] for item in report[group])
        checks.expect(total == disk, f"{name}: {group} adds up to {total}, files have {disk}")
    return report


def check_self(checks, name, path):
    """A model beside itself: every weight is found and is equal."""
    report = checks.inspect(path, path)
    bad = [layer["name"] for layer in report["layers"] if layer["metrics"] is None or not layer["metrics"]["equal"]]
    checks.expect(not bad, f"{name}: not equal to itself: {bad[:5]}")
    checks.expect(all(layer["before_bytes"] == layer["after_bytes"] for layer in report["layers"]),
                  f"{name}: sizes beside itself differ")


# ---- models made here ----

def weights(*shape):
    return rng.normal(0, 0.1, shape).astype(np.float32)


def save(path, nodes, inputs, outputs, constants, opset=17):
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(v, k) for k, v in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    onnx.save(model, path)
    return constants


def value(name, *shape, dtype=T.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def mlp(path):
    return save(path, [
        helper.make_node("MatMul", ["x", "W1"], ["h1"], "fc1"), helper.make_node("Add", ["h1", "b1"], ["h2"]),
        helper.make_node("Relu", ["h2"], ["h3"]), helper.make_node("MatMul", ["h3", "W2"], ["h4"], "fc2"),
        helper.make_node("Gemm", ["h4", "W3", "b3"], ["y"], "fc3", transB=1),
    ], [value("x", None, 64)], [value("y", None, 24)],
        {"W1": weights(64, 96), "b1": weights(96), "W2": weights(96, 32), "W3": weights(24, 32), "b3": weights(24)})


def convnet(path):
    return save(path, [
        helper.make_node("Conv", ["x", "W1", "b1"], ["h1"], "conv1", pads=[1, 1, 1, 1]), helper.make_node("Relu", ["h1"], ["h2"]),
        helper.make_node("Conv", ["h2", "W2"], ["h3"], "conv2"), helper.make_node("Flatten", ["h3"], ["h4"]),
        helper.make_node("MatMul", ["h4", "W3"], ["y"], "fc"),
    ], [value("x", 1, 3, 8, 8)], [value("y", 1, 10)],
        {"W1": weights(16, 3, 3, 3), "b1": weights(16), "W2": weights(8, 16, 3, 3), "W3": weights(8 * 36, 10)})


def lstm(path):
    return save(path, [helper.make_node("LSTM", ["x", "W", "R", "B"], ["y", "", ""], "lstm", hidden_size=16)],
                [value("x", 5, 1, 12)], [value("y", 5, 1, 1, 16)],
                {"W": weights(1, 64, 12), "R": weights(1, 64, 16), "B": weights(1, 128)})


def embedding(path):
    return save(path, [helper.make_node("Gather", ["E", "ids"], ["e"], "embed"), helper.make_node("MatMul", ["e", "W"], ["y"], "fc")],
                [value("ids", None, dtype=T.INT64)], [value("y", None, 24)], {"E": weights(50, 64), "W": weights(64, 24)})


def initializers(path):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def check_metrics(checks, what, layer, reference, decoded):
    """The layer's numbers against the definition in docs/REPORT.md, in double."""
    ref, dec = reference.astype(np.float64).ravel(), decoded.astype(np.float64).ravel()
    metrics = layer["metrics"]
    if metrics is None:
        checks.expect(False, f"{what}: no metrics: {layer['reason']}")
        return
    error = np.sum((ref - dec) ** 2)
    checks.expect(metrics["count"] == ref.size, f"{what}: compared {metrics['count']} of {ref.size} elements")
    checks.expect(np.isclose(metrics["mse"], error / ref.size, rtol=1e-4), f"{what}: mse {metrics['mse']}, expected {error / ref.size}")
    checks.expect(np.isclose(metrics["sqnr_db"], 10 * np.log10(np.sum(ref ** 2) / error), atol=1e-3), f"{what}: sqnr_db")
    checks.expect(np.isclose(metrics["max_abs_error"], np.abs(ref - dec).max(), rtol=1e-5), f"{what}: max_abs_error")
    checks.expect(np.isclose(metrics["cosine"], ref @ dec / np.sqrt((ref @ ref) * (dec @ dec)), atol=1e-6), f"{what}: cosine")


def layers_of(report):
    return {layer["name"]: layer for layer in report["layers"]}


def matched(checks, what, report, names):
    """Layers by name; every one of `names` must have been found with metrics."""
    layers = layers_of(report)
    for name in names:
        layer = layers.get(name)
        found = layer is not None and layer["metrics"] is not None
        checks.expect(found, f"{what}: weight {name}: {'not listed' if layer is None else layer['status'] + ': ' + layer['reason']}")
    return layers


def affine(q, scale, zero, axis=None):
    """(q - zero) * scale with scale and zero along an axis."""
    scale, zero = np.atleast_1d(np.asarray(scale)), np.atleast_1d(np.asarray(zero))
    if axis is not None and scale.size > 1:
        shape = [1] * q.ndim
        shape[axis] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return (q.astype(np.float32) - zero.astype(np.float32)) * scale


def check_dynamic(checks):
    from onnxruntime.quantization import QuantType, quantize_dynamic
    for make, per_channel, weight_type in ((mlp, False, QuantType.QInt8), (mlp, True, QuantType.QInt8), (mlp, False, QuantType.QUInt8),
                                           (lstm, False, QuantType.QInt8), (embedding, False, QuantType.QInt8),
                                           (convnet, False, QuantType.QUInt8)):
        what = f"dynamic {make.__name__} {'channel' if per_channel else 'tensor'} {weight_type}"
        source, target = checks.path("source.onnx"), checks.path("dynamic.onnx")
        original = make(source)
        quantize_dynamic(source, target, per_channel=per_channel, weight_type=weight_type)
        check_sizes(checks, what, target)
        report = checks.inspect(target, source)
        names = [name for name in original if original[name].ndim >= 2 and name != "B"]
        layers = matched(checks, what, report, names)
        stored = initializers(target)
        for name in names:
            if layers.get(name) is None or layers[name]["metrics"] is None or f"{name}_quantized" not in stored:
                continue
            q = stored[f"{name}_quantized"]
            scale, zero = stored[f"{name}_scale"], stored[f"{name}_zero_point"]
            if name == "E":  # Gather of codes, then DequantizeLinear
                decoded = affine(q, scale, zero)
            elif make is lstm:
                decoded = np.swapaxes(affine(q, scale, zero), 1, 2)
            elif q.shape != original[name].shape:  # Gemm with transB became MatMulInteger
                decoded = affine(q, scale, zero, axis=1).T
            else:
                decoded = affine(q, scale, zero, axis=0 if q.ndim == 4 else q.ndim - 1)
            check_metrics(checks, f"{what} {name}", layers[name], original[name], decoded)
            checks.expect(layers[name]["status"] == "coded", f"{what} {name}: status")
            checks.expect(8 <= layers[name]["bits_per_weight"] < 8 * (1 + 400 / original[name].size) + 4,
                          f"{what} {name}: {layers[name]['bits_per_weight']} bits per weight")


def check_nbits(checks):
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    for bits, block, symmetric in ((4, 32, True), (4, 32, False), (4, 16, True), (8, 32, True)):
        what = f"MatMulNBits {bits} {block} {'symmetric' if symmetric else 'asymmetric'}"
        source, target = checks.path("source.onnx"), checks.path("nbits.onnx")
        original = mlp(source)
        quantizer = MatMulNBitsQuantizer(onnx.load(source), bits=bits, block_size=block, is_symmetric=symmetric)
        quantizer.process()
        quantizer.model.save_model_to_file(target)
        check_sizes(checks, what, target)
        layers = matched(checks, what, checks.inspect(target, source), ["W1", "W2"])
        for node in onnx.load(target).graph.node:
            if node.op_type != "MatMulNBits":
                continue
            # ONNX Runtime decodes it for us: the identity times W.
            name = "W1" if node.name.startswith("fc1") else "W2"
            rows, columns = original[name].shape
            graph = helper.make_graph([node], "g", [value(node.input[0], rows, rows)], [value(node.output[0], rows, columns)],
                                      [t for t in onnx.load(target).graph.initializer if t.name in node.input])
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)])
            model.ir_version = 8
            for attribute in list(model.graph.node[0].attribute):
                if attribute.name == "accuracy_level":
                    model.graph.node[0].attribute.remove(attribute)
            decoded = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
                None, {node.input[0]: np.eye(rows, dtype=np.float32)})[0]
            if layers.get(name):
                check_metrics(checks, f"{what} {name}", layers[name], original[name], decoded)
                checks.expect(layers[name]["codec"].startswith(f"int{bits} block {block}"), f"{what}: {layers[name]['codec']}")


def check_gather_blocks(checks):
    """GatherBlockQuantized against ONNX Runtime: all rows of the table."""
    for bits, dtype in ((4, T.UINT4), (4, T.INT4), (4, T.UINT8), (8, T.UINT8)):
        for with_zero in (False, True):
            what = f"GatherBlockQuantized {bits} {T.DataType.Name(dtype)} {'zero points' if with_zero else ''}"
            rows, columns, block = 50, 64, 16
            packed = dtype == T.UINT8 and bits == 4
            low, high = (-8, 8) if dtype == T.INT4 else (0, 2 ** (8 if dtype == T.UINT8 else 4))
            def codes(shape):
                if packed:
                    shape = (shape[0], shape[1] // 2)
                data = rng.integers(low, high, shape)
                return helper.make_tensor("", dtype, shape, data.ravel().tolist())
            constants = {"q": codes((rows, columns)), "s": numpy_helper.from_array(rng.uniform(0.01, 0.1, (rows, columns // block)).astype(np.float32))}
            if with_zero:
                constants["z"] = codes((rows, columns // block))
            for name, tensor in constants.items():
                tensor.name = name
            node = helper.make_node("GatherBlockQuantized", ["q", "ids", "s"] + (["z"] if with_zero else []), ["e"], "embed",
                                    domain="com.microsoft", gather_axis=0, quantize_axis=1, block_size=block,
                                    **({"bits": bits} if dtype == T.UINT8 else {}))
            graph = helper.make_graph([node], "g", [value("ids", None, dtype=T.INT64)], [value("e", None, columns)], list(constants.values()))
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)])
            model.ir_version = 10
            target, source = checks.path("blocks.onnx"), checks.path("blocks_source.onnx")
            onnx.save(model, target)
            try:
                decoded = ort.InferenceSession(target, providers=["CPUExecutionProvider"]).run(None, {"ids": np.arange(rows)})[0]
            except Exception as problem:  # not every build has every variant
                print(f"{what}: ONNX Runtime does not run it: {problem}")
                continue
            reference = decoded + rng.normal(0, 0.01, decoded.shape).astype(np.float32)
            save(source, [helper.make_node("Gather", ["E", "ids"], ["e"], "embed")], [value("ids", None, dtype=T.INT64)],
                 [value("e", None, columns)], {"E": reference})
            check_sizes(checks, what, target)
            layers = matched(checks, what, checks.inspect(target, source), ["E"])
            if layers.get("E"):
                check_metrics(checks, what, layers["E"], reference, decoded)


def check_static(checks):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self, shape):
            self.feeds = iter([{"x": rng.normal(0, 1, shape).astype(np.float32)} for _ in range(4)])

        def get_next(self):
            return next(self.feeds, None)

    for make, shape in ((mlp, (2, 64)), (convnet, (1, 3, 8, 8))):
        for style in (QuantFormat.QDQ, QuantFormat.QOperator):
            for per_channel in (False, True):
                what = f"static {make.__name__} {style} {'channel' if per_channel else 'tensor'}"
                source, target = checks.path("source.onnx"), checks.path("static.onnx")
                original = make(source)
                quantize_static(source, target, Reader(shape), quant_format=style, per_channel=per_channel,
                                weight_type=QuantType.QInt8)
                check_sizes(checks, what, target)
                names = [name for name in original if original[name].ndim >= 2]
                layers = matched(checks, what, checks.inspect(target, source), names)
                stored = initializers(target)
                for name in names:
                    if layers.get(name) is None or layers[name]["metrics"] is None or f"{name}_quantized" not in stored:
                        continue
                    q = stored[f"{name}_quantized"]
                    axis = 0 if q.ndim == 4 or (name == "W3" and make is mlp and q.shape[0] == 24) else q.ndim - 1
                    decoded = affine(q, stored[f"{name}_scale"], stored[f"{name}_zero_point"], axis=axis)
                    decoded = decoded if decoded.shape == original[name].shape else decoded.T
                    check_metrics(checks, f"{what} {name}", layers[name], original[name], decoded)


def check_ours(checks):
    """Patterns as in this project's own files, and the bytes that belong to them."""
    source, target = checks.path("source.onnx"), checks.path("ours.onnx")
    original = mlp(source)["W1"]
    scale = np.abs(original).max(0) / 127
    q = np.rint(original / scale).astype(np.int8)
    book, codes = weights(16), rng.integers(0, 16, (96, 32)).astype(np.uint8)
    model = onnx.load(source)
    w3 = numpy_helper.to_array(model.graph.initializer[3])
    del model.graph.initializer[:]
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in {
        "W1_q": q, "W1_s": scale, "b1": weights(96), "codes": codes, "book": book, "shape": np.array([96, 32], np.int64),
        "W3_h": w3.astype(np.float16), "b3": weights(24)}.items())
    nodes = [helper.make_node("DequantizeLinear", ["W1_q", "W1_s"], ["W1"], axis=1),
             helper.make_node("Cast", ["codes"], ["i"], to=T.INT32), helper.make_node("Gather", ["book", "i"], ["g"]),
             helper.make_node("Reshape", ["g", "shape"], ["W2"]), helper.make_node("Cast", ["W3_h"], ["W3"], to=T.FLOAT)]
    nodes += list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, target)
    check_sizes(checks, "ours", target)
    layers = matched(checks, "ours", checks.inspect(target, source), ["W1", "W2", "W3"])
    check_metrics(checks, "ours W1", layers["W1"], original, q.astype(np.float32) * scale)
    check_metrics(checks, "ours W2", layers["W2"], numpy_helper.to_array(onnx.load(source).graph.initializer[2]), book[codes])
    check_metrics(checks, "ours W3", layers["W3"], w3, w3.astype(np.float16))
    for name, codec, pattern in (("W1", "int8 channel", "DequantizeLinear"), ("W2", "vq 1x16 float32", "foldable"),
                                 ("W3", "float16", "foldable")):
        checks.expect(layers[name]["codec"] == codec and layers[name]["pattern"] == pattern,
                      f"ours {name}: {layers[name]['codec']}, {layers[name]['pattern']}")
    graph = onnx.load(target).graph
    framed = lambda message: 1 + len(varint(message.ByteSize())) + message.ByteSize()
    parts = {"W1": (["W1_q", "W1_s"], ["W1"]), "W2": (["codes", "book", "shape"], ["i", "g", "W2"]), "W3": (["W3_h"], ["W3"])}
    for name, (tensors, outputs) in parts.items():
        size = sum(framed(t) for t in graph.initializer if t.name in tensors) + sum(framed(n) for n in graph.node if n.output[0] in outputs)
        checks.expect(layers[name]["after_bytes"] == size, f"ours {name}: {layers[name]['after_bytes']} bytes, expected {size}")
    checks.expect(np.isclose(layers["W1"]["bits_per_weight"], 8 * layers["W1"]["after_bytes"] / original.size), "ours: bits per weight")


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return out


def check_missing(checks):
    """A weight without a counterpart is named, and one that cannot be decoded says why."""
    source, target = checks.path("source.onnx"), checks.path("other.onnx")
    mlp(source)
    save(target, [helper.make_node("MatMul", ["x", "V"], ["z"], "other")], [value("x", None, 64)], [value("z", None, 8)], {"V": weights(64, 8)})
    layers = layers_of(checks.inspect(target, source))
    checks.expect(layers["W1"]["status"] == "missing" and layers["W1"]["reason"], "missing: W1")
    checks.expect(layers["V"]["reason"] == "not in the reference", "missing: V")
    save(target, [helper.make_node("Secret", ["C"], ["d"], domain="a.b"), helper.make_node("Mul", ["d", "Q"], ["W1"]),
                  helper.make_node("MatMul", ["x", "W1"], ["h1"], "fc1")], [value("x", None, 64)], [value("h1", None, 96)],
         {"C": weights(3, 3), "Q": weights(64, 96)})
    model = onnx.load(target)
    model.graph.value_info.append(value("W1", 64, 96))
    onnx.save(model, target)
    layers = layers_of(checks.inspect(target, source))
    checks.expect("Secret" in layers["W1"]["reason"] and layers["W1"]["metrics"] is None, f"undecodable: {layers['W1']}")


def check_encodings(checks):
    """Files that are longer or shorter than their canonical encoding still add up."""
    path = checks.path("encoded.onnx")
    mlp(path)
    with open(path, "rb") as stream:
        good = stream.read()
    # An empty opset import with a padded length: tag, then 0 in five bytes.
    with open(path, "wb") as stream:
        stream.write(good + b"\x42\x80\x80\x80\x80\x00")
    report = check_sizes(checks, "padded varint", path)
    checks.expect(report and any(row["kind"] == "padding" and row["bytes"] == 4 for row in report["rows"]), "padded varint: no row of 4 bytes")
    # dims of a tensor packed, as proto3 writers do: shorter than two separate fields.
    tensor = numpy_helper.from_array(weights(64, 96), "V")
    body = tensor.SerializeToString()
    plain = b"\x08\x40\x08\x60"
    assert body.startswith(plain)
    packed = b"\x0a\x02\x40\x60" + body[len(plain):]
    tensor6 = numpy_helper.from_array(weights(2, 2, 2, 2, 2, 2), "U").SerializeToString()
    assert tensor6.startswith(b"\x08\x02" * 6)
    packed6 = b"\x0a\x06" + b"\x02" * 6 + tensor6[12:]
    model = onnx.ModelProto.FromString(good)
    graph = model.graph.SerializeToString()
    graph += b"".join(b"\x2a" + bytes(varint(len(part))) + part for part in (packed, packed6))
    model.ClearField("graph")
    with open(path, "wb") as stream:
        stream.write(model.SerializeToString() + b"\x3a" + bytes(varint(len(graph))) + graph)
    check_sizes(checks, "packed dims", path)
    # External data with a gap, and two tensors that share their bytes.
    model = helper.make_model(helper.make_graph([helper.make_node("MatMul", ["x", "A"], ["h"]), helper.make_node("MatMul", ["h", "B"], ["y"])],
                                                "g", [value("x", 1, 32)], [value("y", 1, 32)]), opset_imports=[helper.make_opsetid("", 17)])
    for name in "AB":
        entry = model.graph.initializer.add(name=name, data_type=T.FLOAT, dims=[32, 32], data_location=T.EXTERNAL)
        for key, text in (("location", "shared.data"), ("offset", "4096"), ("length", "4096")):
            entry.external_data.add(key=key, value=text)
    with open(checks.path("shared.data"), "wb") as stream:
        stream.write(bytes(4096) + weights(32, 32).tobytes() + bytes(100))
    path = checks.path("shared.onnx")
    onnx.save(model, path)
    report = check_sizes(checks, "shared external data", path)
    padding = [row["bytes"] for row in report["rows"] if row["kind"] == "padding"] if report else []
    checks.expect(padding == [4196], f"shared external data: padding {padding}, expected 4196")


def main():
    with tempfile.TemporaryDirectory() as folder:
        checks = Checks(sys.argv[1] if len(sys.argv) > 1 else build_tool(folder), folder)
        models = all_models()
        for model in models:
            if check_sizes(checks, model.name, model.path):
                check_self(checks, model.name, model.path)
        for check in (check_ours, check_dynamic, check_nbits, check_gather_blocks, check_static, check_missing, check_encodings):
            check(checks)
    summary(checks.passed, checks.failed, 0 if zoo_folder() else 35)


if __name__ == "__main__":
    main()
