"""Operators that select, scatter, pad, rearrange and quantize (core/exec) against onnx.reference and ONNX's own node
test cases: test_exec_opsb.py [EXEC_TOOL]. Prints "N passed, N failed, N skipped"; exit code 1 when something failed.
"""

import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

from common import summary
from test_exec import FLOATS, INTS, NAME, Case, as_stored, build_tool, node, numbers, oracle_outputs, tensor

rng = np.random.default_rng(20240711)

# Node cases of these operators that the executor is meant to run; the rest of ONNX's suite is tested with whole models.
OPERATORS = {"TopK", "NonMaxSuppression", "Unique", "NonZero", "OneHot", "Compress", "EyeLike", "Trilu",
             "ReverseSequence", "Scatter", "ScatterElements", "ScatterND", "TensorScatter", "GatherElements", "GatherND",
             "Gather", "CumSum", "CumProd", "Range", "Size", "Shape", "Tile", "Expand", "Pad", "CenterCropPad", "Split",
             "Concat", "Flatten", "Squeeze", "Unsqueeze", "Reshape", "Slice", "Transpose", "Where", "Identity",
             "ConstantOfShape", "Constant", "Cast", "CastLike", "BitCast", "TfIdfVectorizer",
             "DepthToSpace", "SpaceToDepth", "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss", "QuantizeLinear",
             "DequantizeLinear"}


def ints(*values):
    return np.array(values, np.int64)


def select_cases():
    for dtype in FLOATS[:2] + (T.DOUBLE, T.INT32, T.INT64, T.UINT8):
        for axis, k in ((0, 3), (1, 7), (-1, 5), (2, 0)):
            for largest in (0, 1):
                x = numbers(dtype, (4, 7, 5), -3, 3)  # with ties in the integers
                flat = x.astype(np.float64) * (-1 if largest else 1)
                order = np.argsort(flat, axis=axis, kind="stable")
                order = np.take(order, np.arange(k), axis=axis).astype(np.int64)
                yield Case(f"TopK {NAME[dtype]} {axis} {k} {largest}", [node("TopK", "xk", "yi", axis=axis, largest=largest)],
                           {"x": x, "k": ints(k)}, outputs="yi", expected=[np.take_along_axis(x, order, axis), order])
    x = rng.integers(-50, 50, (3, 2000)).astype(np.float32)
    order = np.argsort(-x, axis=1, kind="stable")
    yield Case("TopK long", [node("TopK", "xk", "yi")], {"x": x, "k": ints(900)}, outputs="yi",
               expected=[np.take_along_axis(x, order, 1)[:, :900], order[:, :900]])
    yield Case("TopK 1", [node("TopK", "x", "yi", k=4)], {"x": x}, outputs="yi", opset=9,
               expected=[np.take_along_axis(x, order, 1)[:, :4], order[:, :4]])
    for kind in (np.float32, np.int8, np.bool_, np.float16):
        x = rng.integers(0, 2, (3, 4, 5)).astype(kind)
        yield Case(f"NonZero {kind.__name__}", [node("NonZero", "x")], {"x": x}, expected=[np.array(np.nonzero(x), np.int64)])
    yield Case("NonZero signed zero", [node("NonZero", "x")], {"x": np.array([0.0, -0.0, 1e-45], np.float32)}, expected=[ints(2).reshape(1, 1)])
    for sort in (0, 1):
        for axis in (None, 0, 1):
            x = rng.integers(0, 3, (40, 3)).astype(np.float32)
            attributes = {} if axis is None else {"axis": axis}
            values, first, inverse, counts = np.unique(x, True, True, True, axis=axis)
            order = np.arange(len(first)) if sort else np.argsort(first)
            expected = [np.take(values, order, axis or 0), first[order], np.argsort(order)[inverse.reshape(-1)], counts[order]]
            yield Case(f"Unique {sort} {axis}", [node("Unique", "x", "yfic", sorted=sort, **attributes)], {"x": x}, outputs="yfic",
                       expected=expected)
    for axis in (None, 0, 1, -1):
        x = numbers(T.FLOAT16, (5, 6))
        attributes = {} if axis is None else {"axis": axis}
        yield Case(f"Compress {axis}", [node("Compress", "xc", **attributes)], {"x": x, "c": np.array([0, 1, 1, 0, 1], bool)})


