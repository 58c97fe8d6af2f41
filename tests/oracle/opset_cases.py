"""Hand-made models for tests/oracle/test_opset.py: old forms of every operator that has an adapter."""
import numpy as np
from onnx import TensorProto, helper, numpy_helper

F, I64, B, F16, D = (TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL, TensorProto.FLOAT16, TensorProto.DOUBLE)
LATER = (13, 19, 21, 28)
_rng = np.random.default_rng(7)


def rand(*shape, dtype=np.float32):
    return _rng.standard_normal(shape).astype(dtype)


class Case:
    def __init__(self, name, model, feeds, targets, blocked=None, expect=None, unchecked=False, may_not_run=False,
                 form_only=False, random=False):
        self.name, self.model, self.feeds = name, model, feeds
        self.targets = [t for t in targets if t > opset(model)] or list(targets)
        self.blocked, self.expect, self.unchecked, self.may_not_run = blocked, expect, unchecked, may_not_run
        self.form_only, self.random = form_only, random


def opset(model):
    return max(e.version for e in model.opset_import if e.domain == "")


def info(name, dtype, shape):
    return helper.make_tensor_value_info(name, dtype, shape)


def build(nodes, version, feeds, outputs, constants=None, ir=8, functions=(), extra=()):
    """feeds: name -> array (graph inputs); outputs: (name, type, shape) each."""
    inputs = [info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for name, a in feeds.items()]
    tensors = [numpy_helper.from_array(a, name) for name, a in (constants or {}).items()]
    if ir < 4:
        inputs += [info(t.name, t.data_type, t.dims) for t in tensors]
    graph = helper.make_graph(nodes, "g", inputs, [info(*o) for o in outputs], tensors)
    imports = [helper.make_opsetid("", version)] + [helper.make_opsetid(d, 1) for d in extra]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir, functions=list(functions))


def one(op, version, feeds, shapes, constants=None, targets=LATER, name="", types=None, inputs=None, ir=8, **rest):
    """A model of one node; keyword arguments that Case does not take are attributes."""
    keep = {k: rest.pop(k) for k in ("blocked", "expect", "unchecked", "may_not_run", "form_only", "random") if k in rest}
    outputs = [("y%d" % i, (types or [F] * 9)[i], s) for i, s in enumerate(shapes)]
    inputs = inputs if inputs is not None else list(feeds) + list(constants or {})
    node = helper.make_node(op, inputs, [o[0] for o in outputs], name="n", **rest)
    label = " ".join([op, name] + [f"{k}={v}" for k, v in rest.items() if not isinstance(v, bytes)])[:100]
    return Case(label, build([node], version, feeds, outputs, constants, ir), feeds, targets, **keep)


def hidden(op, version, array, name="", targets=LATER, **attributes):
    """The operator between two Reshapes, so that neither rank nor shape of its operands is known."""
    feeds = {"x": array.reshape(-1), "s": np.array(array.shape, np.int64)}
    model = build([helper.make_node("Slice", ["s", "zero", "end"], ["sh"]) if version >= 10 else
                   helper.make_node("Slice", ["s"], ["sh"], starts=[0], ends=[99]),
                   helper.make_node("Reshape", ["x", "sh"], ["a"]),
                   helper.make_node(op, ["a"], ["b"], **attributes),
                   helper.make_node("Reshape", ["b", "flat"], ["y"])], version, feeds, [("y", F, [None])],
                  {"flat": np.array([-1], np.int64), "zero": np.array([0], np.int64),
                   "end": np.array([99], np.int64)})
    del model.graph.input[:]
    model.graph.input.extend([info("x", F, [None]), info("s", I64, [None])])
    return Case(f"{op} unknown rank {name} {attributes}", model, feeds, targets)


def ops(model):
    return [node.op_type for node in model.graph.node]


# ---- softmax family ----

