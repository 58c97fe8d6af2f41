"""The constant executor (core/exec) against onnx.reference and ONNX Runtime: test_exec.py [EXEC_TOOL].

Makes a model without inputs for every case, evaluates it with tests/oracle/exec_tool.c and compares the bits of every
output with the oracle's: equal for everything that the specification makes exact, within a few ulp for transcendental
functions. Broken models must give an error that says what is wrong. Prints
"N passed, N failed, N skipped"; exit code 1 when something failed.
"""

import math
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
from onnx.reference import ReferenceEvaluator

from common import ROOT, summary

LATEST = 25
FLOATS = (T.FLOAT, T.FLOAT16, T.BFLOAT16, T.DOUBLE)
INTS = (T.INT8, T.UINT8, T.INT16, T.UINT16, T.INT32, T.UINT32, T.INT64, T.UINT64)
SMALL = (T.INT4, T.UINT4, T.INT2, T.UINT2)
MINI = (T.FLOAT8E4M3FN, T.FLOAT8E4M3FNUZ, T.FLOAT8E5M2, T.FLOAT8E5M2FNUZ, T.FLOAT4E2M1)
NP = {dtype: helper.tensor_dtype_to_np_dtype(dtype) for dtype in FLOATS + INTS + SMALL + MINI + (T.BOOL,)}
NAME = {value: key.lower() for key, value in T.DataType.items()}

ort.set_default_logger_severity(4)
rng = np.random.default_rng(20240607)


class Case:
    """One model: nodes over constants, outputs to compare."""

    def __init__(self, name, nodes, constants, outputs=("y",), opset=LATEST, oracle="reference", ulp=0, expected=None,
                 domains=()):
        self.name = name
        self.nodes = nodes
        self.constants = constants
        self.outputs = outputs
        self.opset = opset
        self.oracle = oracle
        self.ulp = ulp
        self.expected = expected
        self.domains = domains

    def model(self):
        values = [helper.make_tensor_value_info(name, T.UNDEFINED, None) for name in self.outputs]
        for value in values:
            value.ClearField("type")
        graph = helper.make_graph(self.nodes, "g", [], values, [tensor(k, v) for k, v in self.constants.items()])
        opsets = [helper.make_opsetid("", self.opset)] + [helper.make_opsetid(d, 1) for d in self.domains]
        model = helper.make_model(graph, opset_imports=opsets)
        model.ir_version = 13
        return model


def tensor(name, value):
    if isinstance(value, onnx.TensorProto):
        value.name = name
        return value
    return numpy_helper.from_array(np.asarray(value), name)


def node(op, inputs, outputs=("y",), **attributes):
    domain = attributes.pop("domain", None)
    return helper.make_node(op, list(inputs), list(outputs), domain=domain, **attributes)


def numbers(dtype, shape, low=-100, high=100, nonzero=False):
    """Random values of a type that fit it."""
    kind = NP[dtype]
    if dtype == T.BOOL:
        return rng.integers(0, 2, shape).astype(bool)
    if dtype in SMALL or dtype in INTS:
        info = ml_dtypes.iinfo(kind)
        low, high = max(low, int(info.min)), min(high, int(info.max))
        values = rng.integers(low, high + 1, shape)
        if nonzero:
            values = np.where(values == 0, 1, values)
        return values.astype(kind)
    values = rng.uniform(low, high, shape)
    return values.astype(np.float32).astype(kind)