def boxes_case(name, boxes, scores, most, iou, score, center):
    """A straight implementation of greedy suppression as the oracle."""
    out = []
    for b in range(boxes.shape[0]):
        if center:
            corner = np.stack([boxes[b, :, 0] - boxes[b, :, 2] / 2, boxes[b, :, 1] - boxes[b, :, 3] / 2,
                               boxes[b, :, 0] + boxes[b, :, 2] / 2, boxes[b, :, 1] + boxes[b, :, 3] / 2], 1)
        else:
            y, x = np.sort(boxes[b][:, [0, 2]], 1), np.sort(boxes[b][:, [1, 3]], 1)
            corner = np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1)
        area = (corner[:, 2] - corner[:, 0]) * (corner[:, 3] - corner[:, 1])
        for c in range(scores.shape[1]):
            kept = []
            for i in np.argsort(-scores[b, c], kind="stable"):
                if scores[b, c, i] <= score or len(kept) == most:
                    continue
                for k in kept:
                    w = min(corner[i, 2], corner[k, 2]) - max(corner[i, 0], corner[k, 0])
                    h = min(corner[i, 3], corner[k, 3]) - max(corner[i, 1], corner[k, 1])
                    shared = max(w, 0) * max(h, 0)
                    if shared > 0 and shared / (area[i] + area[k] - shared) > iou:
                        break
                else:
                    kept.append(i)
                    out.append((b, c, i))
    attributes = {"center_point_box": 1} if center else {}
    return Case(name, [node("NonMaxSuppression", "bsmit", **attributes)],
                {"b": boxes, "s": scores, "m": ints(most), "i": np.array([iou], np.float32), "t": np.array([score], np.float32)},
                expected=[np.array(out, np.int64).reshape(-1, 3)])


def pattern_cases():
    for center in (0, 1):
        boxes = rng.uniform(0, 1, (2, 60, 4)).astype(np.float32)
        yield boxes_case(f"NonMaxSuppression {center}", boxes, rng.uniform(0, 1, (2, 3, 60)).astype(np.float32), 12, 0.3, 0.2, center)
    for kind in (np.int64, np.float32, np.uint8):
        for axis in (-1, 0, 1):
            i = rng.integers(0, 7, (3, 4)).astype(kind)
            yield Case(f"OneHot {kind.__name__} {axis}", [node("OneHot", "idv", axis=axis)],
                       {"i": i, "d": np.array(5, kind), "v": np.array([2, 5], np.float32)},
                       expected=[np.where(np.expand_dims(i, axis) == np.arange(5).reshape([-1 if a == axis % 3 else 1 for a in range(3)]), 5, 2).astype(np.float32)])
    i = ints(-1, -5, -6, 4, 5)
    for opset, want in ((9, [[0] * 5, [0] * 5, [0] * 5, [0, 0, 0, 0, 1], [0] * 5]),
                        (11, [[0, 0, 0, 0, 1], [1, 0, 0, 0, 0], [0] * 5, [0, 0, 0, 0, 1], [0] * 5])):
        yield Case(f"OneHot negative {opset}", [node("OneHot", "idv")], {"i": i, "d": ints(5).reshape(()), "v": np.array([0, 1], np.int32)},
                   opset=opset, expected=[np.array(want, np.int32)])
    for k in (-2, 0, 3, 9):
        for upper in (0, 1):
            x = numbers(T.INT64, (2, 4, 6))
            yield Case(f"Trilu {k} {upper}", [node("Trilu", "xk", upper=upper)], {"x": x, "k": np.array(k, np.int64)},
                       expected=[np.triu(x, k) if upper else np.tril(x, k)])
        yield Case(f"EyeLike {k}", [node("EyeLike", "x", k=k, dtype=T.FLOAT16)], {"x": np.zeros((4, 6), np.int32)},
                   expected=[np.eye(4, 6, k, np.float16)])
    for batch in (0, 1):
        x, n = numbers(T.FLOAT, (4, 4, 3)), ints(1, 4, 2, 3)
        want = x.copy()
        for b in range(4):
            at = (b, slice(0, n[b])) if batch == 0 else (slice(0, n[b]), b)
            want[at] = want[at][::-1]
        yield Case(f"ReverseSequence {batch}", [node("ReverseSequence", "xn", batch_axis=batch, time_axis=1 - batch)],
                   {"x": x, "n": n}, expected=[want])


