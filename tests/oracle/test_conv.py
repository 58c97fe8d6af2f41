"""Matrix products and convolutions of core/exec against NumPy, PyTorch-like float64 loops and ONNX Runtime:
test_conv.py [EXEC_TOOL].

MatMul, Gemm, Conv and ConvTranspose over all types, ranks, groups, paddings and broadcasts. The models have no inputs
and are evaluated by tests/oracle/exec_tool.c (see test_exec.py). Sums must agree within a relative tolerance of the
type. Prints "N passed, N failed, N skipped".
"""

import itertools
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
from test_exec import FLOATS, INTS, NAME, NP, Case, as_stored, build_tool, node, numbers, rng

TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-12, np.dtype(np.float16): 4e-3,
             np.dtype(ml_dtypes.bfloat16): 3e-2}


def floats(dtype, *shape):
    return rng.standard_normal(shape).astype(NP[dtype])


def exact(function):
    """expected= computed in float64 (or the integers' own type) and rounded once."""
    def apply(*arrays):
        if np.issubdtype(arrays[0].dtype, np.integer):
            with np.errstate(all="ignore"):
                return [np.asarray(function(*arrays))]
        return [np.asarray(function(*[a.astype(np.float64) for a in arrays])).astype(arrays[0].dtype)]
    return apply