def elementwise_cases():
    shapes = [((3, 4, 5), (4, 1)), ((7,), ()), ((2, 1, 3), (1, 700, 1)), ((1100,), (1100,))]
    for op, types in {"Add": FLOATS + INTS, "Sub": FLOATS + INTS, "Mul": FLOATS + INTS, "Div": FLOATS + INTS,
                      "Max": FLOATS + INTS, "Min": FLOATS + INTS, "Equal": FLOATS + INTS + (T.BOOL,),
                      "Greater": FLOATS + INTS, "Less": FLOATS + INTS, "GreaterOrEqual": FLOATS, "LessOrEqual": INTS,
                      "And": (T.BOOL,), "Or": (T.BOOL,), "Xor": (T.BOOL,), "BitwiseAnd": INTS, "BitwiseOr": INTS,
                      "BitwiseXor": INTS}.items():
        for dtype in types:
            for a, b in shapes:
                x, y = numbers(dtype, a), numbers(dtype, b, nonzero=op == "Div")
                if op == "Div" and dtype in INTS:  # towards zero (C), which NumPy does not do
                    quotient = np.trunc(x.astype(np.longdouble) / y.astype(np.longdouble)).astype(NP[dtype])
                    yield Case(f"{op} {NAME[dtype]} {a} {b}", [node(op, "ab")], {"a": x, "b": y}, expected=[quotient])
                else:
                    yield Case(f"{op} {NAME[dtype]} {a} {b}", [node(op, "ab")], {"a": x, "b": y})
    for dtype in INTS:
        x, y = numbers(dtype, (500,)), numbers(dtype, (500,), nonzero=True)
        yield Case(f"Mod {NAME[dtype]}", [node("Mod", "ab")], {"a": x, "b": y})
        yield Case(f"Mod fmod {NAME[dtype]}", [node("Mod", "ab", fmod=1)], {"a": x, "b": y})
    for dtype in (T.FLOAT, T.DOUBLE):
        yield Case(f"Mod {NAME[dtype]}", [node("Mod", "ab", fmod=1)],
                   {"a": numbers(dtype, (500,)), "b": numbers(dtype, (500,))})
    for dtype in (T.UINT8, T.UINT16, T.UINT32, T.UINT64):
        for direction in ("LEFT", "RIGHT"):
            for a, b in (((300, 1), (1, 8)), ((4, 8), (8,))):
                yield Case(f"BitShift {direction} {NAME[dtype]} {a}", [node("BitShift", "ab", direction=direction)],
                           {"a": numbers(dtype, a, 0, 255), "b": numbers(dtype, b, 0, 7)})
    for op in ("Sum", "Max", "Min", "Mean"):
        yield Case(f"{op} of three", [node(op, "abc")],
                   {"a": numbers(T.FLOAT, (3, 4)), "b": numbers(T.FLOAT, (3, 4)), "c": numbers(T.FLOAT, (3, 4))},
                   ulp=1 if op == "Mean" else 0)
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, 2.5, -0.5], np.float32)
    for op in ("Floor", "Ceil", "Round", "Neg", "Abs", "Sqrt", "Reciprocal", "Sign", "Relu"):
        for dtype in FLOATS if op in ("Neg", "Abs", "Floor", "Ceil") else (T.FLOAT, T.FLOAT16, T.DOUBLE):
            values = np.concatenate([numbers(dtype, (600,), -4, 4), special.astype(NP[dtype])])
            if op == "Sqrt":
                values = np.abs(values)
            # ulp 1: the sign of a zero from Relu is open
            yield Case(f"{op} {NAME[dtype]}", [node(op, "a")], {"a": values}, ulp=1 if op == "Relu" else 0)
    for op in ("Neg", "Abs", "Sign"):
        yield Case(f"{op} int32", [node(op, "a")], {"a": numbers(T.INT32, (50,))})
    for op in ("Exp", "Log", "Sin", "Cos", "Tanh", "Sigmoid", "Erf"):
        for dtype in (T.FLOAT, T.DOUBLE):
            values = numbers(dtype, (600,), -4, 4)
            values = np.abs(values) if op == "Log" else values
            expected = [np.array([math.erf(v) for v in values], NP[dtype])] if op == "Erf" else None
            yield Case(f"{op} {NAME[dtype]}", [node(op, "a")], {"a": values}, ulp=4 if dtype == T.FLOAT else None,
                       expected=expected)
    base, power = np.abs(numbers(T.FLOAT, (300,), -4, 4)), numbers(T.FLOAT, (300,), -3, 3)
    yield Case("Pow float32", [node("Pow", "ab")], {"a": base, "b": power}, ulp=2)
    yield Case("Pow float32 int64", [node("Pow", "ab")], {"a": base, "b": np.array(2, np.int64)}, ulp=1)
    yield Case("Pow int32", [node("Pow", "ab")], {"a": np.array([2, 3, -4], np.int32), "b": np.array([0, 5, 3], np.int32)})
    yield Case("Not", [node("Not", "a")], {"a": numbers(T.BOOL, (9, 3))})
    for dtype in INTS:
        yield Case(f"BitwiseNot {NAME[dtype]}", [node("BitwiseNot", "a")], {"a": numbers(dtype, (70,))})
    for dtype in FLOATS + INTS + (T.BOOL,):
        yield Case(f"Where {NAME[dtype]}", [node("Where", "cab")],
                   {"c": numbers(T.BOOL, (5, 1, 3)), "a": numbers(dtype, (4, 1)), "b": numbers(dtype, ())})


