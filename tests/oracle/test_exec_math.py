"""Mathematical operators of core/exec against NumPy and onnx.reference: test_exec_math.py [EXEC_TOOL].

Activations, reductions, normalizations and pooling, every version whose semantics differ, random shapes. The models
have no inputs and are evaluated by tests/oracle/exec_tool.c (see test_exec.py). Results must agree within a few ulp of
the type for single functions and within a relative tolerance for sums. Prints "N passed, N failed, N skipped".
"""

import os
import subprocess
import sys
import tempfile

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper

from common import summary
from test_exec import FLOATS, INTS, NAME, NP, Case, as_stored, build_tool, node, numbers, oracle_outputs, rng

TOLERANCE = {np.dtype(np.float32): 3e-6, np.dtype(np.float64): 1e-12, np.dtype(np.float16): 2e-3,
             np.dtype(ml_dtypes.bfloat16): 1.6e-2}
EPSILON = float(np.float32(1e-5))
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 88.8, -88.0, -104.0, 1e30, -1e30], np.float32)


def shape(*ranks):
    """A random small shape of one of the ranks."""
    return [int(n) for n in rng.integers(1, 9, rng.choice(ranks))]


def wide(function):
    """expected= for a function of float64."""
    def apply(*arrays):
        with np.errstate(all="ignore"):
            return [np.asarray(function(*[a.astype(np.float64) for a in arrays])).astype(arrays[0].dtype)]
    return apply


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def vector_erf(x):
    import math
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def activation_cases():
    functions = {
        "Relu": (14, {}, lambda x: np.maximum(x, 0)),
        "LeakyRelu": (16, {"alpha": 0.3}, lambda x: np.where(x < 0, np.float32(0.3) * x, x)),
        "Elu": (22, {"alpha": 2.0}, lambda x: np.where(x < 0, 2 * np.expm1(x), x)),
        "Celu": (28, {"alpha": 2.0}, lambda x: np.where(x < 0, 2 * np.expm1(x / 2), x)),
        "Selu": (22, {}, lambda x: 1.05070102214813232421875 * np.where(x > 0, x, 1.67326319217681884765625 * np.expm1(x))),
        "ThresholdedRelu": (22, {"alpha": 0.5}, lambda x: np.where((x > 0.5) | np.isnan(x), x, 0)),
        "Sigmoid": (13, {}, sigmoid),
        "HardSigmoid": (22, {"alpha": 0.25, "beta": 0.5}, lambda x: np.clip(0.25 * x + 0.5, 0, 1)),
        "HardSwish": (22, {}, lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
        "Tanh": (13, {}, np.tanh),
        "Softplus": (22, {}, softplus),
        "Softsign": (22, {}, lambda x: x / (1 + np.abs(x))),
        "Mish": (22, {}, lambda x: x * np.tanh(softplus(x))),
        "Gelu": (20, {}, lambda x: 0.5 * x * (1 + vector_erf(x / np.sqrt(2)))),
        "Swish": (24, {"alpha": 1.5}, lambda x: x * sigmoid(1.5 * x)),
        "Exp": (13, {}, np.exp), "Erf": (13, {}, vector_erf),
        "Sin": (22, {}, np.sin), "Cos": (22, {}, np.cos), "Tan": (22, {}, np.tan), "Atan": (22, {}, np.arctan),
        "Sinh": (22, {}, np.sinh), "Cosh": (22, {}, np.cosh), "Asinh": (22, {}, np.arcsinh),
    }
    for op, (opset, attributes, function) in functions.items():
        for dtype in (T.FLOAT, T.FLOAT16, T.DOUBLE):
            values = numbers(dtype, (700,), -6, 6)
            yield Case(f"{op} {NAME[dtype]}", [node(op, "x", **attributes)], {"x": values}, opset=opset,
                       expected=wide(function)(values))
        if op not in ("Sin", "Cos", "Tan", "HardSwish", "Mish", "Gelu", "Swish", "Softsign"):
            yield Case(f"{op} special", [node(op, "x", **attributes)], {"x": SPECIAL}, opset=opset,
                       expected=wide(function)(SPECIAL))
    for op, low, high, function in (("Log", 1e-6, 9, np.log), ("Asin", -1, 1, np.arcsin), ("Acos", -1, 1, np.arccos),
                                    ("Acosh", 1, 9, np.arccosh), ("Atanh", -0.99, 0.99, np.arctanh)):
        for dtype in (T.FLOAT, T.DOUBLE):
            values = numbers(dtype, (700,), low, high)
            yield Case(f"{op} {NAME[dtype]}", [node(op, "x")], {"x": values}, opset=22, expected=wide(function)(values))
    values = numbers(T.FLOAT, (700,), -6, 6)
    tanh = wide(lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3))))
    yield Case("Gelu tanh", [node("Gelu", "x", approximate="tanh")], {"x": values}, expected=tanh(values))
    for dtype in (T.FLOAT, T.INT32, T.UINT8):
        yield Case(f"Shrink {NAME[dtype]}", [node("Shrink", "x", lambd=1.5, bias=0.5)], {"x": numbers(dtype, (50,), -4, 4)})
    for dtype in (T.FLOAT, T.DOUBLE, T.INT32):
        for a, b in (((3, 4, 5), (5,)), ((3, 4, 5), (4, 1)), ((2, 7), (2, 7)), ((9,), (1,))):
            yield Case(f"PRelu {NAME[dtype]} {a} {b}", [node("PRelu", "xs")],
                       {"x": numbers(dtype, a, -9, 9), "s": numbers(dtype, b, -3, 3)})
    for dtype in (T.FLOAT, T.FLOAT16, T.DOUBLE):
        a, b = numbers(dtype, (40, 9), -5, 5), numbers(dtype, (40, 9), -5, 5)
        yield Case(f"SwiGLU {NAME[dtype]}", [node("SwiGLU", "ab", alpha=1.25)], {"a": a, "b": b}, opset=28,
                   expected=wide(lambda x, y: x * sigmoid(1.25 * x) * y)(a, b))
    x = np.concatenate([numbers(T.FLOAT, (600,), -9, 9), SPECIAL])
    yield Case("Clip 6", [node("Clip", "x", min=-1.0, max=2.0)], {"x": x}, opset=6 + 1)
    yield Case("Clip 6 max", [node("Clip", "x", max=2.0)], {"x": x}, opset=10, expected=[np.minimum(x, np.float32(2))])
    for dtype in FLOATS + INTS:
        values = numbers(dtype, (600,), -90, 90)
        low, high = np.array(3, NP[dtype]), np.array(40, NP[dtype])
        yield Case(f"Clip {NAME[dtype]}", [node("Clip", "xlh")], {"x": values, "l": low, "h": high})
        yield Case(f"Clip max {NAME[dtype]}", [node("Clip", ["x", "", "h"])], {"x": values, "h": high},
                   expected=[np.minimum(values, high)])
    yield Case("Clip nothing", [node("Clip", "x")], {"x": x})
    for dtype in (T.FLOAT, T.DOUBLE, T.FLOAT16):
        y = x.astype(NP[dtype]) if dtype != T.FLOAT16 else np.clip(x, -6e4, 6e4).astype(np.float16)
        yield Case(f"IsNaN {NAME[dtype]}", [node("IsNaN", "x")], {"x": y})
        for a, b in ((1, 1), (0, 1), (1, 0)):
            yield Case(f"IsInf {NAME[dtype]} {a} {b}", [node("IsInf", "x", detect_negative=a, detect_positive=b)], {"x": y})


