"""Writes the seeds of fuzz_run, fuzz_image, fuzz_tensor, fuzz_slices and fuzz_stats into tests/fuzz/corpus/.

    build/venv/bin/python tests/fuzz/make_run_seeds.py

The models are small, one or a few nodes each; many are wrong on purpose.
"""

import io
import json
import os
import zlib

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import make_seeds
from make_seeds import CORPUS, FLOAT, model, node, write

FILL = b"\x01"
INT64 = TensorProto.INT64
rng = np.random.default_rng(5)


def floats(name, *shape):
    return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)


def ints(name, *values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def info(name, *shape, dtype=FLOAT):
    return helper.make_tensor_value_info(name, dtype, list(shape))


def one(op, shape, *initializers, inputs=None, opset=18, outputs=1, **attributes):
    """A model of one node: x [shape], then the initializers in their order ("" leaves one out)."""
    names = ["x", *(item if isinstance(item, str) else item.name for item in initializers)]
    outs = [f"y{i}" for i in range(outputs)]
    kept = [item for item in initializers if not isinstance(item, str)]
    return model([node(op, names, outs, **attributes)], kept, inputs or [info("x", *shape)],
                 [helper.make_empty_tensor_value_info(name) for name in outs], opset=opset, ms="domain" in attributes)


def operators():
    image = (1, 2, 6, 6)
    yield "relu", one("Relu", (2, 3))
    yield "add", one("Add", (2, 3), floats("b", 3))
    yield "conv", one("Conv", image, floats("w", 4, 1, 3, 3), floats("b", 4), group=2, pads=[1, 1, 1, 1], strides=[2, 1],
                      dilations=[1, 2])
    yield "conv-1d", one("Conv", (1, 2, 9), floats("w", 2, 2, 3), auto_pad="SAME_LOWER")
    yield "conv-transpose", one("ConvTranspose", image, floats("w", 2, 3, 3, 3), strides=[2, 2], output_padding=[1, 0],
                                pads=[1, 0, 0, 1])
    yield "conv-shape", one("ConvTranspose", image, floats("w", 2, 3, 2, 2), output_shape=[9, 9], strides=[2, 2])
    yield "pool", one("AveragePool", image, kernel_shape=[3, 2], strides=[2, 1], pads=[1, 1, 0, 0], ceil_mode=1,
                      count_include_pad=1)
    yield "maxpool", one("MaxPool", image, kernel_shape=[3, 2], dilations=[2, 1], auto_pad="VALID", outputs=2)
    yield "lppool", one("LpPool", image, kernel_shape=[2, 2], p=3)
    yield "unpool", model([node("MaxPool", ["x"], ["p", "i"], kernel_shape=[2, 2], strides=[2, 2]),
                           node("MaxUnpool", ["p", "i", "s"], ["y"], kernel_shape=[2, 2], strides=[2, 2])],
                          [ints("s", 1, 2, 7, 7)], [info("x", *image)], [info("y")])
    yield "roi", one("MaxRoiPool", image, floats("r", 2, 5), pooled_shape=[2, 2])
    yield "roi-align", one("RoiAlign", image, floats("r", 2, 4), ints("b", 0, 0), output_height=2, output_width=3,
                           sampling_ratio=2)
    yield "grid", one("GridSample", image, floats("g", 1, 3, 3, 2), mode="cubic", padding_mode="reflection", opset=16)
    yield "affine", one("AffineGrid", (1, 2, 3), ints("s", 1, 1, 3, 4), opset=20)
    yield "deform", one("DeformConv", image, floats("w", 2, 2, 2, 2), floats("o", 1, 8, 5, 5), opset=19)
    yield "col2im", one("Col2Im", (1, 4, 9), ints("s", 4, 4), ints("k", 2, 2), opset=18)
    yield "resize", one("Resize", image, "", numpy_helper.from_array(np.float32([1, 1, 1.5, 2]), "s"), mode="cubic",
                        antialias=1)
    yield "resize-crop", one("Resize", image, numpy_helper.from_array(np.float32([0, 0, .2, .2, 1, 1, .8, 1.3]), "r"), "",
                             ints("s", 1, 2, 3, 9), mode="linear", coordinate_transformation_mode="tf_crop_and_resize")
    yield "upsample", one("Upsample", image, numpy_helper.from_array(np.float32([1, 1, 2, 2]), "s"), opset=9)
    yield "gemm", one("Gemm", (3, 4), floats("w", 5, 4), floats("b", 5), transB=1, alpha=0.5, beta=2.0)
    yield "matmul", one("MatMul", (2, 1, 3, 4), floats("w", 3, 4, 2))
    yield "einsum", model([node("Einsum", ["x", "w"], ["y"], equation="bij,jk->bik")], [floats("w", 4, 2)],
                          [info("x", 2, 3, 4)], [info("y")])
    yield "det", one("Det", (2, 3, 3))
    yield "batchnorm", one("BatchNormalization", (2, 2, 3), *(floats(n, 2) for n in "sbmv"))
    yield "layernorm", one("LayerNormalization", (2, 3, 4), floats("s", 4), floats("b", 4), outputs=3)
    yield "groupnorm", one("GroupNormalization", (1, 4, 2), floats("s", 2), floats("b", 2), num_groups=2)
    yield "lrn", one("LRN", image, size=3)
    yield "softmax", one("Softmax", (2, 3, 4), axis=1)
    yield "softmax-old", one("LogSoftmax", (2, 3, 4), axis=1, opset=11)
    yield "hardmax", one("Hardmax", (2, 3), axis=0)
    for op in ("LSTM", "GRU", "RNN"):
        gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
        yield op.lower(), one(op, (3, 1, 4), floats("w", 2, gates * 2, 4), floats("r", 2, gates * 2, 2),
                              floats("b", 2, gates * 4), numpy_helper.from_array(np.int32([2]), "l"), hidden_size=2,
                              direction="bidirectional", outputs=2)
    yield "reduce", one("ReduceLogSumExp", (2, 3, 4), ints("a", 0, -1))
    yield "reduce-old", one("ReduceProd", (2, 3, 4), axes=[1], keepdims=0, opset=11)
    yield "argmax", one("ArgMax", (2, 3), axis=1, select_last_index=1)
    yield "topk", one("TopK", (2, 5), ints("k", 3), axis=-1, outputs=2)
    yield "cumsum", one("CumSum", (2, 3), numpy_helper.from_array(np.int64(1), "a"), exclusive=1, reverse=1)
    yield "slice", one("Slice", (4, 5), ints("s", 3, 0), ints("e", -9, 5), ints("a", 0, 1), ints("t", -1, 2))
    yield "pad", one("Pad", (2, 3), ints("p", 1, 2, 0, 1), numpy_helper.from_array(np.float32(9), "v"), mode="reflect")
    yield "pad-wrap", one("Pad", (2, 3), ints("p", 5, -1, 0, 7), mode="wrap", opset=19)
    yield "concat", one("Concat", (2, 3), floats("b", 2, 2), axis=1)
    yield "split", one("Split", (2, 6), ints("s", 1, 5), axis=1, outputs=2)
    yield "split-even", one("Split", (2, 7), num_outputs=3, axis=1, outputs=3)
    yield "tile", one("Tile", (2, 3), ints("r", 2, 3))
    yield "expand", one("Expand", (3, 1), ints("s", 2, 1, 4))
    yield "reshape", one("Reshape", (2, 6), ints("s", 0, -1, 2))
    yield "transpose", one("Transpose", (2, 3, 4), perm=[2, 0, 1])
    yield "gather", one("Gather", (4, 3), ints("i", -1, 2), axis=0)
    yield "gathernd", one("GatherND", (2, 3, 4), numpy_helper.from_array(np.int64([[1], [0]]), "i"), batch_dims=1)
    yield "gather-elements", one("GatherElements", (2, 3), numpy_helper.from_array(np.int64([[0, -1, 1]]), "i"), axis=0)
    yield "scatter", one("ScatterElements", (2, 3), numpy_helper.from_array(np.int64([[1, 0, 1]]), "i"), floats("u", 1, 3),
                         axis=0, reduction="mul")
    yield "scatternd", one("ScatterND", (4, 2), numpy_helper.from_array(np.int64([[1], [-1]]), "i"), floats("u", 2, 2),
                           reduction="max")
    yield "nonzero", one("NonZero", (2, 3))
    yield "unique", one("Unique", (2, 5), axis=1, outputs=4)
    yield "compress", one("Compress", (3, 2), numpy_helper.from_array(np.bool_([1, 0, 1]), "c"), axis=0)
    yield "onehot", one("OneHot", (2,), numpy_helper.from_array(np.int64(4), "d"), floats("v", 2), axis=-2)
    yield "eyelike", one("EyeLike", (3, 4), k=-1, dtype=TensorProto.DOUBLE)
    yield "trilu", one("Trilu", (3, 4), numpy_helper.from_array(np.int64(-2), "k"), upper=0)
    yield "range", model([node("Range", ["a", "b", "c"], ["y"])],
                         [numpy_helper.from_array(np.float32(v), n) for n, v in zip("abc", (1, 9, 1.5))], [], [info("y")])
    yield "nms", one("NonMaxSuppression", (1, 4, 4), floats("s", 1, 2, 4), ints("m", 3),
                     numpy_helper.from_array(np.float32(0.4), "i"))
    yield "space", model([node("SpaceToDepth", ["x"], ["d"], blocksize=2), node("DepthToSpace", ["d"], ["y"], blocksize=2,
                                                                              mode="CRD")], [], [info("x", *image)], [info("y")])
    yield "reverse", one("ReverseSequence", (3, 2), ints("l", 1, 3), batch_axis=1, time_axis=0)
    yield "where", model([node("Greater", ["x", "z"], ["c"]), node("Where", ["c", "x", "z"], ["y"])], [floats("z", 3)],
                         [info("x", 2, 3)], [info("y")])
    yield "cast", model([node("Cast", ["x"], ["h"], to=TensorProto.FLOAT8E4M3FN, saturate=0),
                         node("Cast", ["h"], ["i"], to=TensorProto.INT4), node("BitCast", ["x"], ["b"], to=TensorProto.INT32),
                         node("Cast", ["i"], ["y"], to=TensorProto.BFLOAT16)], [], [info("x", 2, 3)], [info("y")], opset=21)
    yield "quantize", model([node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=1, block_size=2),
                             node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=1, block_size=2)],
                            [floats("s", 2, 2), numpy_helper.from_array(np.zeros((2, 2), np.uint8), "z")], [info("x", 2, 4)],
                            [info("y")], opset=21)
    yield "dynamic", model([node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
                            node("MatMulInteger", ["q", "w", "z"], ["y"])],
                           [numpy_helper.from_array(rng.integers(-9, 9, (3, 2)).astype(np.int8), "w")], [info("x", 2, 3)],
                           [info("y")])
    yield "attention", one("Attention", (1, 2, 3, 4), floats("k", 1, 2, 5, 4), floats("v", 1, 2, 5, 4), is_causal=1,
                           opset=23)
    yield "dft", model([node("DFT", ["x", "n", "a"], ["y"], inverse=1)],
                       [numpy_helper.from_array(np.int64(7), "n"), numpy_helper.from_array(np.int64(1), "a")],
                       [info("x", 1, 6, 2)], [info("y")], opset=20)
    yield "stft", one("STFT", (1, 16, 1), numpy_helper.from_array(np.int64(4), "s"), floats("w", 8), opset=17)
    yield "window", model([node("HannWindow", ["n"], ["y"]), node("MelWeightMatrix", ["n", "n", "r", "f", "g"], ["m"])],
                          [numpy_helper.from_array(np.int64(8), "n"), numpy_helper.from_array(np.int64(8000), "r"),
                           numpy_helper.from_array(np.float32(0), "f"), numpy_helper.from_array(np.float32(3000), "g")],
                          [], [info("y"), info("m")], opset=17)
    yield "nbits", one("MatMulNBits", (2, 32), numpy_helper.from_array(rng.integers(0, 256, (3, 2, 8)).astype(np.uint8), "w"),
                       floats("s", 6), K=32, N=3, bits=4, block_size=16, domain="com.microsoft")
    yield "gather-nbits", one("GatherBlockQuantized", (4, 16), inputs=[info("x", 4, 16, dtype=TensorProto.UINT8)],
                              *[ints("i", 1, 0), floats("s", 4, 2)], bits=4, block_size=16, domain="com.microsoft")
    yield "qlinear", model([node("QLinearAdd", ["q", "s", "z", "q", "s", "z", "s", "z"], ["y"], domain="com.microsoft")],
                           [numpy_helper.from_array(np.uint8([[1, 200, 3]]), "q"), floats("s"),
                            numpy_helper.from_array(np.uint8(3), "z")], [info("x", 1)], [info("y")], ms=True)
    yield "random", model([node("RandomNormal", [], ["a"], shape=[3, 4], seed=1.0), node("Dropout", ["a"], ["y"])], [],
                          [info("x", 1)], [info("y")])
    yield "loss", one("SoftmaxCrossEntropyLoss", (2, 3), ints("t", 1, 7), ignore_index=7, outputs=2, opset=13)