def scatter_cases():
    for dtype in (T.FLOAT, T.FLOAT16, T.DOUBLE, T.INT32, T.UINT8):
        for how in ("none", "add", "mul", "max", "min"):
            data, updates = numbers(dtype, (5, 6), -3, 3), numbers(dtype, (4, 3), -3, 3)
            indices = rng.integers(-5, 5, (4, 3))
            if how == "none":
                indices = np.stack([rng.permutation(5)[:4] for _ in range(3)], 1)
            want = data.copy()
            with np.errstate(over="ignore"):
                for at in np.ndindex(indices.shape):
                    row = (indices[at], at[1])
                    old, new = want[row], updates[at]
                    want[row] = {"none": new, "add": old + new, "mul": old * new, "max": max(old, new), "min": min(old, new)}[how]
            yield Case(f"ScatterElements {NAME[dtype]} {how}", [node("ScatterElements", "diu", axis=0, reduction=how)],
                       {"d": data, "i": indices, "u": updates}, expected=[want])
            tuples, rows, nd = rng.integers(-5, 5, (7, 1)), numbers(dtype, (7, 6), -3, 3), data.copy()
            if how == "none":
                tuples, rows = rng.permutation(5)[:4].reshape(4, 1), rows[:4]
            for t, row in zip(tuples[:, 0], rows):
                nd[t] = {"none": row, "add": nd[t] + row, "mul": nd[t] * row, "max": np.maximum(nd[t], row), "min": np.minimum(nd[t], row)}[how]
            yield Case(f"ScatterND {NAME[dtype]} {how}", [node("ScatterND", "diu", reduction=how)],
                       {"d": data, "i": tuples, "u": rows}, expected=[nd])
    data = numbers(T.FLOAT, (3, 5))
    want = data.copy()
    want[0, 1], want[0, 3] = 1.1, 2.1
    yield Case("Scatter 9", [node("Scatter", "diu", axis=1)], {"d": data, "i": ints(1, 3).reshape(1, 2), "u": np.array([[1.1, 2.1]], np.float32)},
               opset=9, expected=[want])
    for attributes in ({}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}):
        x = numbers(T.FLOAT, (3, 9), -2, 2)
        y = x[:, ::-1] if attributes.get("reverse") else x
        y = np.concatenate([np.ones((3, 1), np.float32), y[:, :-1]], 1) if attributes.get("exclusive") else y
        y = np.cumprod(y, axis=1, dtype=np.float32)
        yield Case(f"CumProd {attributes}", [node("CumProd", "xa", **attributes)], {"x": x, "a": np.array(1, np.int64)}, opset=26,
                   expected=[y[:, ::-1] if attributes.get("reverse") else y])


def line_cases():
    """Lines longer than the pieces that the executor takes, along every axis."""
    for dtype in (T.INT64, T.INT16, T.DOUBLE):
        for shape, axis in (((2, 1300), 1), ((1300, 3), 0), ((2, 700, 3), 1), ((1025,), 0)):
            for exclusive in (0, 1):
                for reverse in (0, 1):
                    x = rng.integers(-9, 9, shape).astype(helper.tensor_dtype_to_np_dtype(dtype))
                    y = np.flip(x, axis) if reverse else x
                    y = np.cumsum(y, axis, dtype=x.dtype) - (y if exclusive else 0)
                    yield Case(f"CumSum {NAME[dtype]} {shape} {exclusive} {reverse}", [node("CumSum", "xa", exclusive=exclusive, reverse=reverse)],
                               {"x": x, "a": np.array(axis, np.int32)}, expected=[np.flip(y, axis) if reverse else y])
    for shape, at in (((7,), (20,)), ((5, 6, 7), (4, 5, 6)), ((5, 6, 7), (5, 6, 7))):
        for axis in range(len(shape)):
            for dtype in (T.FLOAT, T.INT64, T.UINT8, T.FLOAT16):
                i = rng.integers(-shape[axis], shape[axis], at)
                x = numbers(dtype, shape)
                yield Case(f"GatherElements {NAME[dtype]} {shape} {at} {axis}", [node("GatherElements", "xi", axis=axis)], {"x": x, "i": i},
                           expected=[np.take_along_axis(x[tuple(slice(None) if k == axis else slice(0, n) for k, n in enumerate(at))],
                                                        i, axis)])
    for kind in (np.bool_, np.float32, np.int64, np.uint16, np.float16, np.float64):
        x = (rng.integers(0, 40, (3, 700)) == 0).astype(kind)
        yield Case(f"NonZero long {kind.__name__}", [node("NonZero", "x")], {"x": x}, expected=[np.array(np.nonzero(x), np.int64)])
    for width in (1, 2, 3, 16, 40):
        parts = {name: numbers(T.FLOAT, (300, width)) for name in "ab"}
        yield Case(f"Concat rows of {width}", [node("Concat", "ab", axis=1)], parts, expected=[np.concatenate(list(parts.values()), 1)])
        x = numbers(T.INT8, (300, 2 * width))
        yield Case(f"Split rows of {width}", [node("Split", "x", "pq", axis=1, num_outputs=2)], {"x": x}, outputs="pq",
                   expected=[x[:, :width], x[:, width:]])