def elementwise_cases():
    for dtype in (T.INT8, T.INT16, T.INT32, T.INT64):
        x = numbers(dtype, (300, 1), -2**60, 2**60)
        y = np.array([0, 1, 5, 7, 8, 31, 63, 64, 100, -1], np.int64).astype(NP[dtype])
        bits = 8 * NP[dtype].itemsize
        inside = (y >= 0) & (y < bits)
        k = np.where(inside, y, 0).astype(NP[dtype])
        yield Case(f"BitShift LEFT {NAME[dtype]}", [node("BitShift", "xk", direction="LEFT")], {"x": x, "k": y}, opset=28,
                   expected=[np.where(inside, np.left_shift(x, k), 0).astype(NP[dtype])])
        yield Case(f"BitShift RIGHT {NAME[dtype]}", [node("BitShift", "xk", direction="RIGHT")], {"x": x, "k": y}, opset=28,
                   expected=[np.where(inside, np.right_shift(x, k), np.where(x < 0, -1, 0)).astype(NP[dtype])])
    x, y = numbers(T.FLOAT, (500,), -9, 9), numbers(T.FLOAT, (500,), -5, 5)
    yield Case("Mod float 28", [node("Mod", "xk")], {"x": x, "k": y}, opset=28, expected=wide(np.mod)(x, y))
    base, power = numbers(T.INT64, (400,), -9, 9), numbers(T.INT64, (400,), 0, 30)
    yield Case("Pow int64", [node("Pow", "xk")], {"x": base, "k": power}, expected=[base ** power])
    for a, b in ((T.FLOAT, T.INT32), (T.FLOAT16, T.FLOAT), (T.INT32, T.FLOAT), (T.DOUBLE, T.INT8)):
        base, power = np.abs(numbers(a, (200,), 1, 5)), numbers(b, (200,), 0, 4)
        want = np.power(base.astype(np.float64), power.astype(np.float64)).astype(NP[a])
        yield Case(f"Pow {NAME[a]} {NAME[b]}", [node("Pow", "xk")], {"x": base, "k": power}, expected=[want])
    for source, to in ((T.FLOAT, T.INT32), (T.INT64, T.DOUBLE), (T.FLOAT16, T.UINT16), (T.INT4, T.UINT4), (T.UINT4, T.INT4)):
        value = numbers(source, (33,))
        expected = value.view(NP[to]) if source not in (T.INT4, T.UINT4) else \
            ((value.astype(np.int8) & 15) if to == T.UINT4 else
             np.where(value.astype(np.int8) > 7, value.astype(np.int8) - 16, value.astype(np.int8))).astype(NP[to])
        yield Case(f"BitCast {NAME[source]} {NAME[to]}", [node("BitCast", "x", to=to)], {"x": value}, opset=26,
                   expected=[expected])