def cast_cases():
    values = {
        T.FLOAT: np.concatenate([np.array([0.0, -0.0, 1, -1, 0.4, 0.5, 0.75, 1.5, 2.5, 3.5, 5, 7, 1e-3, 448, 464, 1e-9],
                                          np.float32), rng.uniform(-9, 9, 700).astype(np.float32),
                                 rng.normal(0, 1e-2, 300).astype(np.float32)]),
    }
    overflow = np.array([1e9, -1e9, 465, 57344, 61440, 70000, np.inf, -np.inf, np.nan, 240, 248, 1e-8], np.float32)
    codes = np.arange(256, dtype=np.uint8)
    for source in FLOATS:
        x = values[T.FLOAT].astype(NP[source])
        for to in FLOATS + (T.BOOL,) + MINI:
            yield Case(f"Cast {NAME[source]} {NAME[to]}", [node("Cast", "x", to=to)], {"x": x})
        small = numbers(source, (400,), -120, 120)
        for to in INTS:
            x = np.abs(small) if NAME[to].startswith("u") else small
            yield Case(f"Cast {NAME[source]} {NAME[to]}", [node("Cast", "x", to=to)], {"x": x})
    for source in INTS + (T.BOOL,):
        x = numbers(source, (300,), -2**40, 2**40)
        for to in FLOATS + INTS + SMALL + (T.BOOL,):
            yield Case(f"Cast {NAME[source]} {NAME[to]}", [node("Cast", "x", to=to)], {"x": x})
    for source in SMALL:
        x = numbers(source, (301,))
        for to in (T.FLOAT, T.FLOAT16, T.INT8, T.UINT8, T.INT32, T.INT64):
            yield Case(f"Cast {NAME[source]} {NAME[to]}", [node("Cast", "x", to=to)], {"x": x})
    for source in MINI:
        x = codes[:16 if source == T.FLOAT4E2M1 else 256].view(NP[source])
        for to in (T.FLOAT, T.FLOAT16, T.BFLOAT16, T.DOUBLE):
            yield Case(f"Cast {NAME[source]} {NAME[to]}", [node("Cast", "x", to=to)], {"x": x})
    for to in MINI[:4]:
        yield Case(f"Cast overflow {NAME[to]}", [node("Cast", "x", to=to, saturate=0)], {"x": overflow})
    for mode, saturate in (("up", 1), ("down", 1), ("nearest", 1)):
        positive = np.abs(rng.normal(0, 1e3, 200)).astype(np.float32)
        yield Case(f"Cast float8e8m0 {mode}", [node("Cast", "x", to=T.FLOAT8E8M0, round_mode=mode, saturate=saturate),
                                               ], {"x": positive})
    for to, kind in ((27, ml_dtypes.float6_e2m3fn), (28, ml_dtypes.float6_e3m2fn)):
        x = values[T.FLOAT]
        yield Case(f"Cast float6 {to}", [node("Cast", "x", to=to)], {"x": x}, opset=28, expected=[x.astype(kind)])
        every = np.arange(64, dtype=np.uint8).view(kind)
        yield Case(f"Cast from float6 {to}", [node("Cast", "x", to=T.FLOAT)], {"x": every}, opset=28,
                   expected=[every.astype(np.float32)])
    yield Case("Cast Cast", [node("Cast", "x", ["t"], to=T.FLOAT16), node("Cast", "t", to=T.FLOAT)],
               {"x": values[T.FLOAT]})
    yield Case("CastLike", [node("CastLike", "xl")], {"x": values[T.FLOAT], "l": np.zeros(1, np.float16)})