def softmax_cases():
    x = rand(2, 3, 4)
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        for version in (7, 12):
            for axis in (None, 0, 1, 2) + ((-1, -2) if version >= 11 else ()):
                attributes = {} if axis is None else {"axis": axis}
                yield one(op, version, {"x": x}, [x.shape], **attributes)
                yield hidden(op, version, x, name=str(version), **attributes)
    yield one("Softmax", 7, {"x": rand(1, 5, 1, 1)}, [[1, 5, 1, 1]], name="trailing ones",
              expect=lambda m, t: ops(m) == ["Softmax"])
    yield one("Softmax", 11, {"x": rand(3, 5)}, [[3, 5]], name="matrix", expect=lambda m, t: ops(m) == ["Softmax"])
    yield one("Softmax", 11, {"x": rand(2, 1, 5)}, [[2, 1, 5]], axis=1, expect=lambda m, t: ops(m) == ["Softmax"])
    yield one("Softmax", 12, {"x": rand(2, 3)}, [[2, 3]], axis=5, targets=(13, 21), unchecked=True,
              blocked="its axis is outside its input")
    yield one("Softmax", 11, {"x": rand(0, 3, 5)}, [[0, 3, 5]], name="empty", axis=1)
    yield one("Softmax", 11, {"x": rand(2, 3, 0)}, [[2, 3, 0]], name="empty last", axis=1, targets=(14, 21))


# ---- attributes that became inputs ----

