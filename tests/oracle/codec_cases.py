"""Small models for test_codecs.py: every operator whose weights are coded, and every place where weights live.

A case is a function of the opset that returns a Case; CASES lists them with the opsets they make sense at.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float16): TensorProto.FLOAT16,
         np.dtype(np.float64): TensorProto.DOUBLE, np.dtype(np.int64): TensorProto.INT64,
         np.dtype(np.bool_): TensorProto.BOOL}
CASES = []


class Case:
    """Nodes, weights (name -> array), feeds (input name -> array), outputs (name -> shape)."""

    def __init__(self, nodes, weights, feeds, outputs, functions=(), domains=(), overridable=()):
        self.nodes = nodes
        self.weights = weights
        self.feeds = feeds
        self.outputs = outputs if isinstance(outputs, dict) else {"y": outputs}
        self.functions = functions
        self.domains = domains
        self.overridable = overridable

    def model(self, opset):
        ir_version = 3 if opset < 9 else 8 if opset < 21 else 10
        inputs = [helper.make_tensor_value_info(name, TYPES[array.dtype], array.shape)
                  for name, array in self.feeds.items()]
        tensors = [array if isinstance(array, TensorProto) else numpy_helper.from_array(array, name)
                   for name, array in self.weights.items()]
        for tensor in tensors:
            if ir_version < 4 or tensor.name in self.overridable:
                inputs.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        first = next(iter(self.feeds.values()))
        default = TYPES[first.dtype] if first.dtype != np.int64 else TensorProto.FLOAT
        outputs = [helper.make_tensor_value_info(name, default, shape) for name, shape in self.outputs.items()]
        graph = helper.make_graph(self.nodes, "g", inputs, outputs, tensors)
        imports = [helper.make_opsetid("", opset)] + [helper.make_opsetid(name, 1) for name in self.domains]
        return helper.make_model(graph, opset_imports=imports, ir_version=ir_version, functions=list(self.functions))


def case(*opsets):
    def keep(function):
        CASES.append((function.__name__, function, opsets))
        return function
    return keep


def rng():
    return np.random.default_rng(20240611)


def gauss(*shape, dtype=np.float32, scale=0.1, seed=1):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(dtype)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def activations(*shape, dtype=np.float32):
    """Like what comes out of a layer: mean above zero."""
    return (rng().standard_normal(shape) + 0.3).astype(dtype)


# ---- convolutions ----

@case(7, 11, 13, 22)
def conv_1d(_):
    return Case([node("Conv", "x w b", "y", pads=[1, 1])], {"w": gauss(32, 48, 3), "b": gauss(32)},
                {"x": activations(1, 48, 20)}, (1, 32, 20))


@case(7, 9, 10, 11, 13, 19, 21, 26)
def conv_2d(_):
    return Case([node("Conv", "x w b", "h", pads=[1, 1, 1, 1], strides=[2, 2]), node("Relu", "h", "r"),
                 node("Conv", "r v", "y")],
                {"w": gauss(32, 16, 3, 3), "b": gauss(32), "v": gauss(40, 32, 1, 1)}, {"x": activations(1, 16, 10, 10)}, (1, 40, 5, 5))


@case(8, 13, 21)
def conv_3d(_):
    return Case([node("Conv", "x w", "y", dilations=[1, 1, 2])], {"w": gauss(20, 8, 3, 3, 3)},
                {"x": activations(1, 8, 5, 5, 7)}, (1, 20, 3, 3, 3))


@case(7, 13)
def conv_depthwise(_):
    return Case([node("Conv", "x w b", "y", group=512, auto_pad="SAME_UPPER")],
                {"w": gauss(512, 1, 3, 3), "b": gauss(512)}, {"x": activations(1, 512, 5, 5)}, (1, 512, 5, 5))


@case(7, 11, 13, 21)
def conv_transpose_groups(_):
    return Case([node("ConvTranspose", "x w b", "y", group=2, strides=[2, 2])],
                {"w": gauss(16, 24, 3, 3), "b": gauss(48)}, {"x": activations(1, 16, 5, 5)}, (1, 48, 11, 11))


# ---- matrices ----

@case(7, 9, 10, 11, 13, 19, 21, 24, 26)
def matmul_2d(_):
    return Case([node("MatMul", "x w", "h"), node("Add", "h b", "y")], {"w": gauss(96, 70), "b": gauss(70)},
                {"x": activations(5, 96)}, (5, 70))


@case(9, 13)
def matmul_vector(_):
    return Case([node("MatMul", "x w", "y")], {"w": gauss(96, 64)}, {"x": activations(96)}, (64,))


@case(7, 13, 21)
def matmul_batches(_):
    return Case([node("MatMul", "x w", "y")], {"w": gauss(96, 64)}, {"x": activations(2, 3, 5, 96)}, (2, 3, 5, 64))


@case(7, 13, 21)
def matmul_weight_left(_):
    return Case([node("MatMul", "w x", "y")], {"w": gauss(70, 96)}, {"x": activations(96, 4)}, (70, 4))


@case(7, 13, 21)
def matmul_3d(_):
    return Case([node("MatMul", "x w", "y")], {"w": gauss(3, 64, 50)}, {"x": activations(3, 4, 64)}, (3, 4, 50))


@case(9, 13, 21)
def matmul_both_sides(_):
    return Case([node("MatMul", "x w", "h"), node("MatMul", "v h", "y")], {"w": gauss(64, 64), "v": gauss(64, 64, seed=2)},
                {"x": activations(64, 64)}, (64, 64))


def gemm(trans_a, trans_b, alpha, beta, bias):
    def build(_):
        x = activations(96, 5) if trans_a else activations(5, 96)
        weights = {"w": gauss(70, 96) if trans_b else gauss(96, 70)}
        if bias is not None:
            weights["b"] = gauss(*bias)
        return Case([node("Gemm", "x w b" if bias is not None else "x w", "y", transA=trans_a, transB=trans_b,
                          alpha=alpha, beta=beta)], weights, {"x": x}, (5, 70))
    return build


for numbers, (a, b, alpha, beta, bias) in enumerate([
        (0, 0, 1.0, 1.0, (70,)), (0, 1, 1.0, 1.0, (70,)), (0, 1, 1.0, 1.0, (1, 70)), (1, 0, 1.0, 1.0, (70,)),
        (1, 1, 0.5, 1.0, (70,)), (0, 0, 2.0, 1.0, (70,)), (0, 1, 1.0, 0.5, (70,)), (0, 0, 1.0, 1.0, (5, 1)),
        (0, 0, 1.0, 0.0, (5, 70)), (0, 1, 1.0, 1.0, None)]):
    needs_bias = bias is None
    CASES.append((f"gemm_{numbers}", gemm(a, b, alpha, beta, bias), (11, 13, 21) if needs_bias else (7, 9, 11, 13, 21)))


@case(12, 13, 21)
def einsum(_):
    return Case([node("Einsum", "x w", "y", equation="bi,ohi->bho")], {"w": gauss(12, 7, 48)}, {"x": activations(4, 48)}, (4, 7, 12))


@case(11, 13)
def through_views(_):
    return Case([node("Transpose", "w", "wt", perm=[1, 0]), node("MatMul", "x wt", "h"),
                 node("Reshape", "v shape", "vr"), node("MatMul", "h vr", "y")],
                {"w": gauss(70, 96), "v": gauss(7, 10, 64), "shape": np.array([70, 64], np.int64)},
                {"x": activations(3, 96)}, (3, 64))


# ---- tables ----

def indices(*shape, limit=90):
    return rng().integers(0, limit, shape).astype(np.int64)


@case(7, 11, 13, 21)
def gather_rows(_):
    return Case([node("Gather", "w i", "y")], {"w": gauss(90, 48)}, {"i": indices(2, 7)}, (2, 7, 48))


@case(9, 13, 21)
def gather_columns(_):
    return Case([node("Gather", "w i", "y", axis=1)], {"w": gauss(48, 90)}, {"i": indices(4)}, (48, 4))


@case(9, 13)
def gather_odd_width(_):
    return Case([node("Gather", "w i", "y")], {"w": gauss(91, 37)}, {"i": indices(5)}, (5, 37))


@case(9, 13, 21)
def tied_embedding(_):
    return Case([node("Gather", "w i", "e"), node("Transpose", "w", "t", perm=[1, 0]), node("MatMul", "e t", "h"),
                 node("MatMul", "h w", "y")], {"w": gauss(90, 48)}, {"i": indices(6)}, (6, 48))


@case(9, 13, 21)
def tied_matmuls(_):
    return Case([node("Identity", "w", "same"), node("MatMul", "x w", "h"), node("MatMul", "h same", "y")],
                {"w": gauss(64, 64)}, {"x": activations(4, 64)}, (4, 64))


# ---- recurrent ----

def recurrent(op, gates, directions):
    def build(opset):
        direction = "bidirectional" if directions == 2 else "forward"
        weights = {"w": gauss(directions, gates * 16, 96), "r": gauss(directions, gates * 16, 16),
                   "b": gauss(directions, 2 * gates * 16)}
        return Case([node(op, "x w r b", "y h", hidden_size=16, direction=direction)], weights,
                    {"x": activations(6, 2, 96)}, {"y": (6, directions, 2, 16), "h": (directions, 2, 16)})
    return build


for op_name, gate_count in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
    for direction_count in (1, 2):
        CASES.append((f"{op_name.lower()}_{direction_count}", recurrent(op_name, gate_count, direction_count),
                      (7, 11, 14, 21)))


# ---- operators outside of the standard ----

@case(11, 13, 17)
def attention(_):
    return Case([node("Attention", "x w b", "y", domain="com.microsoft", num_heads=4)],
                {"w": gauss(32, 96), "b": gauss(96)}, {"x": activations(2, 6, 32)}, (2, 6, 32), domains=("com.microsoft",))


@case(11, 13, 17)
def fused_matmul(_):
    return Case([node("FusedMatMul", "x w", "y", domain="com.microsoft", transB=1, alpha=0.5)],
                {"w": gauss(70, 96)}, {"x": activations(5, 96)}, (5, 70), domains=("com.microsoft",))


# ---- other places ----

@case(9, 13, 21)
def constant_nodes(_):
    return Case([node("Constant", "", "w", value=numpy_helper.from_array(gauss(96, 70), "")),
                 node("MatMul", "x w", "y")], {}, {"x": activations(5, 96)}, (5, 70))


def branch(name, weight, outer):
    tensor = numpy_helper.from_array(weight, "local")
    return helper.make_graph([node("MatMul", "x local", "h"), node("MatMul", f"h {outer}", "out")], name, [],
                             [helper.make_tensor_value_info("out", TensorProto.FLOAT, [4, 64])], [tensor])


@case(11, 13, 21)
def if_branches(_):
    return Case([helper.make_node("If", ["c"], ["y"], then_branch=branch("then", gauss(64, 64), "w"),
                                  else_branch=branch("else", gauss(64, 64, seed=3), "w"))],
                {"w": gauss(64, 64, seed=5)}, {"x": activations(4, 64), "c": np.array(True)}, (4, 64))


@case(11, 13, 21)
def loop_body(_):
    body = helper.make_graph(
        [node("MatMul", "state local", "h"), node("MatMul", "h w", "next"), node("Identity", "go", "again")], "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []),
         helper.make_tensor_value_info("go", TensorProto.BOOL, []),
         helper.make_tensor_value_info("state", TensorProto.FLOAT, [4, 64])],
        [helper.make_tensor_value_info("again", TensorProto.BOOL, []),
         helper.make_tensor_value_info("next", TensorProto.FLOAT, [4, 64])],
        [numpy_helper.from_array(gauss(64, 64), "local")])
    return Case([helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)], {"w": gauss(64, 64, seed=5),
                "n": np.array(2, np.int64)}, {"x": activations(4, 64)}, (4, 64))


@case(9, 11, 13, 21)
def scan_body(_):
    body = helper.make_graph(
        [node("MatMul", "item local", "h"), node("Add", "h state", "next"), node("Identity", "next", "each")], "body",
        [helper.make_tensor_value_info("state", TensorProto.FLOAT, [4, 64]),
         helper.make_tensor_value_info("item", TensorProto.FLOAT, [4, 48])],
        [helper.make_tensor_value_info("next", TensorProto.FLOAT, [4, 64]),
         helper.make_tensor_value_info("each", TensorProto.FLOAT, [4, 64])],
        [numpy_helper.from_array(gauss(48, 64), "local")])
    return Case([helper.make_node("Scan", ["s", "x"], ["last", "y"], body=body, num_scan_inputs=1)], {},
                {"s": activations(4, 64), "x": activations(3, 4, 48)}, {"last": (4, 64), "y": (3, 4, 64)})


@case(15, 18, 21)
def function_constants(opset):
    function = helper.make_function(
        "local", "Dense", ["x"], ["y"],
        [node("Constant", "", "w", value=numpy_helper.from_array(gauss(96, 70), "")), node("MatMul", "x w", "h"),
         node("Relu", "h", "y")], [helper.make_opsetid("", opset)])
    return Case([node("Dense", "x", "y", domain="local")], {}, {"x": activations(5, 96)}, (5, 70), functions=[function],
                domains=("local",))


@case(15, 18, 21)
def function_takes_weight(opset):
    function = helper.make_function("local", "Dense", ["x", "w"], ["y"],
                                    [node("MatMul", "x w", "h"), node("Relu", "h", "y")],
                                    [helper.make_opsetid("", opset)])
    return Case([node("Dense", "x w", "h", domain="local"), node("MatMul", "h v", "y")],
                {"w": gauss(96, 70), "v": gauss(70, 64)}, {"x": activations(5, 96)}, (5, 64), functions=[function],
                domains=("local",))


@case(9, 13)
def overridable_input(_):
    return Case([node("MatMul", "x w", "y")], {"w": gauss(96, 70)}, {"x": activations(5, 96)}, (5, 70), overridable=("w",))


@case(9, 13)
def weight_is_output(_):
    return Case([node("MatMul", "x w", "h"), node("MatMul", "h v", "y")], {"w": gauss(96, 70), "v": gauss(70, 64)},
                {"x": activations(5, 96)}, {"y": (5, 64), "w": (96, 70)})


# ---- other float types ----

@case(9, 13, 21)
def matmul_float16(_):
    return Case([node("MatMul", "x w", "y")], {"w": gauss(96, 70, dtype=np.float16)},
                {"x": activations(5, 96, dtype=np.float16)}, (5, 70))


@case(9, 13, 21)
def gemm_float64(_):
    return Case([node("Gemm", "x w b", "y", transB=1)], {"w": gauss(70, 96, dtype=np.float64),
                "b": gauss(70, dtype=np.float64)}, {"x": activations(5, 96, dtype=np.float64)}, (5, 70))


@case(13, 21)
def bfloat16_behind_cast(_):
    words = (gauss(96, 70).view(np.uint32) >> 16).astype(np.uint16)
    tensor = helper.make_tensor("w", TensorProto.BFLOAT16, words.shape, words.tobytes(), raw=True)
    return Case([node("Cast", "w", "wide", to=TensorProto.FLOAT), node("MatMul", "x wide", "y")], {"w": tensor},
                {"x": activations(5, 96)}, (5, 70))


def check_all():
    """The models themselves must be right, or nothing is shown with them."""
    for _, build, opsets in CASES:
        for opset in opsets:
            onnx.checker.check_model(build(opset).model(opset), full_check=True)