def pad_cases():
    for dtype in (T.FLOAT, T.FLOAT16, T.INT8, T.DOUBLE, T.BOOL):
        x = numbers(dtype, (3, 4, 5))
        for mode in ("constant", "edge", "reflect", "wrap"):
            for pads in ((1, 0, 2, 0, 3, 1), (0, 0, 0, 0, 0, 0), (2, 2, 2, 2, 2, 2), (0, 9, 0, 5, 0, 11)):
                want = np.pad(x, list(zip(pads[:3], pads[3:])), mode)
                yield Case(f"Pad {NAME[dtype]} {mode} {pads}", [node("Pad", "xp", mode=mode)], {"x": x, "p": ints(*pads)}, expected=[want])
    x = numbers(T.FLOAT, (3, 4, 5))
    yield Case("Pad value axes", [node("Pad", "xpva")], {"x": x, "p": ints(1, 2, 3, 4), "v": np.float32(7), "a": ints(-1, 0)},
               expected=[np.pad(x, [(2, 4), (0, 0), (1, 3)], constant_values=7)])
    yield Case("Pad negative", [node("Pad", "xp")], {"x": x, "p": ints(-1, 2, -3, 1, -4, 2)},
               expected=[np.pad(x, [(0, 1), (2, 0), (0, 2)])[1:, :-4, 3:]])
    yield Case("Pad 2", [node("Pad", "x", pads=[0, 1, 0, 2, 0, 0], value=1.5)], {"x": x}, opset=2,
               expected=[np.pad(x, [(0, 2), (1, 0), (0, 0)], constant_values=1.5)])
    yield Case("Pad scalar", [node("Pad", "xp")], {"x": np.float32(4), "p": np.zeros(0, np.int64)}, expected=[np.float32(4)])
    yield Case("CenterCropPad", [node("CenterCropPad", "xs", axes=[0, 2])], {"x": x, "s": ints(6, 2)},
               expected=[np.pad(x, [(1, 2), (0, 0), (0, 0)])[:, :, 1:3]])


def transpose_cases():
    for dtype in (T.FLOAT, T.INT8, T.FLOAT16, T.DOUBLE):
        for shape, perm in (((67, 41), (1, 0)), ((2, 33, 5, 17), (0, 2, 1, 3)), ((2, 33, 5, 17), (0, 2, 3, 1)), ((2, 9, 6, 35), (0, 3, 1, 2)),
                            ((5, 6, 7), (2, 1, 0)), ((2, 3, 4, 5, 6), (0, 4, 1, 3, 2)), ((1, 70, 1, 66), (0, 3, 2, 1)), ((3, 0, 2), (2, 0, 1))):
            x = numbers(dtype, shape)
            yield Case(f"Transpose {NAME[dtype]} {shape} {perm}", [node("Transpose", "x", perm=perm)], {"x": x},
                       expected=[np.ascontiguousarray(x.transpose(perm))])