def axes_cases():
    x = rand(1, 3, 1, 4)
    for version in (7, 11):
        yield one("Squeeze", version, {"x": x}, [[1, 3, 4]], axes=[2])
        yield one("Squeeze", version, {"x": x}, [[3, 4]], name="all")
        yield one("Unsqueeze", version, {"x": rand(3, 4)}, [[1, 3, 4, 1]], axes=[0, 3])
    yield one("Squeeze", 11, {"x": x}, [[3, 1, 4]], axes=[-4])
    yield one("Unsqueeze", 11, {"x": rand(3, 4)}, [[3, 4, 1]], axes=[-1])
    for op in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"):
        data = np.abs(rand(2, 3, 4)) + 0.1
        for version in (7, 12, 17):
            if op == "Sum" and version == 17:
                continue
            yield one("Reduce" + op, version, {"x": data}, [[2, 1, 1]], axes=[1, 2])
            yield one("Reduce" + op, version, {"x": data}, [[2, 4]], axes=[1], keepdims=0)
            yield one("Reduce" + op, version, {"x": data}, [[1, 1, 1]], name="all")
            yield one("Reduce" + op, version, {"x": data}, [[]], name="all", keepdims=0)
    data = rand(4, 6)
    for version in (7, 11):
        yield one("Split", version, {"x": data}, [[1, 6], [3, 6]], split=[1, 3])
        yield one("Split", version, {"x": data}, [[4, 2], [4, 4]], axis=1, split=[2, 4])
        yield one("Split", version, {"x": data}, [[4, 2]] * 3, axis=1, name="equal")
    yield one("Split", 13, {"x": data}, [[2, 6]] * 2, name="equal", targets=(18, 21, 28))
    yield one("Split", 13, {"x": data}, [[1, 6], [3, 6]], {"s": np.array([1, 3], np.int64)}, targets=(18, 21, 28))
    for version in (7, 9):
        yield one("Slice", version, {"x": data}, [[2, 4]], targets=(10,) + LATER, starts=[1, 1], ends=[3, 5])
        yield one("Slice", version, {"x": data}, [[4, 3]], axes=[1], starts=[-4], ends=[-1])
        yield one("Slice", version, {"x": data}, [[3, 6]], axes=[0], starts=[1], ends=[2**31 - 1])
    yield one("TopK", 7, {"x": data}, [[4, 2], [4, 2]], types=[F, I64], k=2, targets=(10, 11) + LATER)
    yield one("TopK", 9, {"x": data}, [[2, 6], [2, 6]], types=[F, I64], k=2, axis=0, targets=(10, 11) + LATER)
    yield one("TopK", 10, {"x": data}, [[4, 2], [4, 2]], {"k": np.array([2], np.int64)}, types=[F, I64],
              targets=(11, 24))
    for kind in ({}, {"min": -0.5}, {"max": 0.5}, {"min": -0.5, "max": 0.5}, {"min": -3.4028234663852886e38},
                 {"min": -np.inf, "max": np.inf}):
        yield one("Clip", 7, {"x": data}, [[4, 6]], targets=(11, 12) + LATER, **kind)
    yield one("Clip", 7, {"x": rand(4, dtype=np.float16)}, [[4]], types=[F16], name="half", min=-0.3, max=0.3,
              may_not_run=True)
    yield one("Clip", 7, {"x": rand(4, dtype=np.float64)}, [[4]], types=[D], name="double", min=-0.25, max=0.5,
              may_not_run=True)
    for ratio in ({}, {"ratio": 0.25}):
        yield one("Dropout", 7, {"x": data}, [[4, 6]], targets=(10, 12, 13, 21, 28), **ratio)
        yield one("Dropout", 10, {"x": data}, [[4, 6]], targets=(12, 13, 21, 28), **ratio)
    node = helper.make_node("Dropout", ["x"], ["y", "mask"], ratio=0.5)
    unread = build([node], 7, {"x": data}, [("y", F, [4, 6])])
    unread.graph.value_info.append(info("mask", F, [4, 6]))
    yield Case("Dropout mask unread", unread, {"x": data}, LATER,
               expect=lambda m, t: len(m.graph.node[0].output) == 1 and not m.graph.value_info)
    yield Case("Dropout mask read", build([node], 7, {"x": data}, [("y", F, [4, 6]), ("mask", F, [4, 6])]),
               {"x": data}, (10,) + LATER, form_only=True, expect=lambda m, t: ops(m) == ["Dropout", "Cast"])
    picture = rand(1, 2, 5, 6)
    pads = [0, 0, 1, 2, 0, 0, 2, 1]
    for version in (7, 10):
        for kind in ({}, {"value": 1.5}, {"value": -0.0}, {"mode": "reflect"}, {"mode": "edge", "value": 2.0}):
            yield one("Pad", version, {"x": picture}, [[1, 2, 8, 9]], targets=(11, 13, 18, 19, 21, 28), pads=pads, **kind)
    yield one("Pad", 7, {"x": picture}, [[1, 2, 4, 6]], pads=[0, 0, -1, 0, 0, 0, 0, 0], name="crop")
    yield one("Pad", 7, {"x": rand(3, dtype=np.float64)}, [[5]], types=[D], pads=[1, 1], value=0.1, name="double")
    signal = rand(2, 10, 4, 1)
    for kind in ({}, {"axis": 1}, {"axis": 2}, {"axis": -2}, {"axis": 1, "onesided": 1}):
        shape = [2, 6 if kind.get("onesided") else 10, 4, 2]
        yield one("DFT", 17, {"x": signal}, [shape], targets=(20, 21, 28), **kind)
    yield one("DFT", 17, {"x": signal}, [[2, 8, 4, 2]], {"n": np.array(8, np.int64)}, targets=(20, 21), name="length")


# ---- normalizations ----

