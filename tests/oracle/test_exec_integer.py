"""Integer and quantized operators of core/exec against ONNX Runtime: test_exec_integer.py [EXEC_TOOL].

Every case is one node over constants. Integers and codes must be equal element by element; how many are compared and
how many differ is printed. Floats must be within the case's tolerance. uint8 activations meet int8 weights only where
ONNX Runtime's sums of 16 bits cannot saturate (weights within +-63) on CPUs without VNNI.
Prints "N passed, N failed, N skipped"; exit code 1 when something failed.
"""

import os
import subprocess
import sys
import tempfile

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from common import summary
from test_exec import as_stored, build_tool

ort.set_default_logger_severity(4)
rng = np.random.default_rng(20250211)
MS = "com.microsoft"


class Case:
    """One node. inputs: arrays, None where absent. rtol, atol: of float outputs, against ONNX Runtime or `expected`.
    off: codes that may differ by one (ONNX Runtime's own approximations), as a share. feed: the input that ONNX Runtime
    does not see as a constant."""

    def __init__(self, op, inputs, label="", domain="", outputs=1, model_opset=21, rtol=1e-6, atol=1e-6, off=0.0, expected=None,
                 feed=0, **attributes):
        self.name = f"{op} {label}".strip()
        self.inputs = inputs
        self.opset = model_opset
        self.domain = domain
        self.outputs = [f"y{i}" for i in range(outputs)]
        self.rtol = rtol
        self.atol = atol
        self.off = off
        self.expected = expected
        self.feed = feed
        names = ["" if value is None else f"i{k}" for k, value in enumerate(inputs)]
        while names and names[-1] == "":
            names.pop()
        self.node = helper.make_node(op, names, self.outputs, domain=domain, **attributes)

    def model(self, fed):
        """With the first input fed by the caller (for ONNX Runtime) or everything constant."""
        tensors = [numpy_helper.from_array(np.asarray(value), f"i{k}") for k, value in enumerate(self.inputs)
                   if value is not None and not (fed and k == self.feed)]
        flowing = np.asarray(self.inputs[self.feed])
        feeds = [helper.make_tensor_value_info(f"i{self.feed}", helper.np_dtype_to_tensor_dtype(flowing.dtype),
                                               flowing.shape)] if fed else []
        values = [onnx.ValueInfoProto(name=name) for name in self.outputs]
        graph = helper.make_graph([self.node], "g", feeds, values, tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset), helper.make_opsetid(MS, 1)])
        model.ir_version = 10
        return model

    def oracle(self):
        if self.expected is not None:
            return self.expected
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(self.model(True).SerializeToString(), options, providers=["CPUExecutionProvider"])
        return session.run(None, {f"i{self.feed}": np.asarray(self.inputs[self.feed])})


def f32(value):
    return np.asarray(value, np.float32)


def u8(shape, low=0, high=256):
    return rng.integers(low, high, shape).astype(np.uint8)


def s8(shape, low=-128, high=128):
    return rng.integers(low, high, shape).astype(np.int8)


def small(kind, shape):
    """Weights that do not saturate ONNX Runtime's sums of 16 bits."""
    return s8(shape, -63, 64) if kind == np.int8 else u8(shape)


def floats(shape, scale=1.0):
    return rng.normal(0, scale, shape).astype(np.float32)


def codes(kind, shape):
    return s8(shape) if kind == np.int8 else u8(shape)


SHAPES = [((1, 1), (1, 1)), ((7, 5), (5, 3)), ((33, 70), (70, 17)), ((6, 513), (513, 16)), ((130, 1100), (1100, 140)),
          ((2, 3, 4, 9), (9, 5)), ((2, 3, 4, 9), (3, 9, 5)), ((2, 1, 4, 9), (2, 3, 9, 5)), ((4, 9), (3, 9, 5))]