def division_cases():
    """float32 / scale, halves to even: values whose quotient lies next to a half."""
    for dtype, kind in ((T.UINT8, np.uint8), (T.INT8, np.int8), (T.UINT16, np.uint16), (T.INT16, np.int16)):
        info = np.iinfo(kind)
        for shape, axis in (((40, 700), None), ((40, 700), 0), ((40, 700), 1), ((3, 50, 33), 1)):
            count = 1 if axis is None else shape[axis]
            scale = rng.uniform(1e-3, 1e-1, count).astype(np.float32)
            zero = rng.integers(info.min, info.max + 1, count).astype(kind)
            wide = [1] * len(shape)
            if axis is not None:
                wide[axis] = count
            s, z = scale.reshape(wide), zero.reshape(wide)
            halves = (rng.integers(-300, 300, shape).astype(np.float32) + np.float32(0.5)) * s
            x = np.where(rng.integers(0, 2, shape) == 1, np.nextafter(halves, np.float32(np.inf)), halves).astype(np.float32)
            x.reshape(-1)[:4] = [np.inf, -np.inf, 1e38, -1e38]
            with np.errstate(over="ignore"):
                quotient = np.rint(x / s)
            codes = np.clip(quotient.astype(np.float64) + z, info.min, info.max).astype(kind)
            constants = {"x": x, "s": scale[0] if axis is None else scale, "z": zero[0] if axis is None else zero}
            attributes = {} if axis is None else {"axis": axis}
            yield Case(f"QuantizeLinear division {NAME[dtype]} {shape} {axis}", [node("QuantizeLinear", "xsz", **attributes)], constants,
                       expected=[codes])
            constants = dict(constants, x=codes)
            yield Case(f"DequantizeLinear {NAME[dtype]} {shape} {axis}", [node("DequantizeLinear", "xsz", **attributes)], constants,
                       expected=[((codes.astype(np.int32) - z.astype(np.int32)).astype(np.float32) * s).astype(np.float32)])


def loss_cases():
    for shape in ((5, 4), (3, 4, 2, 6)):
        for how in ("none", "sum", "mean"):
            for weighted in (0, 1):
                for ignore in (None, 2, -1):
                    x, w = numbers(T.FLOAT, shape, -3, 3), rng.uniform(0.1, 1, 4).astype(np.float32)
                    t = rng.integers(0, 4, shape[:1] + shape[2:])
                    attributes = {"reduction": how} if ignore is None else {"reduction": how, "ignore_index": ignore}
                    if ignore == -1:
                        t.reshape(-1)[0] = -1
                    constants = {"x": x, "t": t, **({"w": w} if weighted else {})}
                    for op in ("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"):
                        y = x.astype(np.float64)
                        if op == "SoftmaxCrossEntropyLoss":
                            y = y - np.log(np.exp(y).sum(1, keepdims=True))
                        used = t != ignore if ignore is not None else np.ones(t.shape, bool)
                        safe = np.where(used, t, 0)
                        weight = np.where(used, w[safe] if weighted else 1.0, 0.0)
                        loss = -np.take_along_axis(y, np.expand_dims(safe, 1), 1).squeeze(1) * weight
                        loss = loss if how == "none" else loss.sum() / (weight.sum() if how == "mean" else 1)
                        outputs = "yl" if op == "SoftmaxCrossEntropyLoss" else "y"
                        expected = [np.asarray(loss).astype(np.float32)] + ([y.astype(np.float32)] if outputs == "yl" else [])
                        yield Case(f"{op} {shape} {how} {weighted} {ignore}", [node(op, "xtw" if weighted else "xt", outputs, **attributes)],
                                   constants, outputs=outputs, expected=expected, ulp=2)