def shape_cases():
    x = numbers(T.FLOAT, (2, 3, 4, 5))
    ints = lambda *v: np.array(v, np.int64)
    yield Case("Identity", [node("Identity", "x")], {"x": x})
    for shape in ((6, 20), (-1,), (0, -1), (2, 3, 4, 5, 1)):
        yield Case(f"Reshape {shape}", [node("Reshape", "xs")], {"x": x, "s": ints(*shape)})
    yield Case("Reshape allowzero", [node("Reshape", "xs", allowzero=1)], {"x": np.zeros((0, 3), np.float32), "s": ints(3, 0)})
    for axis in (0, 1, 3, 4, -2):
        yield Case(f"Flatten {axis}", [node("Flatten", "x", axis=axis)], {"x": x})
    yield Case("Squeeze", [node("Squeeze", "xa")], {"x": x.reshape(2, 1, 60, 1), "a": ints(1, -1)})
    yield Case("Squeeze all", [node("Squeeze", "x")], {"x": x.reshape(2, 1, 60, 1)})
    yield Case("Squeeze 11", [node("Squeeze", "x", axes=[1])], {"x": x.reshape(2, 1, 60, 1)}, opset=11)
    yield Case("Unsqueeze", [node("Unsqueeze", "xa")], {"x": x, "a": ints(0, -1, 2)})
    yield Case("Unsqueeze 11", [node("Unsqueeze", "x", axes=[0, 5])], {"x": x}, opset=11)
    for perm in ((3, 2, 1, 0), (0, 2, 1, 3), (0, 1, 2, 3), (1, 3, 0, 2)):
        yield Case(f"Transpose {perm}", [node("Transpose", "x", perm=perm)], {"x": x})
    yield Case("Transpose", [node("Transpose", "x")], {"x": numbers(T.INT4, (33, 35))})
    for dtype in (T.FLOAT16, T.DOUBLE, T.INT8, T.UINT2, T.FLOAT8E5M2):
        yield Case(f"Transpose {NAME[dtype]}", [node("Transpose", "x", perm=[1, 0])], {"x": numbers(dtype, (65, 19), -3, 3)})
    for s, e, a, st in (((1,), (3,), (2,), (1,)), ((-3, 0), (100, -1), (2, 1), (2, 1)), ((10, 3), (-100, 0), (3, 2), (-1, -2)),
                        ((5,), (2,), (1,), (1,)), ((0,), (2**63 - 1,), (0,), (2**62,)), ((2**62,), (-2**62,), (3,), (-2**62,))):
        yield Case(f"Slice {s} {e} {a} {st}", [node("Slice", "xseat")],
                   {"x": x, "s": ints(*s), "e": ints(*e), "a": ints(*a), "t": ints(*st)})
    yield Case("Slice 9", [node("Slice", "x", starts=[1, 0], ends=[2, 2], axes=[0, 3])], {"x": x}, opset=9)
    for axis in (0, 1, -1):
        parts = {name: numbers(T.FLOAT16, [n if i == axis % 3 else 4 for i in range(3)]) for name, n in (("a", 2), ("b", 1), ("c", 5))}
        yield Case(f"Concat {axis}", [node("Concat", "abc", axis=axis)], parts)
    yield Case("Split", [node("Split", "xs", "pqr", axis=2)], {"x": x, "s": ints(1, 0, 3)}, outputs="pqr")
    yield Case("Split equal", [node("Split", "x", "pq", axis=3, num_outputs=2)], {"x": x}, outputs="pq")
    yield Case("Split 11", [node("Split", "x", "pq", axis=0, split=[1, 1])], {"x": x}, outputs="pq", opset=11)
    yield Case("Expand", [node("Expand", "xs")], {"x": x[:, :1], "s": ints(3, 1, 3, 1, 5)})
    yield Case("Expand scalar", [node("Expand", "xs")], {"x": np.float32(3), "s": ints(2, 3)})
    yield Case("Tile", [node("Tile", "xr")], {"x": x, "r": ints(2, 1, 3, 2)})
    yield Case("Tile 1", [node("Tile", "xr")], {"x": x[0, 0, 0], "r": ints(4)})
    for mode in ("DCR", "CRD"):
        yield Case(f"DepthToSpace {mode}", [node("DepthToSpace", "x", blocksize=2, mode=mode)],
                   {"x": numbers(T.FLOAT, (2, 12, 3, 5))})


def create_cases():
    x = numbers(T.FLOAT, (2, 3, 4))
    for dtype in FLOATS + INTS + SMALL + MINI + (T.BOOL,):
        value = numbers(dtype, (3, 5), -3, 3)
        yield Case(f"Constant {NAME[dtype]}", [node("Constant", "", value=numpy_helper.from_array(value))], {},
                   expected=[value])
    yield Case("Constant float", [node("Constant", "", value_float=1.25)], {})
    yield Case("Constant floats", [node("Constant", "", value_floats=[1.25, 3])], {})
    yield Case("Constant int", [node("Constant", "", value_int=-7)], {})
    yield Case("Constant ints", [node("Constant", "", value_ints=[-7, 9])], {})
    yield Case("Shape", [node("Shape", "x")], {"x": x})
    yield Case("Shape part", [node("Shape", "x", start=-2, end=2)], {"x": x})
    yield Case("Size", [node("Size", "x")], {"x": x})
    yield Case("ConstantOfShape", [node("ConstantOfShape", "s")], {"s": np.array([2, 3], np.int64)})
    for dtype in FLOATS + INTS + (T.BOOL,):
        value = numpy_helper.from_array(np.ones(1, NP[dtype]))
        yield Case(f"ConstantOfShape {NAME[dtype]}", [node("ConstantOfShape", "s", value=value)],
                   {"s": np.array([300, 3], np.int64)})
    for start, limit, delta in ((0, 10, 3), (5, -7, -2), (1, 1, 1), (0, 1000, 1)):
        for kind in (np.int64, np.int32, np.float32, np.float64):
            yield Case(f"Range {start} {limit} {delta} {kind.__name__}", [node("Range", "sld")],
                       {"s": kind(start), "l": kind(limit), "d": kind(delta)})