def soft_cases():
    for op, function in (("Softmax", lambda e, s: e / s), ("LogSoftmax", lambda e, s: np.log(e) - np.log(s))):
        for dtype in FLOATS:
            for axis in (0, 1, 2, -1):
                x = numbers(dtype, shape(3), -8, 8)
                e = np.exp(x.astype(np.float64))
                want = function(e, e.sum(axis, keepdims=True)).astype(NP[dtype])
                yield Case(f"{op} {NAME[dtype]} {axis}", [node(op, "x", axis=axis)], {"x": x}, expected=[want])
                flat = e.reshape(int(np.prod(x.shape[:axis % 3])), -1)
                want = function(flat, flat.sum(1, keepdims=True)).reshape(x.shape).astype(NP[dtype])
                if dtype != T.BFLOAT16:
                    yield Case(f"{op} 11 {NAME[dtype]} {axis}", [node(op, "x", axis=axis)], {"x": x}, opset=11, expected=[want])
        big = np.array([[1000, 999, -1000], [-np.inf, 0, 1], [5e4, 5e4, 5e4]], np.float32)
        with np.errstate(all="ignore"):
            e = np.exp(big.astype(np.float64) - big.max(1, keepdims=True))
            want = function(e, e.sum(1, keepdims=True)) if op == "Softmax" else \
                big.astype(np.float64) - big.max(1, keepdims=True) - np.log(e.sum(1, keepdims=True))
        yield Case(f"{op} large", [node(op, "x")], {"x": big}, expected=[want.astype(np.float32)])
        long = numbers(T.FLOAT, (3, 5000), -30, 30)
        e = np.exp(long.astype(np.float64))
        yield Case(f"{op} long rows", [node(op, "x")], {"x": long},
                   expected=[function(e, e.sum(1, keepdims=True)).astype(np.float32)])
    for axis in (0, 1, -1):
        yield Case(f"Hardmax {axis}", [node("Hardmax", "x", axis=axis)], {"x": numbers(T.FLOAT, (4, 5, 6), -3, 3).round()})