def matmul_cases():
    for a_kind in (np.uint8, np.int8):
        for b_kind in (np.uint8, np.int8):
            for a, b in SHAPES:
                label = f"{a_kind.__name__} {b_kind.__name__} {a} {b}"
                x, w = codes(a_kind, a), small(b_kind, b)
                if a_kind == np.int8 and b_kind == np.uint8:  # not in ONNX Runtime
                    yield Case("MatMulInteger", [x, w], label, model_opset=10,
                               expected=[np.matmul(x.astype(np.int32), w.astype(np.int32))])
                    continue
                yield Case("MatMulInteger", [x, w], label, model_opset=10)
                yield Case("MatMulInteger", [x, w, a_kind(3), b_kind(5)], label + " zero points", model_opset=10)
                columns = small(b_kind, b[-1])
                if len(b) == 2:
                    yield Case("MatMulInteger", [x, w, a_kind(100), columns], label + " per column", model_opset=10)
                for y_kind in (np.uint8, np.int8):
                    if y_kind != a_kind:
                        continue
                    scale = f32(0.013 / np.sqrt(a[-1]))
                    yield Case("QLinearMatMul", [x, f32(0.7), a_kind(9), w, f32(0.02), b_kind(1), f32(0.7) * f32(0.02) / scale,
                                                 y_kind(64)], label)
                    if len(b) == 2:
                        yield Case("QLinearMatMul",
                                   [x, f32(0.7), a_kind(9), w, rng.uniform(0.01, 0.03, b[-1]).astype(np.float32), columns,
                                    f32(0.7) * f32(0.02) / scale, y_kind(-60 if y_kind == np.int8 else 60)],
                                   label + " per column")
    x, w, zeros = u8((5, 9)), u8((9, 4)), u8(5)
    yield Case("MatMulInteger", [x, w, zeros], "zero point per row", model_opset=10,
               expected=[(x.astype(np.int32) - zeros[:, None].astype(np.int32)) @ w.astype(np.int32)])
    scales = rng.uniform(0.5, 1.5, 5).astype(np.float32)
    sums = ((x.astype(np.int32) - zeros[:, None]) @ (w.astype(np.int32) - 7)).astype(np.float32)
    want = np.clip(np.rint(sums * (scales[:, None] * f32(0.01) / f32(2.0))) + 30, 0, 255).astype(np.uint8)
    yield Case("QLinearMatMul", [x, scales, zeros, w, f32(0.01), np.uint8(7), f32(2.0), np.uint8(30)], "scale per row",
               expected=[want])
    x, w = np.full((3, 40000), 255, np.uint8), np.full((40000, 2), 255, np.uint8)
    yield Case("MatMulInteger", [x, w], "overflow", model_opset=10,
               expected=[np.matmul(x.astype(np.int64), w.astype(np.int64)).astype(np.int32)])
    x, w = u8((4, 0)), u8((0, 3))
    yield Case("MatMulInteger", [x, w], "no depth", model_opset=10, expected=[np.zeros((4, 3), np.int32)])