def index_cases():
    ints = lambda *v: np.array(v, np.int64)
    for dtype in (T.FLOAT, T.FLOAT16, T.INT8, T.DOUBLE, T.BOOL):
        data = numbers(dtype, (5, 6, 7))
        for axis, indices in ((0, ints(4, 0, -1)), (1, rng.integers(-6, 6, (3, 2))), (-1, np.int64(3))):
            yield Case(f"Gather {NAME[dtype]} {axis}", [node("Gather", "di", axis=axis)], {"d": data, "i": indices})
    yield Case("Gather codebook", [node("Cast", "c", ["i"], to=T.INT32), node("Gather", "bi", ["g"]),
                                   node("Reshape", "gs")],
               {"c": numbers(T.UINT8, (256,), 0, 255), "b": numbers(T.FLOAT, (256, 4)), "s": ints(32, 32)})
    yield Case("GatherElements", [node("GatherElements", "di", axis=1)],
               {"d": numbers(T.FLOAT, (4, 5, 6)), "i": rng.integers(-5, 5, (4, 9, 6))})
    yield Case("GatherND", [node("GatherND", "di")], {"d": numbers(T.FLOAT, (4, 5, 6)), "i": rng.integers(0, 4, (3, 7, 2))})
    yield Case("GatherND batch", [node("GatherND", "di", batch_dims=1)],
               {"d": numbers(T.FLOAT, (4, 5, 6)), "i": rng.integers(0, 5, (4, 2))})
    yield Case("ScatterND", [node("ScatterND", "diu")],
               {"d": numbers(T.FLOAT, (4, 5, 6)), "i": ints(0, 1, 3, 2).reshape(2, 2), "u": numbers(T.FLOAT, (2, 6))})
    yield Case("ScatterND sparse", [node("ScatterND", "diu")],
               {"d": np.zeros(40, np.int8), "i": ints(3, 39, 0).reshape(3, 1), "u": numbers(T.INT8, (3,))})
    for dtype in (T.FLOAT, T.INT32, T.INT64, T.DOUBLE):
        for attributes in ({}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}):
            yield Case(f"CumSum {NAME[dtype]} {attributes}", [node("CumSum", "xa", **attributes)],
                       {"x": numbers(dtype, (3, 40)), "a": np.array(1, np.int64)})