def runtime_cases():
    """The same operators as ONNX Runtime computes them, bit for bit."""
    def case(name, nodes, constants, outputs="y"):
        return Case(f"{name} as ONNX Runtime", nodes, constants, outputs=outputs, opset=21, oracle="runtime")

    for dtype in (T.UINT8, T.INT8, T.UINT16, T.INT16):
        for shape, axis, block in (((3000,), None, 0), ((40, 70), 0, 0), ((40, 70), 1, 0), ((2, 50, 33), 1, 0), ((6, 64, 5), 1, 16), ((9, 96), 1, 32)):
            x = (rng.normal(0, 20, shape) * 2.0 ** rng.integers(-8, 8, shape)).astype(np.float32)
            size = () if axis is None else shape[axis] if not block else tuple(n // block if i == axis else n for i, n in enumerate(shape))
            scale = rng.uniform(1e-3, 1, size).astype(np.float32)
            zero = numbers(dtype, size, -10, 200)
            attributes = {} if axis is None else {"axis": axis} if not block else {"axis": axis, "block_size": block}
            constants = {"x": x, "s": scale, "z": zero}
            yield case(f"QuantizeLinear {NAME[dtype]} {shape} {axis} {block}", [node("QuantizeLinear", "xsz", **attributes)], constants)
            constants = dict(constants, x=numbers(dtype, shape, -40000, 70000))
            yield case(f"DequantizeLinear {NAME[dtype]} {shape} {axis} {block}", [node("DequantizeLinear", "xsz", **attributes)], constants)
    x = rng.integers(0, 9, (5, 60)).astype(np.float32)
    for largest in (0, 1):
        yield case(f"TopK ties {largest}", [node("TopK", "xk", "yi", largest=largest)], {"x": x, "k": ints(20)}, "yi")
    for center in (0, 1):
        boxes = rng.uniform(-1, 2, (2, 80, 4)).astype(np.float32)
        yield case(f"NonMaxSuppression {center}", [node("NonMaxSuppression", "bsmit", center_point_box=center)],
                   {"b": np.abs(boxes) if center else boxes, "s": rng.integers(0, 30, (2, 4, 80)).astype(np.float32) / 30, "m": ints(9),
                    "i": np.array([0.4], np.float32), "t": np.array([0.1], np.float32)})
    x = numbers(T.FLOAT, (4, 5, 6))
    for mode in ("constant", "edge", "reflect", "wrap"):
        for pads in ((1, 2, 3, 2, 0, 4), (-1, 2, 0, 1, -2, 3), (0, -2, -1, 2, 1, -1)):
            if mode == "constant" or min(pads) >= 0:
                yield case(f"Pad {mode} {pads}", [node("Pad", "xp", mode=mode)], {"x": x, "p": ints(*pads)})
    for how in ("add", "mul", "max", "min"):
        yield case(f"ScatterElements {how}", [node("ScatterElements", "xiu", axis=1, reduction=how)],
                   {"x": x, "i": rng.integers(-5, 5, (4, 9, 6)), "u": numbers(T.FLOAT, (4, 9, 6))})
        yield case(f"ScatterND {how}", [node("ScatterND", "xiu", reduction=how)],
                   {"x": x, "i": rng.integers(0, 4, (9, 2)), "u": numbers(T.FLOAT, (9, 6))})
    yield case("Unique", [node("Unique", "x", "yfic", axis=1)], {"x": rng.integers(0, 2, (3, 20)).astype(np.float32)}, "yfic")
    for sort in (0, 1):
        yield case(f"Unique flat {sort}", [node("Unique", "x", "yfic", sorted=sort)], {"x": rng.integers(0, 9, (3, 20)).astype(np.float32)}, "yfic")
    yield case("GatherND", [node("GatherND", "xi", batch_dims=1)], {"x": x, "i": rng.integers(-5, 5, (4, 7, 1))})
    yield case("TfIdfVectorizer", [node("TfIdfVectorizer", "x", mode="TFIDF", min_gram_length=1, max_gram_length=2, max_skip_count=3,
                                        ngram_counts=[0, 4], ngram_indexes=[0, 1, 2, 3, 4, 5, 6], pool_int64s=[2, 3, 5, 4, 5, 6, 7, 8, 6, 7],
                                        weights=[0.5, 1, 2, 3, 4, 5, 6])], {"x": rng.integers(2, 9, (4, 30))})


def error_cases():
    """(name, nodes, constants, part of the message)"""
    x = np.ones((2, 3), np.float32)
    yield "k", [node("TopK", "xk", "yi")], {"x": x, "k": ints(4)}, "k: got 4"
    yield "scatter index", [node("ScatterElements", "xiu")], {"x": x, "i": ints(2).reshape(1, 1), "u": x[:1, :1]}, "out of range"
    yield "scatter reduction", [node("ScatterElements", "xiu", reduction="avg")], {"x": x, "i": ints(1).reshape(1, 1), "u": x[:1, :1]}, "reduction"
    yield "pads", [node("Pad", "xp")], {"x": x, "p": ints(1, 2)}, "expected 4"
    yield "pad mode", [node("Pad", "xp", mode="round")], {"x": x, "p": ints(1, 2, 3, 4)}, "mode"
    yield "pad nothing", [node("Pad", "xp", mode="edge")], {"x": np.zeros((2, 0), np.float32), "p": ints(0, 1, 0, 0)}, "no elements"
    yield "pad away", [node("Pad", "xp")], {"x": x, "p": ints(-2, 0, -1, 0)}, "pads"
    yield "pad huge", [node("Pad", "xp")], {"x": x, "p": ints(2**63 - 1, 0, 2**63 - 1, 0)}, "pads"
    yield "label", [node("NegativeLogLikelihoodLoss", "xt")], {"x": x, "t": ints(0, 3)}, "labels"
    yield "lengths", [node("ReverseSequence", "xn")], {"x": x, "n": ints(1, 2, 3)}, "sequence_lens"
    yield "split parts", [node("Split", "x", "yz", axis=1, num_outputs=3)], {"x": x}, "num_outputs: got 3"


def backend_cases():
    """ONNX's node cases of our operators, their inputs made constants: (name, model, wanted arrays)."""
    with np.errstate(all="ignore"):
        cases = collect_testcases()
    for case in cases:
        if len(case.model.graph.node) != 1 or case.model.graph.node[0].op_type not in OPERATORS or case.model.graph.node[0].domain:
            continue
        ports = list(case.model.graph.input) + list(case.model.graph.output)
        if any(not v.type.HasField("tensor_type") or v.type.tensor_type.elem_type == T.STRING for v in ports):
            continue  # sequences, optionals and strings
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        inputs, outputs = case.data_sets[0]
        for given, value in zip(case.model.graph.input, inputs):
            model.graph.initializer.append(tensor(given.name, value))
        del model.graph.input[:]
        yield case.name, model, [numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else np.asarray(v) for v in outputs]


def check(got, want, name):
    """Equal bits for what is moved or quantized, 1e-5 relative for the rest."""
    if got.shape != want.shape:
        return f"{name}: got shape {got.shape}, expected {want.shape}"
    if got.tobytes() == np.ascontiguousarray(want).tobytes():
        return None
    a, b = got.astype(np.float64), want.astype(np.float64)
    close = np.isclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True)
    return None if close.all() else f"{name}: got {a[~close][:4]}, expected {b[~close][:4]}"