def reduce_cases():
    functions = {
        "ReduceSum": np.sum, "ReduceMean": np.mean, "ReduceMax": np.max, "ReduceMin": np.min, "ReduceProd": np.prod,
        "ReduceL1": lambda x, **k: np.abs(x).sum(**k), "ReduceL2": lambda x, **k: np.sqrt((x * x).sum(**k)),
        "ReduceLogSum": lambda x, **k: np.log(x.sum(**k)), "ReduceLogSumExp": lambda x, **k: np.log(np.exp(x).sum(**k)),
        "ReduceSumSquare": lambda x, **k: (x * x).sum(**k)}
    for op, function in functions.items():
        for dtype in (T.FLOAT, T.FLOAT16, T.DOUBLE, T.INT32, T.INT64):
            for axes in (None, (0,), (-1,), (1, 2), (0, 2), (0, 3), (0, 1, 2, 3)):
                integer = dtype in INTS
                if integer and op in ("ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean"):
                    continue
                x = numbers(dtype, shape(4), 0 if op == "ReduceLogSum" else -2, 2)
                if op == "ReduceLogSum":
                    x = (x + 1).astype(NP[dtype])
                magnitude = float(np.abs(x).sum()) if dtype == T.FLOAT and op == "ReduceSum" else 0
                for keep in (0, 1):
                    want = np.asarray(function(x.astype(np.int64 if integer else np.float64), axis=axes, keepdims=bool(keep)))
                    want = want.astype(NP[dtype])
                    attribute = {} if axes is None else {"axes": list(axes)}
                    if dtype in (T.FLOAT, T.INT32):
                        yield Case(f"{op} 11 {NAME[dtype]} {axes} {keep}", [node(op, "x", keepdims=keep, **attribute)],
                                   {"x": x}, opset=11, ulp=magnitude, expected=[want])
                    constants = {"x": x} if axes is None else {"x": x, "a": np.array(axes, np.int64)}
                    yield Case(f"{op} {NAME[dtype]} {axes} {keep}", [node(op, list(constants), keepdims=keep)], constants,
                               opset=20, ulp=magnitude, expected=[want])
        x = np.abs(numbers(T.FLOAT, (4, 3), 1, 3))
        yield Case(f"{op} noop", [node(op, "xa", noop_with_empty_axes=1)], {"x": x, "a": np.zeros(0, np.int64)}, opset=20,
                   expected=[function(x[..., None], axis=-1)])
        long = np.abs(numbers(T.FLOAT, (2, 3, 3000), 0.9, 1.1))
        yield Case(f"{op} long", [node(op, "xa")], {"x": long, "a": np.array([2], np.int64)}, opset=20,
                   expected=[function(long.astype(np.float64), axis=2, keepdims=True).astype(np.float32)])
    for op, function in (("ArgMax", np.argmax), ("ArgMin", np.argmin)):
        for dtype in (T.FLOAT, T.INT8, T.UINT64, T.DOUBLE):
            for axis in (0, 1, -1):
                for last in (0, 1):
                    x = numbers(dtype, (3, 700, 4) if axis == 1 else shape(3), -3, 3).astype(np.float32).round().astype(NP[dtype])
                    want = function(np.flip(x, axis) if last else x, axis=axis)
                    want = x.shape[axis] - 1 - want if last else want
                    yield Case(f"{op} {NAME[dtype]} {axis} {last}",
                               [node(op, "x", axis=axis, keepdims=0, select_last_index=last)], {"x": x}, opset=13,
                               expected=[want.astype(np.int64)])