def bodies():
    flag = info("on", dtype=TensorProto.BOOL)
    step = helper.make_graph([node("Identity", ["on"], ["on2"]), node("Add", ["s", "s"], ["s2"])], "body",
                             [info("i", dtype=INT64), flag, info("s", 2)],
                             [info("on2", dtype=TensorProto.BOOL), info("s2", 2), info("s2", 2)])
    once = numpy_helper.from_array(np.bool_(True), "c")
    for name, trips in (("loop", 3), ("loop-long", 2**62)):
        yield name, model([node("Loop", ["n", "c", "x"], ["y", "z"], body=step)],
                          [numpy_helper.from_array(np.int64(trips), "n"), once], [info("x", 2)], [info("y"), info("z")])
    yield "loop-endless", model([node("Loop", ["", "", "x"], ["y", "z"], body=step)], [], [info("x", 2)],
                                [info("y"), info("z")])
    empty = helper.make_graph([], "body", [info("i", dtype=INT64), flag, info("s", 2)],
                              [flag, info("s", 2)])
    yield "loop-empty", model([node("Loop", ["n", "c", "x"], ["y"], body=empty)],
                              [numpy_helper.from_array(np.int64(2**62), "n"), once], [info("x", 2)], [info("y")])
    inner = helper.make_graph([node("Loop", ["n", "c", "s"], ["t", "u"], body=step), node("Identity", ["on"], ["on2"])],
                              "outer", [info("i", dtype=INT64), flag, info("s", 2)],
                              [info("on2", dtype=TensorProto.BOOL), info("t", 2)])
    yield "loop-nested", model([node("Loop", ["n", "c", "x"], ["y"], body=inner)],
                               [numpy_helper.from_array(np.int64(10**6), "n"), once], [info("x", 2)], [info("y")])
    scan = helper.make_graph([node("Add", ["s", "e"], ["s2"]), node("Identity", ["s2"], ["o"])], "scan",
                             [info("s", 2), info("e", 2)], [info("s2", 2), info("o", 2)])
    yield "scan", model([node("Scan", ["a", "x"], ["y", "z"], body=scan, num_scan_inputs=1, scan_input_directions=[1],
                              scan_output_axes=[-1])], [floats("a", 2)], [info("x", 4, 2)], [info("y"), info("z")])
    then = helper.make_graph([node("Relu", ["x"], ["t"])], "then", [], [info("t")])
    other = helper.make_graph([node("Neg", ["x"], ["e"])], "else", [], [info("e")])
    yield "if", model([node("ReduceMax", ["x"], ["m"], keepdims=0), node("Cast", ["m"], ["c"], to=TensorProto.BOOL),
                       node("If", ["c"], ["y"], then_branch=then, else_branch=other)], [], [info("x", 2)], [info("y")])
    function = helper.make_function("local", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])],
                                    [helper.make_opsetid("", 17)])
    yield "function", model([node("Twice", ["x"], ["h"], domain="local"), node("Twice", ["h"], ["y"], domain="local")], [],
                            [info("x", 2)], [info("y")], functions=[function], opset=17)
    again = helper.make_function("local", "Again", ["a"], ["b"], [node("Again", ["a"], ["b"], domain="local")],
                                 [helper.make_opsetid("local", 1)])
    yield "function-itself", model([node("Again", ["x"], ["y"], domain="local")], [], [info("x", 2)], [info("y")],
                                   functions=[again], opset=17)