def quantize_cases():
    def scales(*shape):
        return rng.uniform(1e-3, 1e-1, shape).astype(np.float32)

    codes = (T.INT8, T.UINT8, T.INT16, T.UINT16) + SMALL
    for dtype in codes:
        x = numbers(dtype, (6, 40, 9), -30000, 30000)
        for name, scale, zero, attributes in (
                ("tensor", scales(), numbers(dtype, ()), {}), ("one", scales(1), numbers(dtype, (1,)), {}),
                ("axis 0", scales(6), numbers(dtype, (6,)), {"axis": 0}), ("axis -1", scales(9), numbers(dtype, (9,)), {"axis": -1}),
                ("axis 1", scales(40), None, {}), ("block 1", scales(6, 3, 9), numbers(dtype, (6, 3, 9)), {"axis": 1, "block_size": 16}),
                ("block 2", scales(6, 40, 3), None, {"axis": 2, "block_size": 3})):
            constants = {"x": x, "s": scale}
            if zero is not None:
                constants["z"] = zero
            yield Case(f"DequantizeLinear {NAME[dtype]} {name}",
                       [node("DequantizeLinear", ["x", "s"] + (["z"] if zero is not None else []), **attributes)], constants)
            if zero is None:
                attributes = dict(attributes, output_dtype=dtype)
            constants = dict(constants, x=rng.uniform(-1, 1, x.shape).astype(np.float32))
            # The reference adds a zero point in int32 that NumPy refuses for types below a byte.
            if dtype in SMALL and zero is not None:
                continue
            yield Case(f"QuantizeLinear {NAME[dtype]} {name}",
                       [node("QuantizeLinear", ["x", "s"] + (["z"] if zero is not None else []), **attributes)], constants)
    x, scale = numbers(T.UINT8, (50,)), scales()
    yield Case("DequantizeLinear 10", [node("DequantizeLinear", "xsz")], {"x": x, "s": scale, "z": np.uint8(3)}, opset=10,
               expected=[(x.astype(np.float32) - np.float32(3)) * scale])
    yield Case("DequantizeLinear int32", [node("DequantizeLinear", "xs")],
               {"x": numbers(T.INT32, (50, 3), -2**28, 2**28), "s": scales()})
    for scale_type in (T.FLOAT16, T.BFLOAT16):
        yield Case(f"DequantizeLinear scale {NAME[scale_type]}", [node("DequantizeLinear", "xs", axis=0)],
                   {"x": numbers(T.INT8, (50, 3)), "s": scales(50).astype(NP[scale_type])})
    for dtype in MINI:
        count = 16 if dtype == T.FLOAT4E2M1 else 256
        x = np.arange(count, dtype=np.uint8).view(NP[dtype])
        yield Case(f"DequantizeLinear {NAME[dtype]}", [node("DequantizeLinear", "xs")], {"x": x, "s": scales()})
        values = rng.normal(0, 1, (40, 30)).astype(np.float32)
        yield Case(f"QuantizeLinear {NAME[dtype]}", [node("QuantizeLinear", "xs", output_dtype=dtype)],
                   {"x": values, "s": scales()})
    yield Case("QuantizeLinear ties", [node("QuantizeLinear", "xs")],
               {"x": np.arange(-4, 600, dtype=np.float32) / 2, "s": np.float32(1)})
    yield Case("com.microsoft DequantizeLinear", [node("DequantizeLinear", "xsz", domain="com.microsoft", axis=0)],
               {"x": numbers(T.INT8, (50, 3)), "s": scales(50), "z": numbers(T.INT8, (50,))}, oracle="runtime",
               domains=("com.microsoft",))


def planes_case(bits):
    """A weight of `bits` per code in planes of 4, 2 and 1 bits (opset 11), as vqc writes it."""
    count, book = 960, numbers(T.FLOAT, (2 ** bits,))
    codes = rng.integers(0, 2 ** bits, count)
    nodes, constants, total, low = [], {"book": book, "shape": np.array([30, 32], np.int64)}, None, 0
    for width in [w for w in (4, 2, 1) if bits & w]:
        per = 8 // width
        fields = ((codes >> low) & (2 ** width - 1)).reshape(-1, per)
        packed = sum(fields[:, j] << (j * width) for j in range(per)).astype(np.uint8).reshape(-1, 1)
        constants[f"p{width}"] = packed
        constants[f"l{width}"] = np.array([8 - width - j * width for j in range(per)], np.uint8).reshape(1, -1)
        constants[f"r{width}"] = np.full((1, per), 8 - width, np.uint8)
        constants[f"m{width}"] = np.array(2 ** low, np.int32)
        constants["flat"] = np.array([-1], np.int64)
        nodes += [node("BitShift", [f"p{width}", f"l{width}"], [f"a{width}"], direction="LEFT"),
                  node("BitShift", [f"a{width}", f"r{width}"], [f"b{width}"], direction="RIGHT"),
                  node("Cast", [f"b{width}"], [f"c{width}"], to=T.INT32),
                  node("Reshape", [f"c{width}", "flat"], [f"d{width}"]),
                  node("Mul", [f"d{width}", f"m{width}"], [f"e{width}"])]
        if total:
            nodes.append(node("Add", [total, f"e{width}"], [f"t{width}"]))
        total = f"t{width}" if total else f"e{width}"
        low += width
    nodes += [node("Gather", ["book", total], ["g"]), node("Reshape", ["g", "shape"])]
    return Case(f"planes of {bits} bits", nodes, constants, opset=11, expected=[book[codes].reshape(30, 32)])


def mask_case():
    """The bit-mask pattern for sparse weights."""
    mask = rng.integers(0, 2, 800)
    kept = numbers(T.INT8, (int(mask.sum()),))
    packed = np.packbits(mask.astype(np.uint8), bitorder="little").reshape(-1, 1)
    expected = np.zeros(800, np.int8)
    expected[mask == 1] = kept
    nodes = [node("BitShift", "pl", ["a"], direction="LEFT"), node("BitShift", "ar", ["b"], direction="RIGHT"),
             node("Cast", "b", ["c"], to=T.INT32), node("Reshape", "cf", ["m"]), node("CumSum", "mx", ["n"]),
             node("Mul", "nm", ["i"]), node("Gather", "ki", ["g"]), node("DequantizeLinear", "gs")]
    scale = np.float32(0.02)
    return Case("bit mask", nodes, {"p": packed, "l": np.arange(7, -1, -1, dtype=np.uint8).reshape(1, 8),
                                    "r": np.full((1, 8), 7, np.uint8), "f": np.array([-1], np.int64),
                                    "x": np.array(0, np.int32), "k": np.concatenate([[0], kept]).astype(np.int8), "s": scale},
                opset=13, expected=[expected.astype(np.float32) * scale])