def norm_cases():
    for dtype in (T.FLOAT, T.FLOAT16, T.DOUBLE):
        kind = NP[dtype]
        for dims in ((3, 5), (2, 3, 7), (2, 4, 5, 6), (1, 3, 2, 2, 3), (1, 20, 40, 41)):
            x = numbers(dtype, dims, -3, 3)
            c = dims[1]
            s, b, m = (numbers(dtype, (c,), -2, 2) for _ in range(3))
            v = np.abs(numbers(dtype, (c,), 0.5, 2))
            constants = {"x": x, "s": s, "b": b, "m": m, "v": v}
            wide_x = x.astype(np.float64)
            side = (1, c) + (1,) * (len(dims) - 2)
            S, B, M, V = (t.astype(np.float64).reshape(side) for t in (s, b, m, v))
            want = (wide_x - M) / np.sqrt(V + float(np.float32(1e-3))) * S + B
            for opset in (7, 9, 14, 15):
                yield Case(f"BatchNormalization {opset} {NAME[dtype]} {dims}",
                           [node("BatchNormalization", "xsbmv", epsilon=1e-3)], constants, opset=opset,
                           expected=[want.astype(kind)])
            if len(dims) > 2:
                space = tuple(range(2, len(dims)))
                want = (wide_x - wide_x.mean(space, keepdims=True)) / np.sqrt(wide_x.var(space, keepdims=True) + EPSILON) * S + B
                yield Case(f"InstanceNormalization {NAME[dtype]} {dims}", [node("InstanceNormalization", "xsb")],
                           {"x": x, "s": s, "b": b}, opset=22, expected=[want.astype(kind)])
            want = np.zeros_like(wide_x)
            for k in range(c):
                near = wide_x[:, max(0, k - 1):k + 3]
                want[:, k] = wide_x[:, k] / (1.5 + 0.25 / 4 * (near ** 2).sum(1)) ** 0.75
            yield Case(f"LRN {NAME[dtype]} {dims}", [node("LRN", "x", size=4, alpha=0.25, bias=1.5)], {"x": x},
                       expected=[want.astype(kind)])
            for p in (1, 2):
                for axis in (0, 1, -1):
                    norm = np.linalg.norm(wide_x, p, axis, keepdims=True)
                    yield Case(f"LpNormalization {p} {axis} {NAME[dtype]} {dims}", [node("LpNormalization", "x", p=p, axis=axis)],
                               {"x": x}, opset=22, expected=[(wide_x / norm).astype(kind)])
        for axis in (0, 1, -1):
            x = numbers(dtype, (3, 4, 50), -3, 3)
            rest = x.shape[axis:]
            over = tuple(range(axis % 3, 3))
            wide_x = x.astype(np.float64)
            mean, var = wide_x.mean(over, keepdims=True), wide_x.var(over, keepdims=True)
            for parameters in (rest, rest[-1:]):
                s, b = numbers(dtype, parameters, -2, 2), numbers(dtype, parameters, -2, 2)
                want = (wide_x - mean) / np.sqrt(var + EPSILON) * s.astype(np.float64)
                yield Case(f"LayerNormalization {NAME[dtype]} {axis} {parameters}",
                           [node("LayerNormalization", "xsb", ["y", "m", "i"], axis=axis)], {"x": x, "s": s, "b": b},
                           outputs=("y", "m", "i"), opset=17,
                           expected=[(want + b.astype(np.float64)).astype(kind), mean.astype(np.float32),
                                     (1 / np.sqrt(var + EPSILON)).astype(np.float32)])
                yield Case(f"LayerNormalization {NAME[dtype]} {axis} {parameters} no bias",
                           [node("LayerNormalization", "xs", axis=axis)], {"x": x, "s": s}, opset=17,
                           expected=[want.astype(kind)])
                rms = wide_x / np.sqrt((wide_x ** 2).mean(over, keepdims=True) + EPSILON) * s.astype(np.float64)
                yield Case(f"RMSNormalization {NAME[dtype]} {axis} {parameters}", [node("RMSNormalization", "xs", axis=axis)],
                           {"x": x, "s": s}, opset=23, expected=[rms.astype(kind)])
        x = numbers(dtype, (2, 6, 4, 5), -3, 3)
        for groups in (1, 2, 3, 6):
            part = x.astype(np.float64).reshape(2, groups, -1)
            part = (part - part.mean(2, keepdims=True)) / np.sqrt(part.var(2, keepdims=True) + EPSILON)
            for opset, count in ((18, groups), (21, 6)):
                s, b = numbers(dtype, (count,), -2, 2), numbers(dtype, (count,), -2, 2)
                S, B = (np.repeat(t.astype(np.float64), 6 // count).reshape(1, 6, 1, 1) for t in (s, b))
                yield Case(f"GroupNormalization {opset} {groups} {NAME[dtype]}",
                           [node("GroupNormalization", "xsb", num_groups=groups)], {"x": x, "s": s, "b": b}, opset=opset,
                           expected=[(part.reshape(x.shape) * S + B).astype(kind)])
        for axes in ((0, 2, 3), (1,), (2, 3)):
            w = x.astype(np.float64)
            want = (w - w.mean(axes, keepdims=True)) / (w.std(axes, keepdims=True) + 1e-9)
            yield Case(f"MeanVarianceNormalization {NAME[dtype]} {axes}",
                       [node("MeanVarianceNormalization", "x", axes=list(axes))], {"x": x}, opset=13,
                       expected=[want.astype(kind)])
    yield Case("LpNormalization zero", [node("LpNormalization", "x")], {"x": np.zeros((2, 3), np.float32)}, opset=22,
               expected=[np.zeros((2, 3), np.float32)])


def pool_cases():
    def windows(dims):
        for kernel, stride, dilation in ((2, 2, 1), (3, 1, 1), (3, 2, 1), (3, 2, 2), (5, 1, 1), (1, 3, 1)):
            for pad in ((0, 0), (1, 1), (0, 1)):
                if max(pad) < kernel and all(n + sum(pad) >= dilation * (kernel - 1) + 1 for n in dims):
                    yield {"kernel_shape": [kernel] * len(dims), "strides": [stride] * len(dims),
                           "dilations": [dilation] * len(dims), "pads": [pad[0]] * len(dims) + [pad[1]] * len(dims)}

    for dims in ((23,), (9, 8), (7, 21), (33, 40), (5, 6, 7)):
        x = numbers(T.FLOAT, (2, 3) + dims, -9, 9)
        for attributes in windows(dims):
            name = f"{dims} {list(attributes.values())}"
            for ceil in (0, 1):
                yield Case(f"MaxPool {name} {ceil}", [node("MaxPool", "x", ceil_mode=ceil, **attributes)], {"x": x},
                           opset=22, expected=pool(x, "max", ceil, **attributes))
                for include in (0, 1):
                    yield Case(f"AveragePool {name} {ceil} {include}",
                               [node("AveragePool", "x", ceil_mode=ceil, count_include_pad=include, **attributes)], {"x": x},
                               opset=22, expected=pool(x, "include" if include else "mean", ceil, **attributes))
                for p in (1, 2, 3):
                    yield Case(f"LpPool {name} {ceil} {p}", [node("LpPool", "x", ceil_mode=ceil, p=p, **attributes)], {"x": x},
                               opset=22, expected=pool(x, p, ceil, **attributes))
        for op, function in (("GlobalMaxPool", np.max), ("GlobalAveragePool", np.mean)):
            for dtype in (T.FLOAT, T.FLOAT16, T.DOUBLE):
                y = x.astype(NP[dtype])
                want = function(y.astype(np.float64), axis=tuple(range(2, y.ndim)), keepdims=True).astype(NP[dtype])
                yield Case(f"{op} {NAME[dtype]} {dims}", [node(op, "x")], {"x": y}, opset=22, expected=[want])
        want = np.sqrt((x.astype(np.float64) ** 2).sum(tuple(range(2, x.ndim)), keepdims=True)).astype(np.float32)
        yield Case(f"GlobalLpPool {dims}", [node("GlobalLpPool", "x")], {"x": x}, opset=22, expected=[want])
    x = numbers(T.FLOAT, (1, 2, 7, 9), -9, 9)
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        for op in ("MaxPool", "AveragePool"):
            yield Case(f"{op} {mode}", [node(op, "x", kernel_shape=[3, 2], strides=[2, 2], auto_pad=mode)], {"x": x}, opset=13,
                       oracle="runtime")
    x = rng.permutation(2 * 3 * 8 * 10).reshape(2, 3, 8, 10).astype(np.float32)
    blocks = x.reshape(6, 4, 2, 5, 2).transpose(0, 1, 3, 2, 4).reshape(6, 4, 5, 4)
    best = blocks.argmax(-1)
    rows, columns = best // 2 + 2 * np.arange(4)[None, :, None], best % 2 + 2 * np.arange(5)[None, None, :]
    for order, indices in ((0, rows * 10 + columns), (1, columns * 8 + rows)):
        indices = (indices + 80 * np.arange(6)[:, None, None]).reshape(2, 3, 4, 5)
        yield Case(f"MaxPool indices {order}",
                   [node("MaxPool", "x", ["y", "i"], kernel_shape=[2, 2], strides=[2, 2], storage_order=order)], {"x": x},
                   outputs=("y", "i"), opset=22, expected=[blocks.max(-1).reshape(2, 3, 4, 5), indices.astype(np.int64)])
        if order == 0:
            unpooled = np.zeros(480, np.float32)
            unpooled[indices.ravel()] = blocks.max(-1).ravel()
            yield Case("MaxUnpool", [node("MaxUnpool", "vi", kernel_shape=[2, 2], strides=[2, 2])],
                       {"v": blocks.max(-1).reshape(2, 3, 4, 5), "i": indices.astype(np.int64)}, opset=22,
                       expected=[unpooled.reshape(x.shape)])
    for dtype in (T.INT8, T.UINT8, T.FLOAT16, T.DOUBLE):
        y = numbers(dtype, (1, 2, 9, 9))
        yield Case(f"MaxPool {NAME[dtype]}", [node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2])], {"x": y}, opset=22,
                   expected=pool(y, "max", 0, [3, 3], [2, 2], [1, 1], [0, 0, 0, 0]))
    data = rng.normal(size=(2, 3, 12, 14)).astype(np.float32)
    rois = np.array([[0, 0, 0, 13, 11], [1, 2, 3, 9, 7], [0, 5, 5, 5, 5], [1, 10, 2, 20, 9]], np.float32)
    yield Case("MaxRoiPool", [node("MaxRoiPool", "xr", pooled_shape=[3, 2])], {"x": data, "r": rois}, opset=13,
               oracle="runtime")