def greedy():
    """What would take too much memory or time."""
    big = 2**31
    yield "greedy-tile", one("Tile", (2, 3), ints("r", 2**40, 2**40))
    yield "greedy-expand", one("Expand", (1,), ints("s", big, big))
    yield "greedy-pad", one("Pad", (2, 3), ints("p", 2**62, 0, 2**62, 0))
    yield "greedy-pad-negative", one("Pad", (2, 3), ints("p", -2**63, 0, -5, 0), mode="edge")
    yield "greedy-fill", model([node("ConstantOfShape", ["s"], ["y"])], [ints("s", big, 4)], [], [info("y")])
    yield "greedy-range", model([node("Range", ["a", "b", "c"], ["y"])],
                                [numpy_helper.from_array(np.int64(v), n) for n, v in zip("abc", (-2**63, 2**63 - 1, 1))], [],
                                [info("y")])
    yield "greedy-onehot", one("OneHot", (2,), numpy_helper.from_array(np.int64(2**61), "d"), floats("v", 2))
    yield "greedy-resize", one("Resize", (1, 1, 2, 2), "", numpy_helper.from_array(np.float32([1, 1, 3e9, 1e30]), "s"))
    yield "greedy-resize-filter", one("Resize", (1, 1, 64, 64), "", numpy_helper.from_array(np.float32([1, 1, .02, 1e-6]), "s"),
                                      mode="linear", antialias=1)
    yield "greedy-pool", one("AveragePool", (1, 1, 4, 4), kernel_shape=[2**31, 2**31], pads=[2**31 - 1] * 4,
                             count_include_pad=1)
    yield "greedy-pool-dilated", one("MaxPool", (1, 1, 4, 4), kernel_shape=[2**20, 2**20], dilations=[1, 1],
                                     pads=[2**20 - 1] * 4)
    yield "greedy-lrn", one("LRN", (1, 4, 4, 4), size=2**62 + 1)
    yield "greedy-conv", one("Conv", (1, 1, 4, 4), floats("w", 1, 1, 2, 2), pads=[2**40] * 4, strides=[2**40] * 2)
    yield "greedy-conv-dilated", one("Conv", (1, 1, 4, 4), floats("w", 1, 1, 2, 2), dilations=[2**61, 2**61],
                                     pads=[2**61] * 4)
    yield "greedy-transpose", one("ConvTranspose", (1, 1, 4, 4), floats("w", 1, 1, 2, 2), strides=[2**40, 2**40])
    yield "greedy-split", one("Split", (2, 4), num_outputs=2**40, axis=1, outputs=2)
    yield "greedy-topk", one("TopK", (2, 4), ints("k", 2**62), outputs=2)
    yield "greedy-window", model([node("HammingWindow", ["n"], ["y"])], [numpy_helper.from_array(np.int64(2**62), "n")], [],
                                 [info("y")])
    yield "greedy-mel", model([node("MelWeightMatrix", ["n", "d", "r", "f", "g"], ["m"])],
                              [numpy_helper.from_array(np.int64(2**40), "n"), numpy_helper.from_array(np.int64(2**40), "d"),
                               numpy_helper.from_array(np.int64(1), "r"), numpy_helper.from_array(np.float32(0), "f"),
                               numpy_helper.from_array(np.float32(3e38), "g")], [], [info("m")], opset=17)
    yield "greedy-dft", model([node("DFT", ["x", "n", "a"], ["y"])],
                              [numpy_helper.from_array(np.int64(2**40), "n"), numpy_helper.from_array(np.int64(1), "a")],
                              [info("x", 1, 6, 1)], [info("y")], opset=20)
    yield "greedy-roi", one("RoiAlign", (1, 1, 4, 4), floats("r", 2, 4), ints("b", 0, 0), output_height=2**31,
                            output_width=2**31, sampling_ratio=2**31 - 1)
    yield "greedy-roi-samples", one("RoiAlign", (1, 1, 4, 4), numpy_helper.from_array(np.float32([[0, 0, 1e30, 1e30]]), "r"),
                                    ints("b", 0), output_height=2, output_width=2, sampling_ratio=0)
    yield "greedy-affine", one("AffineGrid", (1, 2, 3), ints("s", 1, 1, 2**40, 2**40), opset=20)
    yield "greedy-col2im", one("Col2Im", (1, 4, 9), ints("s", 2**40, 2**40), ints("k", 2, 2))
    yield "greedy-unpool", model([node("MaxPool", ["x"], ["p", "i"], kernel_shape=[2, 2]),
                                  node("MaxUnpool", ["p", "i", "s"], ["y"], kernel_shape=[2, 2])],
                                 [ints("s", 1, 1, 2**40, 2**30)], [info("x", 1, 1, 4, 4)], [info("y")])
    yield "greedy-lstm", one("LSTM", (2**40, 1, 0), floats("w", 1, 8, 0), floats("r", 1, 8, 2), hidden_size=2)
    yield "greedy-empty-loop", one("ReduceSum", (2**40, 0), ints("a", 1))
    yield "greedy-softmax", one("Softmax", (2**50, 0), axis=1)
    yield "greedy-nms", one("NonMaxSuppression", (1, 200, 4), floats("s", 1, 2, 200), ints("m", 2**62))
    chain = [node("Tile", [f"t{i}", "r"], [f"t{i + 1}"]) for i in range(20)]
    yield "greedy-chain", model([node("Identity", ["x"], ["t0"]), *chain], [ints("r", 4)], [info("x", 4)], [info("t20")])