def matmul_cases():
    shapes = [((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4, 5)),
              ((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((5, 4, 2), (2, 1, 2, 3)), ((6, 1, 7), (6, 7, 1)),
              ((2, 3, 4), (4,)), ((4,), (2, 4, 3)), ((1, 70), (70, 130)), ((65, 300), (300, 33)), ((7, 513), (513, 1)),
              ((2, 3, 17, 40), (2, 3, 40, 19)), ((0, 4), (4, 5)), ((3, 0), (0, 5)), ((13, 20), (3, 20, 18))]
    for a, b in shapes:
        yield Case(f"MatMul {a} {b}", [node("MatMul", "ab")], {"a": floats(T.FLOAT, *a), "b": floats(T.FLOAT, *b)},
                   opset=13, expected=exact(np.matmul))
    for dtype in FLOATS + (T.INT32, T.INT64, T.UINT32, T.UINT64):
        make = numbers if dtype in INTS else lambda d, s: floats(d, *s)
        yield Case(f"MatMul {NAME[dtype]}", [node("MatMul", "ab")],
                   {"a": make(dtype, (2, 5, 9)), "b": make(dtype, (9, 7))}, opset=13, expected=exact(np.matmul))
    for _ in range(40):
        m, n, k = (int(x) for x in rng.integers(1, 80, 3))
        yield Case(f"MatMul {m} {n} {k}", [node("MatMul", "ab")],
                   {"a": floats(T.FLOAT, m, k), "b": floats(T.FLOAT, k, n)}, opset=13, expected=exact(np.matmul))


def gemm_cases():
    biases = (None, (), (1,), (17,), (1, 17), (9, 1), (9, 17), (1, 1))
    for ta, tb, bias, scale in itertools.product((0, 1), (0, 1), biases, ((1.0, 1.0), (0.5, 2.0))):
        alpha, beta = scale
        values = {"a": floats(T.FLOAT, *((12, 9) if ta else (9, 12))), "b": floats(T.FLOAT, *((17, 12) if tb else (12, 17)))}
        if bias is not None:
            values["c"] = floats(T.FLOAT, *bias)

        def product(a, b, c=0, ta=ta, tb=tb, alpha=alpha, beta=beta):
            return alpha * ((a.T if ta else a) @ (b.T if tb else b)) + beta * c
        yield Case(f"Gemm {ta} {tb} {bias} {scale}",
                   [node("Gemm", list(values), transA=ta, transB=tb, alpha=alpha, beta=beta)], values, opset=13,
                   expected=exact(product))
    for dtype in FLOATS + (T.INT32, T.INT64, T.UINT32, T.UINT64):
        make = numbers if dtype in INTS else lambda d, s: floats(d, *s)
        yield Case(f"Gemm {NAME[dtype]}", [node("Gemm", "abc", transB=1)],
                   {"a": make(dtype, (5, 9)), "b": make(dtype, (7, 9)), "c": make(dtype, (7,))}, opset=13,
                   expected=exact(lambda a, b, c: a @ b.T + c))


def pads_of(auto, size, kernel, stride, dilation, pads):
    """Padding in front and behind on one axis."""
    reach = dilation * (kernel - 1) + 1
    if auto == "VALID":
        return 0, 0
    if auto == "NOTSET":
        return pads
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return (total // 2, total - total // 2) if auto == "SAME_UPPER" else (total - total // 2, total // 2)


def convolve(x, w, b, group, strides, dilations, pads):
    """Conv in float64: pads as [(front, back), ...]."""
    rank = x.ndim - 2
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0)] + pads)
    out = [(x.shape[2 + i] - dilations[i] * (w.shape[2 + i] - 1) - 1) // strides[i] + 1 for i in range(rank)]
    m, c = w.shape[0] // group, w.shape[1]
    y = np.zeros((x.shape[0], w.shape[0], *out))
    for at in np.ndindex(*w.shape[2:]):
        index = tuple(slice(at[i] * dilations[i], at[i] * dilations[i] + (out[i] - 1) * strides[i] + 1, strides[i])
                      for i in range(rank))
        taken = x[(slice(None), slice(None)) + index]
        for g in range(group):
            kernel = w[(slice(g * m, g * m + m), slice(None)) + at].astype(np.float64)
            y[:, g * m:g * m + m] += np.einsum("mc,nc...->nm...", kernel, taken[:, g * c:g * c + c])
    return y + (0 if b is None else b.astype(np.float64).reshape((-1,) + (1,) * rank))


def conv_case(name, dtype, x_shape, w_shape, group, strides, dilations, pads, auto, bias):
    rank = len(x_shape) - 2
    values = {"x": floats(dtype, *x_shape), "w": floats(dtype, *w_shape)}
    if bias:
        values["b"] = floats(dtype, w_shape[0])
    attributes = {"group": group, "strides": strides, "dilations": dilations}
    if auto == "NOTSET":
        attributes["pads"] = [p[0] for p in pads] + [p[1] for p in pads]
    else:
        attributes["auto_pad"] = auto
    real = [pads_of(auto, x_shape[2 + i], w_shape[2 + i], strides[i], dilations[i], pads[i]) for i in range(rank)]

    def expected(x, w, b=None):
        return [convolve(x, w, b, group, strides, dilations, real).astype(x.dtype)]
    return Case(f"Conv {name} {x_shape} {w_shape} group {group} {strides} {dilations} {real}",
                [node("Conv", list(values), **attributes)], values, opset=11 if dtype != T.BFLOAT16 else 22,
                expected=expected)


def conv_cases():
    for number in range(260):
        rank = int(rng.choice([1, 2, 2, 2, 3]))
        group = int(rng.choice([1, 1, 1, 2, 3, 5]))
        kind = rng.integers(0, 3)
        c, m = (1, int(rng.integers(1, 3))) if kind == 0 else (int(rng.integers(1, 6)), int(rng.integers(1, 20)))
        kernel = [int(n) for n in rng.integers(1, 5, rank)]
        strides = [int(n) for n in rng.integers(1, 4, rank)]
        dilations = [int(n) for n in rng.integers(1, 3, rank)]
        if number % 4 == 0:
            kernel, dilations = [1] * rank, [1] * rank
            strides = [1] * rank if number % 8 == 0 else strides
        pads = [(int(a), int(b)) for a, b in rng.integers(0, 4 if number % 3 else 1, (rank, 2))]
        auto = str(rng.choice(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
        top = 40 if rank < 3 else 9
        size = [int(rng.integers(d * (k - 1) + 1, top)) for k, d in zip(kernel, dilations)]
        yield conv_case("", T.FLOAT, (int(rng.integers(1, 3)), group * c, *size), (group * m, c, *kernel), group,
                        strides, dilations, pads, auto, bool(rng.integers(0, 2)))
    for dtype in FLOATS:
        yield conv_case(NAME[dtype], dtype, (2, 6, 9, 8), (4, 3, 3, 2), 2, [2, 1], [1, 2], [(1, 0), (2, 1)], "NOTSET", True)
    layers = (((1, 3, 64, 64), (32, 3, 3, 3), 1, 2), ((1, 40, 7, 7), (40, 1, 3, 3), 40, 1), ((1, 24, 14, 14), (24, 1, 5, 5), 24, 2),
              ((1, 300, 7, 7), (33, 300, 1, 1), 1, 1), ((1, 33, 1, 1), (65, 33, 1, 1), 1, 1), ((1, 40, 20, 20), (64, 40, 3, 3), 1, 1),
              ((1, 8, 112, 112), (8, 1, 3, 3), 8, 1), ((1, 8, 112, 112), (8, 1, 3, 3), 8, 2), ((1, 64, 14, 14), (64, 4, 3, 3), 16, 1))
    for x, w, group, stride in layers:
        yield conv_case("layer", T.FLOAT, x, w, group, [stride] * 2, [1, 1], [(w[2] // 2,) * 2] * 2, "NOTSET", True)


def transposed(x, w, b, group, strides, dilations, front, out):
    """ConvTranspose in float64: what is cut off in front, output size per axis."""
    rank = x.ndim - 2
    m, c = w.shape[1], x.shape[1] // group
    y = np.zeros((x.shape[0], m * group, *out))
    for at in np.ndindex(*w.shape[2:]):
        for position in np.ndindex(*x.shape[2:]):
            to = [position[i] * strides[i] + at[i] * dilations[i] - front[i] for i in range(rank)]
            if any(t < 0 or t >= o for t, o in zip(to, out)):
                continue
            for g in range(group):
                kernel = w[(slice(g * c, g * c + c), slice(None)) + at].astype(np.float64)
                y[(slice(None), slice(g * m, g * m + m)) + tuple(to)] += (
                    x[(slice(None), slice(g * c, g * c + c)) + position].astype(np.float64) @ kernel)
    return y + (0 if b is None else b.astype(np.float64).reshape((-1,) + (1,) * rank))


def transpose_cases():
    for number in range(90):
        rank = int(rng.choice([1, 2, 2, 3]))
        group = int(rng.choice([1, 1, 2, 3]))
        c, m = int(rng.integers(1, 5)), int(rng.integers(1, 6))
        kernel = [int(n) for n in rng.integers(1, 5, rank)]
        strides = [int(n) for n in rng.integers(1, 4, rank)]
        dilations = [int(n) for n in rng.integers(1, 3, rank)]
        extra = [int(rng.integers(0, max(s, d))) for s, d in zip(strides, dilations)]
        size = [int(n) for n in rng.integers(2, 8 if rank < 3 else 4, rank)]
        full = [s * (n - 1) + e + d * (k - 1) + 1 for s, n, e, d, k in zip(strides, size, extra, dilations, kernel)]
        dtype = T.FLOAT if number >= 8 else FLOATS[number % 4]
        values = {"x": floats(dtype, 2, group * c, *size), "w": floats(dtype, group * c, m, *kernel)}
        if number % 2:
            values["b"] = floats(dtype, group * m)
        attributes = {"group": group, "strides": strides, "dilations": dilations, "output_padding": extra}
        front, out = [0] * rank, full
        if number % 3 == 0:
            pads = [(int(rng.integers(0, max(1, f // 2))), int(rng.integers(0, max(1, f // 2)))) for f in full]
            attributes["pads"] = [p[0] for p in pads] + [p[1] for p in pads]
            front, out = [p[0] for p in pads], [f - p[0] - p[1] for f, p in zip(full, pads)]
        elif number % 3 == 1:
            auto = ("NOTSET", "SAME_UPPER", "SAME_LOWER")[number // 3 % 3]
            out = [s * n for s, n in zip(strides, size)] if number % 2 else [max(1, f - 2) for f in full]
            if number % 2 == 0 or auto == "NOTSET":
                attributes["output_shape"] = out
            if auto != "NOTSET":
                attributes["auto_pad"] = auto
            total = [f - o for f, o in zip(full, out)]
            front = [max(t, 0) // 2 if auto == "SAME_UPPER" else max(t, 0) - max(t, 0) // 2 for t in total]

        def expected(x, w, b=None, group=group, s=strides, d=dilations, front=front, out=out):
            return [transposed(x, w, b, group, s, d, front, out).astype(x.dtype)]
        yield Case(f"ConvTranspose {values['x'].shape} {values['w'].shape} {attributes}",
                   [node("ConvTranspose", list(values), **attributes)], values,
                   opset=11 if dtype != T.BFLOAT16 else 22, expected=expected)


def close(got, want):
    """Equal integers, or floats within the type's tolerance of the largest value."""
    if np.issubdtype(want.dtype, np.integer):
        return np.array_equal(got, want)
    got, want, tolerance = got.astype(np.float64), want.astype(np.float64), TOLERANCE[want.dtype]
    return np.allclose(got, want, rtol=tolerance, atol=tolerance * max(1.0, np.abs(want).max(initial=0)))


def check(case, path, results):
    """What is wrong with a case's outputs, or None."""
    for index, want in enumerate(case.expected(*case.constants.values())):
        word, rest = results.get((path, index), ("error", "no result"))
        if word != "ok":
            return rest
        dtype, _, *dims = (int(number) for number in rest.split())
        if dtype != helper.np_dtype_to_tensor_dtype(want.dtype) or tuple(dims) != want.shape:
            return f"got type {dtype} and shape {dims}, expected {want.dtype} {want.shape}"
        stored = as_stored(want)
        got = np.fromfile(f"{path}.{index}.raw", dtype=np.uint8).view(stored.dtype).reshape(stored.shape)
        if not close(got, stored):
            worst = int(np.argmax(np.abs(got.astype(np.float64) - stored.astype(np.float64))))
            return f"value {worst}: got {got.ravel()[worst]}, expected {stored.ravel()[worst]}"
    return None


def main():
    with tempfile.TemporaryDirectory() as folder:
        tool = sys.argv[1] if len(sys.argv) > 1 else build_tool(folder)
        parts = (matmul_cases, gemm_cases, conv_cases, transpose_cases)
        cases = [case for part in parts for case in part()]
        paths = [os.path.join(folder, f"{number}.onnx") for number in range(len(cases))]
        for case, path in zip(cases, paths):
            onnx.save(case.model(), path)
        lines = subprocess.run([tool] + paths, check=True, capture_output=True, text=True).stdout
        results = {}
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