def pool(x, how, ceil, kernel_shape, strides, dilations, pads):
    """Pooling by its definition: a window per output, cells outside the data are padding."""
    rank = len(kernel_shape)
    out = []
    for d in range(rank):
        room = x.shape[d + 2] + pads[d] + pads[d + rank] - dilations[d] * (kernel_shape[d] - 1) - 1
        size = room // strides[d] + 1
        if ceil and room % strides[d] and size * strides[d] < x.shape[d + 2] + pads[d]:
            size += 1
        out.append(size)
    y = np.zeros(x.shape[:2] + tuple(out), np.float64)
    for at in np.ndindex(*out):
        cells, area = np.ones((1,) * rank, bool), 1
        index = []
        for d in range(rank):
            positions = at[d] * strides[d] - pads[d] + dilations[d] * np.arange(kernel_shape[d])
            area *= int((positions < x.shape[d + 2] + pads[d + rank]).sum())
            index.append(positions[(positions >= 0) & (positions < x.shape[d + 2])])
        taken = x[np.ix_(range(x.shape[0]), range(x.shape[1]), *index)].astype(np.float64)
        axes = tuple(range(2, 2 + rank))
        if how == "max":
            value = taken.max(axes) if taken.size else -np.inf
        elif how in ("mean", "include"):
            count = area if how == "include" else int(np.prod([len(i) for i in index]))
            value = taken.sum(axes) / count if count else 0
        else:
            value = (np.abs(taken) ** how).sum(axes) ** (1 / how)
        y[(slice(None), slice(None)) + at] = value
    return [y.astype(x.dtype)]