CONVS = [((1, 3, 8, 8), (4, 3, 3, 3), {}), ((2, 5, 7, 9), (7, 5, 3, 3), {"pads": [1, 1, 1, 1]}),
         ((1, 40, 14, 15), (33, 40, 1, 1), {}), ((1, 64, 9, 9), (20, 64, 3, 3), {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
         ((1, 4, 11, 13), (8, 2, 3, 2), {"group": 2, "dilations": [2, 3]}), ((1, 8, 12, 12), (8, 4, 1, 1), {"group": 2, "strides": [2, 2]}),
         ((1, 3, 20), (5, 3, 4), {"auto_pad": "SAME_UPPER", "strides": [3]}),
         ((1, 3, 20), (5, 3, 4), {"auto_pad": "SAME_LOWER"}), ((1, 2, 5, 6, 7), (3, 2, 2, 3, 3), {"pads": [0, 1, 1, 1, 1, 0]}),
         ((2, 12, 17, 19), (12, 1, 3, 3), {"group": 12, "pads": [1, 1, 1, 1]}),
         ((1, 6, 17, 18), (6, 1, 3, 3), {"group": 6, "pads": [1, 1, 1, 1], "strides": [2, 2]}),
         ((1, 6, 17, 18), (12, 1, 5, 4), {"group": 6, "pads": [2, 1, 2, 2], "strides": [2, 3], "dilations": [1, 2]}),
         ((1, 5, 4, 4), (5, 1, 7, 7), {"group": 5, "pads": [3, 3, 3, 3]}), ((1, 4, 30), (4, 1, 5), {"group": 4, "strides": [2]})]


def conv_cases():
    for x_kind in (np.uint8, np.int8):
        for w_kind in (np.uint8, np.int8):
            for x_shape, w_shape, attributes in CONVS:
                label = f"{x_kind.__name__} {w_kind.__name__} {x_shape} {w_shape} {attributes}"
                x, w = codes(x_kind, x_shape), small(w_kind, w_shape)
                if x_kind == np.int8 and w_kind == np.uint8:
                    continue  # not in ONNX Runtime
                if x_kind == np.uint8:
                    yield Case("ConvInteger", [x, w], label, model_opset=10, **attributes)
                    yield Case("ConvInteger", [x, w, x_kind(100), w_kind(3)], label + " zero points", model_opset=10, **attributes)
                out = w_shape[0]
                scale = f32(0.05 * 0.002 * 50 * np.sqrt(np.prod(w_shape[1:])))
                for bias in (None, rng.integers(-3000, 3000, out).astype(np.int32)):
                    yield Case("QLinearConv", [x, f32(0.05), x_kind(20), w, f32(0.002), w_kind(0), scale, x_kind(50), bias],
                               label, model_opset=10, **attributes)
                weights = rng.uniform(0.001, 0.003, out).astype(np.float32)
                yield Case("QLinearConv", [x, f32(0.05), x_kind(20), w, weights, np.zeros(out, w_kind), scale, x_kind(50), bias],
                           label + " per channel", model_opset=10, **attributes)


def dynamic_cases():
    for label, x in (("normal", floats((17, 33))), ("positive", np.abs(floats((1000,)))), ("negative", -np.abs(floats((65,)))),
                     ("zero", np.zeros((3, 3), np.float32)), ("ties", (np.arange(511) / 2).astype(np.float32)),
                     ("tiny", floats((100,), 1e-30))):
        yield Case("DynamicQuantizeLinear", [x], label, outputs=3, rtol=0, atol=0)


def microsoft_matmul_cases():
    def ms(op, inputs, label="", **more):
        return Case(op, inputs, label, domain=MS, **more)

    for a_kind in (np.uint8, np.int8):
        for b_kind in (np.uint8, np.int8):
            if a_kind == np.int8 and b_kind == np.uint8:
                continue
            for a, b in SHAPES:
                label = f"{a_kind.__name__} {b_kind.__name__} {a} {b}"
                x, w, bias = codes(a_kind, a), small(b_kind, b), floats((b[-1],))
                yield ms("MatMulIntegerToFloat", [x, w, f32(0.03), f32(0.02), a_kind(7), b_kind(2), bias], label)
                if len(b) == 2:
                    scales = rng.uniform(0.01, 0.03, b[-1]).astype(np.float32)
                    yield ms("MatMulIntegerToFloat", [x, w, f32(0.03), scales, None, small(b_kind, b[-1])], label + " per column")
                    yield ms("DynamicQuantizeMatMul", [floats(a), w, scales, small(b_kind, b[-1]), bias], label + " per column",
                             rtol=1e-5, atol=1e-5)
                yield ms("DynamicQuantizeMatMul", [floats(a), w, f32(0.02)], label, rtol=1e-5, atol=1e-5)
            m, k, n = 17, 75, 21
            for trans_a in (0, 1):
                for trans_b in (0, 1):
                    label = f"{a_kind.__name__} {b_kind.__name__} {trans_a} {trans_b}"
                    x, w = codes(a_kind, (k, m) if trans_a else (m, k)), small(b_kind, (n, k) if trans_b else (k, n))
                    scales = rng.uniform(0.01, 0.03, n).astype(np.float32)
                    for bias in (None, rng.integers(-2000, 2000, n).astype(np.int32),
                                 rng.integers(-2000, 2000, (m, n)).astype(np.int32)):
                        for y in ([], [f32(0.9), a_kind(50)]):
                            shape = "none" if bias is None else bias.shape
                            yield ms("QGemm", [x, f32(0.03), a_kind(7), w, f32(0.02), b_kind(2), bias] + y,
                                     f"{label} C {shape} {len(y)}", alpha=1.5, transA=trans_a, transB=trans_b)
                            yield ms("QGemm", [x, f32(0.03), a_kind(7), w, scales, small(b_kind, n), bias] + y,
                                     f"{label} C {shape} {len(y)} per column", transA=trans_a, transB=trans_b)


def qlinear_cases():
    def ms(op, inputs, label="", **more):
        return Case(op, inputs, label, domain=MS, **more)

    for kind in (np.uint8, np.int8):
        name = kind.__name__
        for a, b in (((300,), (300,)), ((4, 5, 6), (5, 1)), ((3, 1, 700), (2, 700)), ((40,), ()), ((1000,), (1,))):
            x, y = codes(kind, a), codes(kind, b)
            # ONNX Runtime multiplies by fixed-point ratios of the scales
            yield ms("QLinearAdd", [x, f32(0.031), kind(9), y, f32(0.07), kind(100), f32(0.08), kind(50)], f"{name} {a} {b}",
                     off=0.01)
            want = np.rint((f32(0.031) * x.astype(np.float32) + f32(0.07) * y.astype(np.float32)) / f32(0.08))
            info = np.iinfo(kind)
            yield ms("QLinearAdd", [x, f32(0.031), None, y, f32(0.07), None, f32(0.08)], f"{name} {a} {b} no zero points",
                     expected=[np.clip(want, info.min, info.max).astype(kind)])
            yield ms("QLinearMul", [x, f32(0.031), kind(9), y, f32(0.07), kind(100), f32(0.6), kind(50)], f"{name} {a} {b}", off=0.01)
        every = np.arange(256).astype(np.uint8).view(kind)
        yield ms("QLinearSigmoid", [every, f32(0.05), kind(12), f32(1 / 256), kind(0)], name, off=0.01)
        yield ms("QLinearLeakyRelu", [every, f32(0.05), kind(12), f32(0.03), kind(33)], name, alpha=0.1, off=0.01)
        c, x, y = rng.integers(0, 2, (5, 1, 3)).astype(bool), codes(kind, (4, 1)), codes(kind, (1, 3))
        yield ms("QLinearWhere", [c, x, f32(0.02), kind(3), y, f32(0.05), kind(0), f32(0.04), kind(8)], name, off=0.01)
        parts = []
        for i in range(3):
            parts += [codes(kind, (2, 3 + i, 4)), f32(0.02 * (i + 1)), kind(3 * i)]
        yield ms("QLinearConcat", [f32(0.04), kind(3)] + parts, name, axis=1, off=0.01)
        yield ms("QLinearConcat", [f32(0.04), kind(3)] + parts[3:6] * 2, name + " same", axis=-1, off=0.01)
        for shape, axis in (((3, 40), -1), ((2, 5, 4), 1)):
            yield ms("QLinearSoftmax", [codes(kind, shape), f32(0.05), kind(12), f32(1 / 256), kind(0 if kind == np.uint8 else -128)],
                     f"{name} {shape} {axis}", axis=axis, opset=13, off=0.03)
        image, last = codes(kind, (2, 6, 9, 8)), codes(kind, (2, 9, 8, 6))
        quant = [f32(0.0503), kind(12), f32(0.0397), kind(20)]
        for more in ({"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]},
                     {"kernel_shape": [2, 3], "pads": [1, 1, 0, 1], "count_include_pad": 1},
                     {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}):
            yield ms("QLinearAveragePool", [image] + quant, f"{name} {more}", off=0.01, **more)
            yield ms("QLinearAveragePool", [last] + quant, f"{name} {more} NHWC", channels_last=1, off=0.01, **more)
        yield ms("QLinearGlobalAveragePool", [image] + quant, name, off=0.1)
        yield ms("QLinearGlobalAveragePool", [last] + quant, name + " NHWC", channels_last=1, off=0.1)
        for axes in ([1], [2, 3], [-1, 0]):
            for keep in (0, 1):
                real = (image.astype(np.float32) - 12) * quant[0]
                want = np.rint(np.mean(real, axis=tuple(axes), keepdims=bool(keep)) / quant[2]) + 20
                yield ms("QLinearReduceMean", [image] + quant, f"{name} {axes} {keep}", axes=axes, keepdims=keep, off=0.02,
                         expected=[np.clip(want, np.iinfo(kind).min, np.iinfo(kind).max).astype(kind)])


def microsoft_float_cases():
    def ms(op, inputs, label="", **more):
        return Case(op, inputs, label, domain=more.pop("domain", MS), **more)

    x, bias = floats((3, 5, 40), 2.0), floats((40,))
    yield ms("Gelu", [x], atol=1e-5)
    yield ms("BiasGelu", [x, bias], atol=1e-5)
    yield ms("FastGelu", [x], atol=1e-5)
    yield ms("FastGelu", [x, bias], "bias", atol=1e-5)
    yield ms("QuickGelu", [x], atol=1e-5)
    yield ms("QuickGelu", [x], "alpha", alpha=1.1, atol=1e-5)
    gamma, beta = floats((40,)), floats((40,))
    for skip in (floats((3, 5, 40)), floats((1, 5, 40)), floats((5, 40))):
        yield ms("SkipLayerNormalization", [x, skip, gamma, beta, bias], f"{skip.shape}", atol=1e-5, rtol=1e-5)
        yield ms("SkipSimplifiedLayerNormalization", [x, skip, gamma, bias], f"{skip.shape}", atol=1e-5, rtol=1e-5, epsilon=1e-5)
    yield ms("SkipLayerNormalization", [x, floats(x.shape), gamma], "least", atol=1e-5, rtol=1e-5, epsilon=1e-3)
    yield ms("SimplifiedLayerNormalization", [x, gamma], domain="", atol=1e-5, rtol=1e-5)


def gather_cases():
    def ms(inputs, label, **more):
        return Case("GatherBlockQuantized", inputs, label, domain=MS, model_opset=21, feed=1, **more)

    indices = np.array([[0, 5, -1], [11, 3, 3]], np.int64)
    for bits in (2, 4, 8):
        columns = 80 * bits // 8
        table, scales = u8((12, columns)), floats((12, 5))
        zeros = u8((12, (5 * bits + 7) // 8))
        for more in ([], [zeros]):
            yield ms([table, indices, scales] + more, f"uint8 {bits} bits {len(more)}", bits=bits, block_size=16, gather_axis=0,
                     quantize_axis=1)
        yield ms([table, indices.astype(np.int32), floats((12, 3)), u8((12, (3 * bits + 7) // 8))], f"uint8 {bits} bits last block",
                 bits=bits, block_size=32, quantize_axis=-1)
    for kind in (ml_dtypes.int4, ml_dtypes.uint4):
        low = -8 if kind == ml_dtypes.int4 else 0
        data = rng.integers(low, low + 16, (3, 40, 10)).astype(kind)
        for axis, scale in ((1, (3, 3, 10)), (2, (3, 40, 1)), (0, (1, 40, 10))):
            for gather in (0, 1, 2):
                picks = rng.integers(-3, 3, (2, 2)).astype(np.int64)
                zeros = rng.integers(low, low + 16, scale).astype(kind)
                for more in ([], [zeros]):
                    yield ms([data, picks, floats(scale)] + more, f"{kind.__name__} axis {axis} gather {gather} {len(more)}",
                             block_size=16, quantize_axis=axis, gather_axis=gather)
    yield ms([u8((12, 40)), indices, floats((12, 5)).astype(np.float16)], "float16", bits=4, block_size=16)


def lstm_cases():
    steps, batch, size, hidden = 7, 3, 21, 18
    for kind in (np.int8, np.uint8):
        for direction, d in (("forward", 1), ("reverse", 1), ("bidirectional", 2)):
            x, w, r = floats((steps, batch, size)), small(kind, (d, size, 4 * hidden)), small(kind, (d, hidden, 4 * hidden))
            zero = np.full(d, 0 if kind == np.int8 else 128, kind)
            scale = rng.uniform(0.002, 0.005, (2, d)).astype(np.float32)
            least = [x, w, r, None, None, None, None, None, scale[0], zero, scale[1], zero]
            full = [x, w, r, floats((d, 8 * hidden), 0.3), np.array([7, 4, 5], np.int32), floats((d, batch, hidden), 0.3),
                    floats((d, batch, hidden), 0.3), floats((d, 3 * hidden), 0.3),
                    rng.uniform(0.002, 0.005, (d, 4 * hidden)).astype(np.float32), np.repeat(zero[:, None], 4 * hidden, 1),
                    rng.uniform(0.002, 0.005, (d, 4 * hidden)).astype(np.float32), np.repeat(zero[:, None], 4 * hidden, 1)]
            same_length = full[:4] + [None] + full[5:]
            # what the rows of ended sequences hold when the state is quantized is ONNX Runtime's own affair
            for label, inputs, near in (("", least, 1e-4), ("all but lengths", same_length, 1e-4), ("all inputs", full, 5e-3)):
                yield Case("DynamicQuantizeLSTM", inputs, f"{kind.__name__} {direction} {label}", domain=MS, outputs=3, rtol=near,
                           atol=near, direction=direction, hidden_size=hidden)


def nbits_cases():
    for bits in (2, 4, 8):
        for block in (16, 32, 128):
            for m, k, n in ((1, 64, 7), (5, 300, 40), (70, 513, 33)):
                blocks = -(-k // block)
                a, b = floats((m, k)), u8((n, blocks, block * bits // 8))
                scales, bias = rng.uniform(0.01, 0.03, (n, blocks)).astype(np.float32), floats((n,))
                packed, real = u8((n, (blocks * bits + 7) // 8)), rng.uniform(0, 2**bits, (n, blocks)).astype(np.float32)
                for label, zeros in (("", None), ("packed zeros", packed), ("float zeros", real)):
                    shifts = np.arange(0, 8, bits)
                    unpack = lambda x, count: ((x[..., None] >> shifts) & (2**bits - 1)).reshape(n, -1)[:, :count].astype(np.float32)
                    zero = real if zeros is real else np.full((n, blocks), 2.0 ** (bits - 1), np.float32) if zeros is None \
                        else unpack(packed, blocks)
                    weights = (unpack(b, blocks * block) - np.repeat(zero, block, 1)) * np.repeat(scales, block, 1)
                    want = a.astype(np.float64) @ weights[:, :k].T.astype(np.float64)
                    yield Case("MatMulNBits", [a, b, scales, zeros, None, bias], f"{bits} {block} {m} {k} {n} {label}", domain=MS,
                               rtol=1e-4, atol=2e-4, K=k, N=n, bits=bits, block_size=block,
                               expected=[(want + bias).astype(np.float32)])
                if bits >= 4:
                    yield Case("MatMulNBits", [a, b, scales, packed], f"{bits} {block} {m} {k} {n} ONNX Runtime", domain=MS,
                               rtol=1e-4, atol=2e-4, K=k, N=n, bits=bits, block_size=block)
                yield Case("MatMulNBits", [a, b, scales], f"{bits} {block} {m} {k} {n} level 4", domain=MS, rtol=1e-4,
                           atol=2e-4, K=k, N=n, bits=bits, block_size=block, accuracy_level=4,
                           expected=[(a @ ((unpack(b, blocks * block) - 2.0 ** (bits - 1)) * np.repeat(scales, block, 1))[:, :k].T
                                      ).astype(np.float32)])


def fused_cases():
    def ms(op, inputs, label="", **more):
        return Case(op, inputs, label, domain=MS, atol=1e-4, rtol=1e-4, **more)

    x, w, bias = floats((2, 3, 9, 9)), floats((4, 3, 3, 3)), floats((4,))
    for activation, params in (("Relu", None), ("Tanh", None), ("Sigmoid", None), ("LeakyRelu", [0.2]), ("Clip", [-0.5, 2.0]),
                               ("HardSigmoid", [0.3, 0.4])):
        more = {} if params is None else {"activation_params": params}
        yield ms("FusedConv", [x, w, bias], activation, activation=activation, pads=[1, 1, 1, 1], **more)
    yield ms("FusedConv", [x, w, bias, floats((2, 4, 9, 9))], "Z", activation="Relu", pads=[1, 1, 1, 1])
    a, b, c = floats((7, 11)), floats((11, 5)), floats((5,))
    yield ms("FusedGemm", [a, b, c], "Relu", activation="Relu", alpha=0.5, beta=2.0)
    yield ms("FusedGemm", [a.T.copy(), b.T.copy()], "LeakyRelu", activation="LeakyRelu", activation_alpha=0.2, transA=1, transB=1)
    a, b = floats((2, 3, 7, 11)), floats((2, 1, 11, 5))
    turn = lambda x: np.swapaxes(x, -1, -2).copy()
    for trans_a in (0, 1):
        for trans_b in (0, 1):
            yield ms("FusedMatMul", [turn(a) if trans_a else a, turn(b) if trans_b else b], f"{trans_a} {trans_b}", alpha=0.25,
                     transA=trans_a, transB=trans_b)
    for kind in (np.uint8, np.int8):
        yield ms("NhwcMaxPool", [codes(kind, (2, 9, 8, 6))], kind.__name__, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1])


def cases():
    for part in (matmul_cases, conv_cases, dynamic_cases, microsoft_matmul_cases, qlinear_cases, microsoft_float_cases, gather_cases, lstm_cases, nbits_cases, fused_cases):
        yield from part()


def compare(case, got, want, counts):
    """What is wrong, or None."""
    if got.shape != want.shape or got.dtype != want.dtype:
        return f"got {got.dtype} {got.shape}, expected {want.dtype} {want.shape}"
    if np.issubdtype(want.dtype, np.integer):
        different = got != want
        counts["compared"] += want.size
        counts["different"] += int(different.sum())
        if not different.any():
            return None
        at = np.flatnonzero(different)
        by = int(np.max(np.abs(got.astype(np.int64) - want.astype(np.int64))))
        if by <= 1 and at.size <= case.off * want.size:
            return None
        return f"{at.size} of {want.size} differ, by up to {by}; at {at[:4]}: {got.flat[at[:4]]} against {want.flat[at[:4]]}"
    if np.allclose(got.astype(np.float64), want.astype(np.float64), rtol=case.rtol, atol=case.atol, equal_nan=True):
        return None
    error = np.abs(got.astype(np.float64) - want.astype(np.float64))
    return f"largest difference {np.nanmax(error)}: got {got.ravel()[:5]}, expected {want.ravel()[:5]}"


def read_outputs(tool, paths):
    lines = subprocess.run([tool] + paths, check=True, capture_output=True, text=True).stdout.splitlines()
    results = {}
    for line in lines:
        word, path, index, rest = line.split(" ", 3)
        results[(path, int(index))] = (word, rest)
    return results


def check(case, path, results, counts):
    try:
        wants = case.oracle()
    except Exception as problem:  # whatever ONNX Runtime raises, the case is not checked
        return f"the oracle: {str(problem).splitlines()[0]}"
    for index, want in enumerate(wants):
        word, rest = results.get((path, index), ("error", "no output"))
        if word != "ok":
            return rest
        stored = as_stored(np.asarray(want))
        _, _, *dims = (int(number) for number in rest.split())
        raw = np.fromfile(f"{path}.{index}.raw", dtype=np.uint8)
        if raw.size != stored.nbytes or tuple(dims) != stored.shape:
            return f"got shape {dims} in {raw.size} bytes, expected {stored.dtype} {stored.shape}"
        problem = compare(case, raw.view(stored.dtype).reshape(stored.shape), stored, counts)
        if problem is not None:
            return f"output {index}: {problem}"
    return None


def main():
    folder = tempfile.TemporaryDirectory()
    tool = sys.argv[1] if len(sys.argv) > 1 else build_tool(folder.name)
    passed = failed = 0
    counts = {"compared": 0, "different": 0}
    every = list(cases())
    paths = []
    for number, case in enumerate(every):
        paths.append(os.path.join(folder.name, f"{number}.onnx"))
        onnx.save(case.model(False), paths[-1])
    results = read_outputs(tool, paths)
    for case, path in zip(every, paths):
        problem = check(case, path, results, counts)
        passed += problem is None
        failed += problem is not None
        if problem is not None:
            print(f"FAILED {case.name}: {problem}")
    print(f"{counts['compared']} integers compared, {counts['different']} differ")
    summary(passed, failed, 0)


if __name__ == "__main__":
    main()