def error_cases():
    """(name, nodes, constants, opset, part of the message)"""
    x = np.ones((2, 3), np.float32)
    ints = lambda *v: np.array(v, np.int64)
    yield "missing operators", [node("Det", "x", ["t"]), node("Foo", "t", ["u"], domain="a.b"), node("Det", "u")], {"x": x}, "a.b.Foo"
    yield "broadcast", [node("Add", "xy", ["z"])], {"x": x, "y": np.ones(4, np.float32)}, "does not broadcast"
    yield "types", [node("Add", "xy", ["z"])], {"x": x, "y": np.ones(3, np.int32)}, "got int32, expected float32"
    yield "index", [node("Gather", "xi", ["z"])], {"x": x, "i": ints(2)}, "out of range"
    yield "negative index", [node("Gather", "xi", ["z"])], {"x": x, "i": ints(-3)}, "out of range"
    yield "scatter index", [node("ScatterND", "xiu", ["z"])], {"x": x, "i": ints(2).reshape(1, 1), "u": x[:1]}, "out of range"
    yield "zero divisor", [node("Div", "xy", ["z"])], {"x": ints(1), "y": ints(0)}, "divisor of 0"
    yield "zero modulus", [node("Mod", "xy", ["z"])], {"x": ints(1), "y": ints(0)}, "divisor of 0"
    yield "reshape", [node("Reshape", "xs", ["z"])], {"x": x, "s": ints(4, -1)}, "expected 6"
    yield "huge", [node("ConstantOfShape", "s", ["z"])], {"s": ints(2**40)}, "limit"
    yield "overflow", [node("ConstantOfShape", "s", ["z"])], {"s": ints(2**40, 2**40)}, "cannot be computed"
    yield "negative dim", [node("ConstantOfShape", "s", ["z"])], {"s": ints(-5)}, "cannot be computed"
    yield "endless range", [node("Range", "sld", ["z"])], {"s": np.float32(0), "l": np.float32(1), "d": np.float32(0)}, "without end"
    yield "huge range", [node("Range", "sld", ["z"])], {"s": np.int64(-2**63), "l": np.int64(2**63 - 1), "d": np.int64(1)}, "without end"
    yield "axis", [node("Concat", "xx", ["z"], axis=2)], {"x": x}, "within rank 2"
    yield "perm", [node("Transpose", "x", ["z"], perm=[0, 0])], {"x": x}, "more than once"
    yield "slice step", [node("Slice", "xseat", ["z"])], {"x": x, "s": ints(0), "e": ints(1), "a": ints(0), "t": ints(0)}, "step of 0"
    yield "scale", [node("DequantizeLinear", "xs", ["z"])], {"x": np.ones((2, 3), np.int8), "s": np.ones(4, np.float32)}, "scale"
    yield "block", [node("DequantizeLinear", "xs", ["z"], axis=0, block_size=2)], {"x": np.ones((4, 3), np.int8), "s": np.ones((3, 3), np.float32)}, "block_size"
    yield "cycle", [node("Add", "xb", ["a"]), node("Add", "xa", ["b"]), node("Add", "ab", ["z"])], {"x": x}, ""
    yield "input", [node("Add", ["x", "nowhere"], ["z"])], {"x": x}, "expected a constant"
    yield "random", [node("RandomNormal", "", ["z"], shape=[2, 2])], {}, "RandomNormal"


def build_tool(folder):
    build = os.environ.get("B", "build")
    subprocess.run([os.environ.get("MAKE", "make"), "-s", f"B={build}", f"{build}/libvqc.a"], cwd=ROOT, check=True)
    tool = os.path.join(folder, "exec_tool")
    subprocess.run([os.environ.get("CC", "cc"), "-std=c17", "-D_GNU_SOURCE", "-O1", "-I.", f"-I{build}/gen",
                    "tests/oracle/exec_tool.c", f"{build}/libvqc.a", "-o", tool, "-fopenmp", "-lprotobuf-c", "-lm"],
                   cwd=ROOT, check=True)
    return tool