def write_models():
    models = dict([*operators(), *bodies(), *greedy()])
    for name, item in models.items():
        write("run", f"{name}.bin", FILL + item.SerializeToString())
    for name, item in [*make_seeds.sound(), *make_seeds.wrong()]:
        data = item.SerializeToString()
        if len(data) < 1000:
            write("run", f"weights-{name}.bin", FILL + data)


def png(width, height, kind, bits, rows, palette=b"", end=True):
    def chunk(name, data):
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([bits, kind, 0, 0, 0])
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + (chunk(b"PLTE", palette) if palette else b"")
            + chunk(b"IDAT", zlib.compress(rows)) + (chunk(b"IEND", b"") if end else b""))


def write_images():
    def pillow(mode, form, **options):
        from PIL import Image
        data = io.BytesIO()
        bands = len(Image.new(mode, (1, 1)).getbands())
        pixels = rng.integers(0, 256, (9, 11, bands)).astype(np.uint8)
        Image.frombytes(mode, (11, 9), pixels.tobytes()).save(data, form, **options)
        return data.getvalue()

    for mode in ("L", "RGB", "RGBA", "LA"):
        write("image", f"{mode.lower()}.png", pillow(mode, "PNG"))
    for mode in ("L", "RGB", "CMYK"):
        write("image", f"{mode.lower()}.jpg", pillow(mode, "JPEG", quality=60))
    write("image", "progressive.jpg", pillow("RGB", "JPEG", progressive=True))
    write("image", "subsampled.jpg", pillow("RGB", "JPEG", subsampling=2))
    write("image", "cut.jpg", pillow("RGB", "JPEG")[:-40])
    write("image", "cut.png", pillow("RGB", "PNG")[:-60])
    write("image", "sixteen.png", png(3, 2, 2, 16, (b"\0" + bytes(18)) * 2))
    write("image", "palette.png", png(5, 2, 3, 2, (b"\0\x1b\x40") * 2, bytes(range(12))))
    write("image", "palette-short.png", png(5, 2, 3, 4, (b"\0\xff\xff\xff") * 2, bytes(3)))
    write("image", "one-bit.png", png(9, 3, 0, 1, (b"\0\xaa\x80") * 3))
    write("image", "huge.png", png(2**31 - 1, 2**31 - 1, 2, 8, b"\0"))
    write("image", "wide.png", png(2**26 + 1, 1, 0, 8, b"\0"))
    write("image", "bomb.png", png(4096, 4096, 6, 8, b"\0" * 100))
    write("image", "zero.png", png(0, 5, 2, 8, b""))
    write("image", "few-rows.png", png(4, 9, 0, 8, b"\0\1\2\3\4" * 3))