def compare(path, results, wants, ulp):
    for index, want in enumerate(wants):
        word, rest = results.get((path, index), ("error", "no output"))
        if word != "ok":
            return rest
        dtype, _, *dims = (int(number) for number in rest.split())
        if dtype != helper.np_dtype_to_tensor_dtype(want.dtype) or tuple(dims) != want.shape:
            return f"got type {dtype} and shape {dims}, expected {want.dtype} {want.shape}"
        stored = as_stored(want)
        got = np.fromfile(f"{path}.{index}.raw", dtype=np.uint8).view(stored.dtype).reshape(stored.shape)
        if ulp == 0 and got.tobytes() != np.ascontiguousarray(stored).tobytes():
            nan = np.isnan(got.astype(np.float64)) & np.isnan(stored.astype(np.float64))
            if not np.all(nan | (got == stored)):
                at = np.flatnonzero(~(nan | (got == stored)).ravel())[:4]
                return f"output {index} at {at}: got {got.ravel()[at]}, expected {stored.ravel()[at]}"
        if ulp != 0:
            problem = check(got, stored, f"output {index}")
            if problem:
                return problem
    return None


def main():
    folder = tempfile.TemporaryDirectory()
    tool = sys.argv[1] if len(sys.argv) > 1 else build_tool(folder.name)
    jobs = []  # (name, path, wanted arrays or text of the error, ulp)
    parts = (select_cases, pattern_cases, scatter_cases, line_cases, pad_cases, transpose_cases, division_cases, loss_cases, runtime_cases)
    for case in [c for part in parts for c in part()]:
        jobs.append((case.name, case.model(), oracle_outputs(case, case.model()), case.ulp))
    for name, nodes, constants, part in error_cases():
        jobs.append((f"error {name}", Case("", nodes, constants, outputs=("y",)).model(), part, 0))
    jobs += [(name, model, wants, 1) for name, model, wants in backend_cases()]
    paths = []
    for number, (_, model, _, _) in enumerate(jobs):
        paths.append(os.path.join(folder.name, f"{number}.onnx"))
        onnx.save(model, paths[-1])
    results = {}
    for at in range(0, len(paths), 500):
        run = subprocess.run([tool] + paths[at:at + 500], check=True, capture_output=True, text=True)
        for line in run.stdout.splitlines():
            word, path, index, rest = line.split(" ", 3)
            results[(path, int(index))] = (word, rest)
    failed = 0
    for (name, _, wants, ulp), path in zip(jobs, paths):
        if isinstance(wants, str):
            word, rest = results[(path, 0)]
            problem = None if word == "error" and wants in rest else f"got {word} {rest}, expected a message with {wants!r}"
        else:
            problem = compare(path, results, wants, ulp)
        failed += problem is not None
        if problem:
            print(f"FAILED {name}: {problem}")
    folder.cleanup()
    summary(len(jobs) - failed, failed, 0)


if __name__ == "__main__":
    main()