def close(got, want, magnitude):
    """Equal, or within the type's tolerance relative to the value or to 1; float32 sums that cancel also within 2^-27
    of the sum of the magnitudes."""
    if want.dtype == bool or np.issubdtype(want.dtype, np.integer):
        return np.array_equal(got, want)
    tolerance = TOLERANCE[want.dtype]
    return np.allclose(got.astype(np.float64), want.astype(np.float64), rtol=tolerance,
                       atol=tolerance + 2.0 ** -27 * magnitude, equal_nan=True)


def check(case, path, results):
    """What is wrong with a case's outputs, or None."""
    for index, want in enumerate(oracle_outputs(case, case.model())):
        word, rest = results.get((path, index), ("error", "no result"))
        if word != "ok":
            return rest
        dtype, _, *dims = (int(number) for number in rest.split())
        if dtype != helper.np_dtype_to_tensor_dtype(want.dtype) or tuple(dims) != want.shape:
            return f"got type {dtype} and shape {dims}, expected {want.dtype} {want.shape}"
        stored = as_stored(want)
        got = np.fromfile(f"{path}.{index}.raw", dtype=np.uint8).view(stored.dtype).reshape(stored.shape)
        if not close(got, stored, case.ulp):
            with np.errstate(all="ignore"):
                worst = int(np.nanargmax(np.abs(got.astype(np.float64) - stored.astype(np.float64)).ravel()))
            return f"output {index}, value {worst}: got {got.ravel()[worst]}, expected {stored.ravel()[worst]}"
    return None


def main():
    with tempfile.TemporaryDirectory() as folder:
        tool = sys.argv[1] if len(sys.argv) > 1 else build_tool(folder)
        parts = (activation_cases, elementwise_cases, soft_cases, reduce_cases, norm_cases, pool_cases)
        cases = [case for part in parts for case in part()]
        paths = [os.path.join(folder, f"{number}.onnx") for number in range(len(cases))]
        for case, path in zip(cases, paths):
            onnx.save(case.model(), path)
        results = {}
        for first in range(0, len(paths), 500):
            lines = subprocess.run([tool] + paths[first:first + 500], check=True, capture_output=True, text=True).stdout
            for line in lines.splitlines():
                word, path, index, rest = line.split(" ", 3)
                results[(path, int(index))] = (word, rest)
        failed = 0
        for case, path in zip(cases, paths):
            problem = check(case, path, results)
            failed += problem is not None
            if problem:
                print(f"FAILED {case.name}: {problem}")
        summary(len(cases) - failed, failed, 0)


if __name__ == "__main__":
    main()