def norm_cases():
    x = rand(2, 3, 4, 5)
    stats = {"s": rand(3), "b": rand(3), "m": rand(3), "v": np.abs(rand(3)) + 0.5}
    for version in (7, 8, 9, 13):
        yield one("BatchNormalization", version, {"x": x}, [x.shape], stats, targets=(9, 13, 14, 15, 21, 28), epsilon=1e-3)
    yield one("BatchNormalization", 7, {"x": x}, [x.shape], stats, targets=(8, 9, 21), spatial=1)
    features = {k: np.abs(rand(3, 4, 5)) + 0.5 for k in "sbmv"}
    yield one("BatchNormalization", 7, {"x": x}, [x.shape], features, targets=(9, 13, 15, 28), spatial=0,
              unchecked=False)
    node = helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y", "o1", "o2", "o3", "o4"])
    for version in (7, 9, 13):
        yield Case("BatchNormalization unread statistics", build([node], version, {"x": x}, [("y", F, x.shape)], stats),
                   {"x": x}, (14, 15, 21, 28), expect=lambda m, t: len(m.graph.node[0].output) == 3)
    yield Case("BatchNormalization saved statistics",
               build([node], 9, {"x": x}, [("y", F, x.shape), ("o3", F, [3])], stats), {"x": x}, (14, 21),
               blocked="its saved statistics are read")
    yield Case("BatchNormalization training",
               build([node], 9, {"x": x}, [("y", F, x.shape), ("o1", F, [3])], stats), {"x": x}, (14, 21),
               form_only=True, expect=lambda m, t: len(m.graph.node[0].output) == 3 and
               m.graph.node[0].attribute[0].name == "training_mode")
    group = rand(2, 6, 5)
    pair = {"s": rand(3), "b": rand(3)}
    for channels in (6, None):
        case = one("GroupNormalization", 18, {"x": group}, [[2, 6, 5]], pair, targets=(21, 22, 28), unchecked=True,
                   num_groups=3, name=f"C={channels}")
        if channels is None:
            for dim in list(case.model.graph.input[0].type.tensor_type.shape.dim)[1:2]:
                dim.dim_param = "C"
        yield case
    for kind in ({}, {"across_channels": 1}, {"normalize_variance": 1}):
        yield one("MeanVarianceNormalization", 8, {"x": x}, [x.shape], targets=(9,) + LATER, unchecked=True, **kind)
    yield one("MeanVarianceNormalization", 8, {"x": x}, [x.shape], targets=(9, 21), unchecked=True,
              normalize_variance=0, blocked="normalize_variance = 0")
    yield one("MeanVarianceNormalization", 9, {"x": x}, [x.shape])
    yield one("MeanVarianceNormalization", 9, {"x": x}, [x.shape], axes=[0, 2])
    yield one("ThresholdedRelu", 8, {"x": x}, [x.shape], targets=(9, 10) + LATER, unchecked=True, alpha=0.3)


# ---- resampling ----

def resize_cases():
    x = rand(1, 2, 7, 9)
    later = (11, 12, 13, 18, 19, 21, 28)

    def shape(scales):
        return [int(np.floor(np.float32(d) * np.float32(s))) for d, s in zip(x.shape, scales)]

    for mode in ("nearest", "linear"):
        for scales in ([1, 1, 2, 2], [1, 1, 1.5, 2.3]):
            out = shape(scales)
            yield one("Upsample", 7, {"x": x}, [out], targets=(9, 10) + later, mode=mode, scales=[float(s) for s in scales])
            yield one("Upsample", 9, {"x": x}, [out], {"s": np.array(scales, np.float32)}, targets=(10,) + later, mode=mode,
                      name=str(scales))
        for scales in ([1, 1, 2, 2], [1, 1, .5, .5], [1, 1, .7, 1.0], [1, 1, .6, 1.7], [1, 1, 2.3, .4], [1, 1, 1, 1]):
            s = np.array(scales, np.float32)
            yield one("Resize", 10, {"x": x}, [shape(scales)], {"s": s}, targets=later, mode=mode, name=str(scales))
            dynamic = one("Resize", 10, {"x": x, "s": s}, [[None] * 4], targets=later, mode=mode,
                          name=f"at run time {scales}")
            yield dynamic
    yield one("Resize", 10, {"x": x}, [shape([1, 1, .5, 2])], {"s": np.array([1, 1, .5, 2], np.float32)},
              name="default mode", targets=later)
    empty = np.zeros(0, np.float32)
    sizes = np.array([1, 2, 5, 14], np.int64)
    for mode in ("nearest", "linear"):
        yield one("Resize", 11, {"x": x}, [[1, 2, 5, 14]], {"r": empty, "s": empty, "z": sizes}, mode=mode,
                  targets=(13, 18, 19, 21, 28))
    yield one("Resize", 11, {"x": x}, [[1, 2, 14, 18]], {"r": empty, "s": np.array([1, 1, 2, 2], np.float32)},
              inputs=["x", "r", "s", ""], mode="linear", name="no sizes", targets=(13, 18, 19, 21, 28))
    for rounding in ("floor", "round_prefer_floor"):
        for scales in ([1, 1, 2, 2], [1, 1, .6, 1.7]):
            yield one("Resize", 11, {"x": x}, [shape(scales)], {"r": empty, "s": np.array(scales, np.float32)},
                      mode="nearest", coordinate_transformation_mode="tf_half_pixel_for_nn", nearest_mode=rounding,
                      targets=(13, 18, 21), name=str(scales))
    yield one("Resize", 11, {"x": x}, [[1, 2, 14, 18]], {"r": empty, "s": np.array([1, 1, 2, 2], np.float32)},
              mode="linear", coordinate_transformation_mode="tf_half_pixel_for_nn", targets=(13, 21),
              blocked="tf_half_pixel_for_nn")
    roi = np.array([0, 0, .2, .1, 1, 1, .8, .9], np.float32)
    yield one("Resize", 11, {"x": x}, [[1, 2, 5, 14]], {"r": roi, "s": empty, "z": sizes}, mode="linear",
              coordinate_transformation_mode="tf_crop_and_resize", targets=(13, 18, 19, 21))
    boxes = {"r": np.array([[0, 0, 6, 6], [1, 1, 5, 4.5]], np.float32), "i": np.zeros(2, np.int64)}
    for mode in ("avg", "max"):
        yield one("RoiAlign", 10, {"x": x}, [[2, 2, 3, 3]], boxes, mode=mode, output_height=3, output_width=3,
                  sampling_ratio=2, targets=(13, 16, 21, 22, 28))
    grid = {"g": np.clip(rand(1, 4, 5, 2), -1.2, 1.2)}
    for kind in ({}, {"mode": "bilinear"}, {"mode": "bicubic"}, {"mode": "nearest"}):
        yield one("GridSample", 16, {"x": x}, [[1, 2, 4, 5]], grid, targets=(20, 21, 22, 28), align_corners=1, **kind)