def write_tensors():
    from onnx import helper as make
    for name, array in {"float": np.float32([[1, 2], [3, 4]]), "scalar": np.int64(5), "empty": np.zeros((0, 3), np.float16),
                        "bool": np.bool_([True, False]), "double": np.arange(3.0)}.items():
        write("tensor", f"{name}.pb", numpy_helper.from_array(array, name).SerializeToString())
    for kind in ("INT4", "UINT4", "FLOAT8E5M2", "FLOAT4E2M1", "UINT2", "BFLOAT16", "COMPLEX64"):
        if hasattr(TensorProto, kind):
            write("tensor", f"{kind.lower()}.pb",
                  TensorProto(name=kind, data_type=getattr(TensorProto, kind), dims=[4], raw_data=bytes(range(
                      32 if kind == "COMPLEX64" else 8 if kind == "BFLOAT16" else 4)) if "8" in kind or "6" in kind
                      else b"\x21\x43"[:1 if kind == "UINT2" else 2]).SerializeToString())
    write("tensor", "typed.pb", make.make_tensor("t", FLOAT, [3], [1.0, 2.0, 3.0]).SerializeToString())
    write("tensor", "typed-half.pb", make.make_tensor("t", TensorProto.FLOAT16, [2], [1.0, 2.0]).SerializeToString())
    write("tensor", "strings.pb", make.make_tensor("t", TensorProto.STRING, [1], [b"a"]).SerializeToString())
    write("tensor", "claimed.pb", TensorProto(data_type=FLOAT, dims=[2**40, 2**40]).SerializeToString())
    write("tensor", "negative.pb", TensorProto(data_type=FLOAT, dims=[-1], raw_data=b"1234").SerializeToString())
    outside = TensorProto(data_type=FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="../../etc/passwd")
    write("tensor", "outside.pb", outside.SerializeToString())
    write("tensor", "rank.pb", TensorProto(data_type=FLOAT, dims=[1] * 40, raw_data=b"1234").SerializeToString())