def as_stored(array):
    """Bytes as core/exec keeps them: one byte per element for types below a byte, sign-extended when signed."""
    if array.dtype in (np.dtype(ml_dtypes.int4), np.dtype(ml_dtypes.int2)):
        return array.astype(np.int8)
    if array.dtype in (np.dtype(ml_dtypes.uint4), np.dtype(ml_dtypes.uint2)):
        return array.astype(np.uint8)
    return array


def same(got, want, ulp):
    """Bit-equal, NaN like NaN; or within `ulp` units (None: 1e-14 relative, for double)."""
    kind = want.dtype
    if kind == bool or np.issubdtype(kind, np.integer):
        return np.array_equal(got, want)
    wide_got, wide_want = got.astype(np.float64), want.astype(np.float64)
    both_nan = np.isnan(wide_got) & np.isnan(wide_want)
    if ulp == 0:
        raw = np.dtype(f"u{kind.itemsize}")
        return bool(np.all(both_nan | (got.view(raw) == want.view(raw))))
    if ulp is None:
        return bool(np.all(both_nan | np.isclose(wide_got, wide_want, rtol=1e-14, atol=1e-300)))
    return bool(np.all(both_nan | (wide_got == wide_want) | (np.abs(wide_got - wide_want) <= ulp * np.spacing(np.abs(want)).astype(np.float64))))


def oracle_outputs(case, model):
    if case.expected is not None:
        return [np.asarray(value) for value in case.expected]
    if case.oracle == "runtime":
        typed = onnx.shape_inference.infer_shapes(model)
        for value in typed.graph.output:
            if not value.HasField("type"):
                value.type.tensor_type.elem_type = T.FLOAT
        return ort.InferenceSession(typed.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {})
    return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, {})]


def main():
    folder = tempfile.TemporaryDirectory()
    tool = sys.argv[1] if len(sys.argv) > 1 else build_tool(folder.name)
    cases = [c for part in (elementwise_cases, cast_cases, shape_cases, create_cases, index_cases, quantize_cases) for c in part()]
    cases += [planes_case(bits) for bits in (1, 2, 3, 4, 5, 6, 7)] + [mask_case()]
    passed = failed = 0
    paths = []
    for number, case in enumerate(cases):
        paths.append(os.path.join(folder.name, f"{number}.onnx"))
        onnx.save(case.model(), paths[-1])
    errors = list(error_cases())
    for number, (_, nodes, constants, _) in enumerate(errors):
        paths.append(os.path.join(folder.name, f"error{number}.onnx"))
        onnx.save(Case("", nodes, constants, outputs=("z",) if nodes[-1].output[0] == "z" else ("y",)).model(), paths[-1])
    lines = subprocess.run([tool] + paths, check=True, capture_output=True, text=True).stdout.splitlines()
    results = {}
    for line in lines:
        word, path, index, rest = line.split(" ", 3)
        results[(path, int(index))] = (word, rest)
    for case, path in zip(cases, paths):
        try:
            wants = oracle_outputs(case, case.model())
        except Exception as problem:  # whatever the oracle raises, the case is not checked
            print(f"FAILED {case.name}: the oracle: {problem}")
            failed += 1
            continue
        problem = None
        for index, want in enumerate(wants):
            word, rest = results[(path, index)]
            if word != "ok":
                problem = rest
                break
            dtype, rank, *dims = (int(number) for number in rest.split())
            if dtype != helper.np_dtype_to_tensor_dtype(want.dtype) or tuple(dims) != want.shape:
                problem = f"got type {dtype} and shape {dims}, expected {want.dtype} {want.shape}"
                break
            stored = as_stored(want)
            got = np.fromfile(f"{path}.{index}.raw", dtype=np.uint8).view(stored.dtype).reshape(stored.shape)
            if not same(got, np.ascontiguousarray(stored).reshape(stored.shape), case.ulp):
                problem = f"values differ: got {got.ravel()[:6]} expected {want.ravel()[:6]}"
                different = np.flatnonzero(got.ravel() != stored.ravel())[:4]
                problem += f"; at {different}: {got.ravel()[different]} against {stored.ravel()[different]}"
                break
        passed += problem is None
        failed += problem is not None
        if problem:
            print(f"FAILED {case.name}: {problem}")
    for (name, _, _, part), path in zip(errors, paths[len(cases):]):
        word, rest = results[(path, 0)]
        good = word == "error" and part in rest
        passed += good
        failed += not good
        if not good:
            print(f"FAILED error {name}: got {word} {rest}, expected a message with {part!r}")
    folder.cleanup()
    summary(passed, failed, 0)


if __name__ == "__main__":
    main()