# ---- pooling and other operators whose text changed ----

def other_cases():
    x = rand(1, 2, 7, 7)
    for pads in ([1, 1, 1, 1], [0, 0, 0, 0]):
        for ceil in (0, 1):
            for inside in (0, 1):
                size = lambda n: int((np.ceil if ceil else np.floor)((n + 2 * pads[0] - 3) / 2)) + 1
                yield one("AveragePool", 10, {"x": x}, [[1, 2, size(7), size(7)]], kernel_shape=[3, 3], strides=[2, 2],
                          pads=pads, ceil_mode=ceil, count_include_pad=inside, targets=(11, 19, 22, 28))
            yield one("MaxPool", 10, {"x": x}, [[1, 2, size(7), size(7)]], kernel_shape=[3, 3], strides=[2, 2],
                      pads=pads, ceil_mode=ceil, targets=(11, 12, 22, 28))
        yield one("LpPool", 11, {"x": x}, [[1, 2, size(7), size(7)] if False else
                                           [1, 2, (7 + 2 * pads[0] - 3) // 2 + 1, (7 + 2 * pads[0] - 3) // 2 + 1]],
                  kernel_shape=[3, 3], strides=[2, 2], pads=pads, p=3, targets=(18, 22, 28))
    for auto in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        side = 3 if auto == "VALID" else 4
        yield one("MaxPool", 7, {"x": x}, [[1, 2, side, side]], kernel_shape=[2, 2], strides=[2, 2], auto_pad=auto)
        yield one("AveragePool", 7, {"x": x}, [[1, 2, side, side]], kernel_shape=[2, 2], strides=[2, 2], auto_pad=auto)
        yield one("Conv", 7, {"x": x}, [[1, 3, side, side]], {"w": rand(3, 2, 2, 2)}, strides=[2, 2], auto_pad=auto)
    for size in ([14, 14], [15, 15]):
        yield one("ConvTranspose", 7, {"x": x}, [[1, 3] + size], {"w": rand(2, 3, 3, 3)}, strides=[2, 2],
                  output_shape=size, targets=(11, 22))
    yield one("ConvTranspose", 7, {"x": x}, [[1, 3, 14, 14]], {"w": rand(2, 3, 3, 3)}, strides=[2, 2],
              auto_pad="SAME_UPPER", targets=(11, 22))
    yield one("GlobalLpPool", 7, {"x": x}, [[1, 2, 1, 1]], p=2, targets=(21, 22, 28), may_not_run=True)
    yield one("MaxRoiPool", 7, {"x": x}, [[1, 2, 2, 2]], {"r": np.array([[0, 0, 0, 5, 5]], np.float32)},
              pooled_shape=[2, 2], targets=(21, 22, 28), may_not_run=True)
    indices = {"i": np.array([[1, 0, 2], [0, 2, 1]], np.int64), "u": rand(2, 3)}
    yield one("Scatter", 9, {"x": rand(3, 3)}, [[3, 3]], indices, targets=(11, 13, 16, 18, 28))
    yield one("Scatter", 9, {"x": rand(3, 3)}, [[3, 3]], indices, axis=1, targets=(11, 13, 16, 18))
    yield one("OneHot", 9, {"i": np.array([0, 2, 1, 5], np.int64)}, [[4, 3]],
              {"d": np.array(3, np.int64), "v": np.array([0, 1], np.float32)}, targets=(11, 13, 28))
    yield one("DepthToSpace", 7, {"x": rand(1, 8, 2, 2)}, [[1, 2, 4, 4]], blocksize=2, targets=(11, 13, 28))
    for op, outs in (("LSTM", 3), ("GRU", 2), ("RNN", 2)):
        gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
        shapes = [[5, 1, 2, 4]] + [[1, 2, 4]] * (outs - 1)
        yield one(op, 7, {"x": rand(5, 2, 3)}, shapes, {"w": rand(1, gates * 4, 3), "r": rand(1, gates * 4, 4)},
                  hidden_size=4, targets=(14, 21, 22, 28))
    yield one("Erf", 9, {"x": x}, [x.shape], targets=(13, 21))
    yield one("Erf", 9, {"x": np.arange(3, dtype=np.int64)}, [[3]], types=[I64], targets=(13, 21),
              blocked="integers are no longer allowed")
    yield one("Erf", 9, {"x": np.arange(3, dtype=np.int64)}, [[3]], types=[I64], targets=(12,), may_not_run=True)
    yield one("ReduceLogSum", 18, {"x": np.ones((2, 2), np.int64)}, [[1, 1]], types=[I64], targets=(28,),
              blocked="integers are no longer allowed")
    yield one("ReduceLogSumExp", 18, {"x": rand(2, 2)}, [[1, 1]], targets=(28,))


def random_cases():
    """Only type and shape can be compared."""
    for op in ("RandomNormal", "RandomUniform"):
        yield one(op, 7, {}, [[2, 3]], inputs=[], shape=[2, 3], targets=(21, 22, 28), random=True)
        yield one(op + "Like", 7, {"x": rand(2, 3)}, [[2, 3]], targets=(21, 22, 28), random=True)
    yield one("Multinomial", 7, {"x": rand(2, 3)}, [[2, 5]], types=[TensorProto.INT32], sample_size=5,
              targets=(21, 22, 28), random=True, may_not_run=True)
    yield one("Bernoulli", 15, {"x": np.array([0, 1, 1], np.float32)}, [[3]], targets=(21, 22, 28), random=True)
    x = rand(2, 3)
    nodes = [helper.make_node("Optional", ["x"], ["o"]), helper.make_node("OptionalGetElement", ["o"], ["y"])]
    yield Case("Optional", build(nodes, 15, {"x": x}, [("y", F, [2, 3])]), {"x": x}, (18, 21))


# ---- subgraphs, functions, constants, blockers ----

def scan_body(version):
    body = helper.make_graph(
        [helper.make_node("Add", ["st", "el"], ["sum"]), helper.make_node("Unsqueeze", ["sum"], ["wide"], axes=[0]),
         helper.make_node("Squeeze", ["wide"], ["state"], axes=[0]), helper.make_node("Identity", ["state"], ["out"])],
        "body", [info("st", F, [3]), info("el", F, [3])], [info("state", F, [3]), info("out", F, [3])])
    del version
    return body


def structure_cases():
    feeds = {"h": rand(2, 3), "x": rand(2, 4, 3)}
    for directions in ({}, {"directions": [1]}):
        scan = helper.make_node("Scan", ["", "h", "x"], ["hy", "y"], body=scan_body(8), num_scan_inputs=1, **directions)
        yield Case(f"Scan batched {directions}",
                   build([scan], 8, feeds, [("hy", F, [2, 3]), ("y", F, [2, 4, 3])]), feeds, (9, 10, 11, 13, 16, 21, 28))
    lengths = {"l": np.array([2, 4], np.int64), **feeds}
    scan = helper.make_node("Scan", ["l", "h", "x"], ["hy", "y"], name="s", body=scan_body(8), num_scan_inputs=1)
    yield Case("Scan lengths", build([scan], 8, lengths, [("hy", F, [2, 3]), ("y", F, [2, 4, 3])]), lengths, (9, 21),
               blocked='node "s" (Scan): cannot become version 9: sequence_lens')
    scan = helper.make_node("Scan", ["h", "x"], ["hy", "y"], body=scan_body(11), num_scan_inputs=1)
    plain = {"h": rand(3), "x": rand(4, 3)}
    yield Case("Scan", build([scan], 11, plain, [("hy", F, [3]), ("y", F, [4, 3])]), plain, (13, 16, 21, 28))

    def branch(name, axis):
        return helper.make_graph([helper.make_node("Unsqueeze", ["x"], [name + "u"], axes=[axis]),
                                  helper.make_node("Softmax", [name + "u"], [name + "s"], axis=1),
                                  helper.make_node("ReduceSum", [name + "s"], [name + "r"], axes=[axis], keepdims=0)],
                                 name, [], [info(name + "r", F, [None, None])])
    feeds = {"x": rand(3, 4), "c": np.array(True)}
    choose = helper.make_node("If", ["c"], ["z"], then_branch=branch("t", 0), else_branch=branch("e", 1))
    relu = helper.make_node("Clip", ["z"], ["y"], name="clip", min=0.1)
    model = build([choose, helper.make_node("Relu", ["z"], ["y"])], 11, feeds, [("y", F, [None, None])])
    yield Case("If bodies", model, feeds, LATER + (18,),
               expect=lambda m, t: not m.graph.initializer and
               [n.op_type for n in m.graph.node[0].attribute[0].g.node].count("Constant") == 1)
    clip = build([choose, relu], 10, feeds, [("y", F, [None, None])])
    yield Case("Clip unknown type", clip, feeds, (15, 21, 28), expect=lambda m, t: "CastLike" in ops(m))
    yield Case("Clip unknown type", clip, feeds, (11, 13, 14), blocked="the data type of its input is not known")

    loop_body = helper.make_graph(
        [helper.make_node("Unsqueeze", ["v"], ["w"], axes=[0]), helper.make_node("Squeeze", ["w"], ["q"], axes=[0]),
         helper.make_node("Add", ["q", "q"], ["v2"]), helper.make_node("Identity", ["go"], ["go2"])],
        "loop", [info("i", I64, []), info("go", B, []), info("v", F, [2])],
        [info("go2", B, []), info("v2", F, [2]), info("w", F, [1, 2])])
    feeds = {"n": np.array(3, np.int64), "g": np.array(True), "a": rand(2)}
    yield Case("Loop", build([helper.make_node("Loop", ["n", "g", "a"], ["y", "ys"], body=loop_body)], 8, feeds,
                             [("y", F, [2]), ("ys", F, [3, 1, 2])]), feeds, (11, 13, 16, 19, 21, 28))

    x = rand(2, 3)
    twenty = [helper.make_node("Unsqueeze", ["x"], ["u0"], axes=[1])]
    for i in range(10):
        twenty += [helper.make_node("Squeeze", [f"u{i}"], [f"s{i}"], axes=[1]),
                   helper.make_node("Unsqueeze", [f"s{i}"], [f"u{i + 1}"], axes=[1])]
    out = [("u10", F, [2, 1, 3])]
    yield Case("shared constants", build(twenty, 9, {"x": x}, out), {"x": x}, LATER,
               expect=lambda m, t: len(m.graph.initializer) == 1 and len(m.graph.node) == 21)
    yield Case("shared constants IR 3", build(twenty, 9, {"x": x}, out, ir=3), {"x": x}, LATER,
               expect=lambda m, t: not m.graph.initializer and ops(m)[:2] == ["Constant", "Unsqueeze"]
               and ops(m).count("Constant") == 1 and m.ir_version == 3)

    body = [helper.make_node("Unsqueeze", ["a"], ["u"], axes=[0]), helper.make_node("Softmax", ["u"], ["v"]),
            helper.make_node("Squeeze", ["v"], ["b"], axes=[0])]
    function = helper.make_function("own", "F", ["a"], ["b"], body, [helper.make_opsetid("", 11)])
    call = helper.make_node("F", ["x"], ["y"], domain="own")
    yield Case("function", build([call], 11, {"x": x}, [("y", F, [2, 3])], ir=8, functions=[function], extra=["own"]),
               {"x": x}, LATER, expect=lambda m, t: m.functions[0].opset_import[0].version == t)
    passed_on = helper.make_node("Softmax", ["a"], ["b"], name="soft")
    attribute = passed_on.attribute.add()
    attribute.name, attribute.ref_attr_name, attribute.type = "axis", "k", 2
    function = helper.make_function("own", "F", ["a"], ["b"], [passed_on], [helper.make_opsetid("", 11)], ["k"])
    yield Case("function argument",
               build([helper.make_node("F", ["x"], ["y"], domain="own", k=1)], 11, {"x": x}, [("y", F, [2, 3])],
                     functions=[function], extra=["own"]), {"x": x}, (13, 21),
               blocked='node "soft" in function F (Softmax): cannot become version 13')
    yield one("Crop", 7, {"x": rand(1, 1, 5, 5)}, [[1, 1, 3, 3]], border=[1, 1, 1, 1], targets=(8, 13, 21), unchecked=True,
              blocked='node "n" (Crop): removed from ai.onnx after opset 9; keep the model\'s own opset (pattern: foldable)')
    yield one("NoSuchOperator", 9, {"x": x}, [[2, 3]], targets=(13,), unchecked=True, blocked="not an operator")
    yield one("Gelu", 9, {"x": x}, [[2, 3]], targets=(13, 21), unchecked=True, blocked="not in ai.onnx opset 9")
    yield one("Relu", 6, {"x": x}, [[2, 3]], targets=(8, 13, 21), blocked="models below opset 7 are never raised")
    yield one("Relu", 21, {"x": x}, [[2, 3]], targets=(13, 21), name="never lowered")
    alone = build([helper.make_node("Squeeze", ["x"], ["z"], domain="elsewhere", axes=[0]),
                   helper.make_node("Relu", ["x"], ["y"])], 9, {"x": x}, [("y", F, [2, 3])], extra=["elsewhere"])
    yield Case("other domain", alone, {"x": x}, LATER, form_only=True,
               expect=lambda m, t: m.graph.node[0].attribute[0].name == "axes" and not m.graph.initializer)


def cases():
    for part in (softmax_cases, axes_cases, norm_cases, resize_cases, other_cases, random_cases, structure_cases):
        yield from part()


def steps_covered():
    """(operator, version) of every step that a hand-made case goes through."""
    from onnx import defs
    since = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "":
            since.setdefault(schema.name, []).append(schema.since_version)
    covered = set()
    for case in cases():
        if case.blocked is None and not case.form_only and not case.may_not_run:
            for node in case.model.graph.node:
                for version in since.get(node.op_type, ()):
                    if opset(case.model) < version <= max(case.targets):
                        covered.add((node.op_type, version))
    return covered