def write_slices():
    folder = os.path.join(CORPUS, "npz")
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            write("slices", name, b"\0" + file.read())
    data = io.BytesIO()
    np.savez_compressed(data, x=np.tile(np.arange(50, dtype=np.float32), (8, 1)), labels=np.arange(8))
    write("slices", "samples.npz", b"\6" + data.getvalue())


def write_stats():
    first = {"name": "h", "samples": 2, "elements": 16, "zeros": 3, "nan": 1, "infinite": 1, "min": -7, "max": 100,
             "sum": 200.501, "sum_squares": 20087.625, "averaged": 2, "average_min": -6.95, "average_max": 100,
             "first_min": -7, "first_max": 100, "limit_exponent": 7,
             "histogram": "3871:1;4031:2;4096:1;4104:2;4128:2;4160:1;4208:2;7296:2", "channel_axis": 1,
             "channel_mean": [0.5, -1], "channel_absmax": [1, 2], "channel_elements": [8, 9]}
    second = {"name": "y", "samples": 2, "elements": 1, "zeros": 1, "nan": 0, "infinite": 0, "min": 0, "max": 0, "sum": 0,
              "sum_squares": 0, "averaged": 1, "average_min": 0, "average_max": 0, "first_min": 0, "first_max": 0}

    def cache(*tensors, **changes):
        head = {"format": "vqc-stats", "version": 1, "fingerprint": "0000000000abcdef", "samples": 2, "bins": 8192}
        return json.dumps({**head, "tensors": list(tensors), **changes}).encode()

    good = cache(first, second)
    write("stats", "good.json", good)
    write("stats", "cut.json", good[:-60])
    write("stats", "none.json", cache())
    for name, change in {"exponent": {"limit_exponent": 128}, "negative": {"elements": -1}, "large": {"sum": 1e999},
                         "fraction": {"zeros": 0.5}, "bins": {"histogram": "8192:1"}, "again": {"histogram": "5:1;5:1"},
                         "text": {"histogram": ";;:::"}, "counts": {"histogram": "0:9007199254740993"},
                         "axis": {"channel_axis": 99}, "lengths": {"channel_mean": [1]}, "extremes": {"min": 5, "max": -5},
                         "widest": {"limit_exponent": 127, "max": 3.4e38}}.items():
        write("stats", f"{name}.json", cache({**first, **change}, second))
    write("stats", "twice.json", cache(first, first))
    write("stats", "version.json", cache(first, version=2))
    write("stats", "deep.json", b'{"tensors":' + b"[" * 2000)


if __name__ == "__main__":
    write_models()
    write_images()
    write_tensors()
    write_slices()
    write_stats()
