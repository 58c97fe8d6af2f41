"""Writes the seeds of fuzz_compress, fuzz_inspect and fuzz_npz into tests/fuzz/corpus/.

    build/venv/bin/python tests/fuzz/make_seeds.py

The models are small and many of them are wrong on purpose: the checker is not asked.
"""

import io
import os
import sys

import numpy as np
from onnx import AttributeProto, TensorProto, helper, numpy_helper

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
ALL_RECIPES = b"\xff"
FLOAT = TensorProto.FLOAT
MAX_BYTES = 4096

rng = np.random.default_rng(3)


def weight(name, *shape, dtype=np.float32):
    return numpy_helper.from_array(rng.standard_normal(shape).astype(dtype), name)


def claimed(name, dims, data=b"", dtype=FLOAT):
    """A tensor whose dims and payload need not agree."""
    tensor = TensorProto(name=name, data_type=dtype, raw_data=data)
    tensor.dims.extend(dims)
    return tensor


def info(name, *shape):
    return helper.make_tensor_value_info(name, FLOAT, list(shape))


def model(nodes, initializers=(), inputs=None, outputs=None, opset=13, ir=8, functions=(), ms=False, value_info=()):
    inputs = [info("x", 1, 16)] if inputs is None else inputs
    outputs = [info("y")] if outputs is None else outputs
    graph = helper.make_graph(list(nodes), "g", inputs, outputs, list(initializers), value_info=list(value_info))
    imports = [helper.make_opsetid("", opset)] + ([helper.make_opsetid("com.microsoft", 1)] if ms else [])
    imports += [helper.make_opsetid("local", 1)] if functions else []
    return helper.make_model(graph, opset_imports=imports, ir_version=ir, functions=list(functions))


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, **attributes)


def constant(name, tensor):
    return node("Constant", [], [name], value=tensor)


def sound():
    """Models as they are."""
    yield "conv", model([node("Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1], strides=[1, 1])],
                        [weight("w", 8, 8, 3, 3), weight("b", 8)], [info("x", 1, 8, 4, 4)])
    yield "matmul", model([node("MatMul", ["x", "w"], ["h"]), node("Add", ["h", "b"], ["y"])],
                          [weight("w", 16, 40), weight("b", 40)])
    yield "gemm", model([node("Gemm", ["x", "w", "b"], ["h"], transB=1), node("Gemm", ["h", "v", "c"], ["y"])],
                        [weight("w", 20, 16), weight("b", 20), weight("v", 20, 15), weight("c", 15)], opset=21, ir=10)
    yield "gather", model([node("Gather", ["e", "i"], ["h"]), node("Gather", ["e", "i"], ["k"], axis=1),
                           node("Gather", ["f", "i"], ["y"])],
                          [weight("e", 24, 16), weight("f", 20, 16), numpy_helper.from_array(np.int64([1, 2]), "i")])
    yield "lstm", model([node("LSTM", ["x", "w", "r", "b"], ["y", "h", "c"], hidden_size=6)],
                        [weight("w", 1, 24, 16), weight("r", 1, 24, 6), weight("b", 1, 48)], [info("x", 2, 1, 16)])
    yield "gru-rnn", model([node("GRU", ["x", "w", "r"], ["y"], hidden_size=5, direction="bidirectional"),
                            node("RNN", ["x", "v", "u"], ["z"], hidden_size=5)],
                           [weight("w", 2, 15, 12), weight("r", 2, 15, 5), weight("v", 1, 5, 12), weight("u", 1, 5, 5)],
                           [info("x", 2, 1, 12)], opset=9, ir=4)
    branch = helper.make_graph([node("MatMul", ["x", "w"], ["t"])], "then", [], [info("t")], [weight("w", 16, 16)])
    other = helper.make_graph([constant("v", weight("v", 16, 16)), node("MatMul", ["x", "v"], ["e"])], "else", [],
                              [info("e")])
    yield "if", model([node("If", ["c"], ["y"], then_branch=branch, else_branch=other)],
                      [numpy_helper.from_array(np.bool_([True]), "c")])
    body = helper.make_graph([node("Identity", ["on"], ["on2"]), node("MatMul", ["s", "w"], ["s2"])], "body",
                             [helper.make_tensor_value_info("i", TensorProto.INT64, []),
                              helper.make_tensor_value_info("on", TensorProto.BOOL, []), info("s", 16, 16)],
                             [helper.make_tensor_value_info("on2", TensorProto.BOOL, []), info("s2", 16, 16)])
    yield "loop", model([node("Loop", ["n", "c", "x"], ["y"], body=body), node("MatMul", ["y", "w"], ["z"])],
                        [numpy_helper.from_array(np.int64(3), "n"), numpy_helper.from_array(np.bool_(True), "c"),
                         weight("w", 16, 24)], [info("x", 16, 16)], opset=11, ir=6)
    function = helper.make_function("local", "Dense", ["a", "p"], ["q"],
                                    [constant("k", weight("k", 16, 16)), node("MatMul", ["a", "k"], ["m"]),
                                     node("MatMul", ["m", "p"], ["q"])], [helper.make_opsetid("", 17)])
    yield "function", model([node("Dense", ["x", "w"], ["y"], domain="local")], [weight("w", 16, 24)],
                            functions=[function], opset=17)
    yield "ir3", model([node("Conv", ["x", "w"], ["h"], kernel_shape=[1, 1]), node("Flatten", ["h"], ["f"]),
                        node("MatMul", ["f", "v"], ["y"])], [weight("w", 16, 16, 1, 1), weight("v", 16, 12)],
                       [info("x", 1, 16, 1, 1), info("w", 16, 16, 1, 1), info("v", 16, 12)], opset=7, ir=3)
    yield "overridable", model([node("MatMul", ["x", "w"], ["y"])], [weight("w", 16, 32)],
                               [info("x", 1, 16), info("w", 16, 32)], opset=9, ir=5)
    yield "tied", model([node("Gather", ["e", "i"], ["h"]), node("Transpose", ["e"], ["t"], perm=[1, 0]),
                         node("MatMul", ["h", "t"], ["y"])],
                        [weight("e", 30, 16), numpy_helper.from_array(np.int64([0]), "i")])
    yield "views", model([node("Reshape", ["w", "s"], ["r"]), node("Unsqueeze", ["r", "a"], ["u"]),
                          node("Squeeze", ["u", "a"], ["q"]), node("Identity", ["q"], ["i"]),
                          node("MatMul", ["x", "i"], ["y"])],
                         [weight("w", 4, 4, 20), numpy_helper.from_array(np.int64([16, -1]), "s"),
                          numpy_helper.from_array(np.int64([0]), "a")])
    yield "convtranspose", model([node("ConvTranspose", ["x", "w"], ["y"], group=2)], [weight("w", 8, 6, 3, 3)],
                                 [info("x", 1, 8, 4, 4)], opset=11)
    yield "half", model([node("MatMul", ["x", "w"], ["y"])], [weight("w", 16, 40, dtype=np.float16)])
    yield "qdq", model([node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=1), node("MatMul", ["x", "w"], ["y"])],
                       [numpy_helper.from_array(rng.integers(-128, 128, (16, 24)).astype(np.int8), "q"),
                        weight("s", 24), numpy_helper.from_array(np.zeros(24, np.int8), "z")])
    yield "old-operators", model([node("BatchNormalization", ["x", "m", "m", "m", "m"], ["n"], spatial=1),
                                  node("Upsample", ["n", "u"], ["p"]), node("Softmax", ["p"], ["f"]),
                                  node("Dropout", ["f"], ["d"], ratio=0.5), node("Conv", ["d", "w"], ["h"]),
                                  node("Slice", ["h"], ["y"], starts=[0], ends=[1])],
                                 [weight("m", 4), weight("w", 8, 4, 3, 3),
                                  numpy_helper.from_array(np.float32([1, 1, 2, 2]), "u")], [info("x", 1, 4, 4, 4)],
                                 opset=9, ir=3)
    yield "microsoft", model([node("Attention", ["x", "w", "b"], ["y"], domain="com.microsoft", num_heads=2),
                              node("MatMulNBits", ["x", "n", "s"], ["z"], domain="com.microsoft", K=16, N=8, bits=4,
                                   block_size=16)],
                             [weight("w", 16, 24), weight("b", 24), weight("s", 8),
                              numpy_helper.from_array(rng.integers(0, 256, (8, 1, 8)).astype(np.uint8), "n")], ms=True)


def wrong():
    """Models that lie, each in one way or several."""
    big = weight("w", 16, 20)
    values = np.float32([np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-45, -0.0, 0.0] * 40).reshape(16, 20)
    yield "values", model([node("MatMul", ["x", "w"], ["h"]), node("MatMul", ["h", "v"], ["y"]),
                           node("MatMul", ["h", "u"], ["z"]), node("MatMul", ["h", "m"], ["t"])],
                          [numpy_helper.from_array(values, "w"), claimed("u", [20, 8], np.full(160, 3e38, "<f4").tobytes()),
                           claimed("v", [20, 8], np.full(160, 1e-44, "<f4").tobytes()),
                           claimed("m", [20, 8], np.float32([3.3e38, -3.3e38] * 80).tobytes())])
    yield "dims", model([node("MatMul", ["x", name], [f"y{name}"]) for name in "abcdefg"],
                        [claimed("a", [0, 16]), claimed("b", [16, 0]), claimed("c", [2**31, 2**20]),
                         claimed("d", [16, 8], b"\0" * 64), claimed("e", [], b"\0" * 4),
                         claimed("f", [1] * 70, b"\0" * 4), claimed("g", [0, 0, 0])], outputs=[info("ya")])
    yield "negative", model([node("MatMul", ["x", "w"], ["y"])], [claimed("w", [-1, 16], b"\0" * 64)])
    yield "overflow", model([node("Conv", ["x", "w"], ["y"])], [claimed("w", [2**62, 2**62, 0, 3])])
    yield "overflow-zero", model([node("MatMul", ["x", "w"], ["y"])], [claimed("w", [0, 2**62, 2**62])])
    yield "huge", model([node("LSTM", ["x", "w", "r"], ["y"], hidden_size=1), node("MatMul", ["x", "v"], ["z"]),
                         node("Gather", ["v", "i"], ["g"])],
                        [claimed("w", [1, 2**40, 1]), claimed("r", [2**40, 4, 1]), claimed("v", [2**50, 1]),
                         numpy_helper.from_array(np.int64([0]), "i")])
    data = rng.standard_normal(320).astype("<f4").tobytes()
    yield "conv-70-dims", model([node("Conv", ["x", "w", "b"], ["y"])],
                                [claimed("w", [64, 5] + [1] * 68, data), weight("b", 64)])
    yield "conv-65-dims", model([node("ConvTranspose", ["x", "w"], ["y"]), node("Conv", ["x", "w"], ["z"])],
                                [claimed("w", [1] * 63 + [64, 5], data)])
    yield "conv-ranks", model([node("Conv", ["x", name, "w1"], [f"y{name}"]) for name in ("w0", "w1", "w2", "w3")],
                              [claimed("w0", [], b"\0\0\0\0"), weight("w1", 200), weight("w2", 16, 16),
                               weight("w3", 8, 16, 2)], outputs=[info("yw0")])
    yield "zero-dims", model([node("Conv", ["x", "a"], ["y"]), node("Gather", ["b", "i"], ["z"]),
                              node("Gemm", ["x", "c"], ["t"]), node("LSTM", ["x", "d", "d"], ["u"]),
                              node("Conv", ["x", "e"], ["v"])],
                             [claimed("a", [0, 3, 3, 3]), claimed("b", [0, 8]), claimed("c", [8, 0]),
                              claimed("d", [0, 4, 4]), claimed("e", [8, 0, 3, 3]),
                              numpy_helper.from_array(np.int64([0]), "i")])
    yield "matmul-twice", model([node("MatMul", ["w", "w"], ["y"]), node("Gemm", ["v", "v", "v"], ["z"])],
                                [weight("w", 18, 18), weight("v", 18, 18)])
    yield "lstm-same", model([node("LSTM", ["x", "w", "w"], ["y"], hidden_size=8)], [weight("w", 1, 32, 8)])
    yield "lstm-short", model([node("LSTM", ["x", "w"], ["y"]), node("LSTM", ["x", "", "w"], []),
                               node("LSTM", ["x", "v", "u", "", "", "", "", "p", "q"], ["", "z"], hidden_size=0)],
                              [weight("w", 1, 32, 8), weight("v", 1, 16, 10), weight("u", 1, 16, 4), weight("p", 1, 12)])
    yield "lstm-rows", model([node("LSTM", ["x", "w", "r"], ["y"], layout=1), node("LSTM", ["x", "v", "u"], ["z"])],
                             [weight("w", 1, 1, 100), weight("r", 100, 1, 1), weight("v", 3, 40, 1), weight("u", 1, 40, 3)])
    yield "no-outputs", model([node("MatMul", ["x", "w"], []), node("Gemm", ["x", "v", "b"], []),
                               node("Conv", ["x", "k"], []), node("Gather", ["e", "i"], []), node("Add", ["x", "x"], ["y"])],
                              [weight("w", 16, 16), weight("v", 16, 12), weight("b", 12), weight("k", 8, 4, 2, 2),
                               weight("e", 16, 12), numpy_helper.from_array(np.int64([0]), "i")])
    yield "empty-outputs", model([node("MatMul", ["x", "w"], [""]), node("Conv", ["", "k", ""], ["", "t"]),
                                  node("Gather", ["e"], ["g"]), node("MatMul", ["x", "v"], ["h", "h2"]),
                                  node("Add", ["x", "h2"], ["y"])],
                                 [weight("w", 16, 16), weight("k", 8, 4, 2, 2), weight("e", 16, 12), weight("v", 16, 12)])
    yield "few-inputs", model([node("MatMul", ["w"], ["y"]), node("Gather", ["w"], ["z"]), node("Conv", ["w"], ["c"]),
                               node("Reshape", ["w"], ["r"]), node("Gemm", ["w"], ["g"]), node("Slice", ["w"], ["s"]),
                               node("Concat", [], ["k"]), node("Transpose", [], ["t"]), node("Squeeze", ["w"], []),
                               node("If", [], ["o"]), node("Upsample", [], ["u"]), node("BatchNormalization", ["w"], [])],
                              [big], opset=9)
    yield "wrong-attributes", model(
        [node("Gemm", ["x", "w"], ["y"], transB=1.0, alpha="a"), node("Transpose", ["w"], ["t"], perm=[7, -1]),
         node("Transpose", ["w"], ["t2"], perm=[0, 0]), node("MatMul", ["x", "t"], ["z"]),
         node("MatMul", ["x", "t2"], ["z2"]), node("Gather", ["w", "i"], ["g"], axis=99),
         node("Squeeze", ["w"], ["s"], axes=[5, -9]), node("MatMul", ["x", "s"], ["z3"]),
         node("Conv", ["x", "w"], ["c"], group=0, strides="s"), node("Softmax", ["c"], ["f"], axis="no"),
         node("Constant", [], ["k"], value=1), node("Cast", ["k"], ["k2"], to=77),
         node("Unsqueeze", ["w"], ["u"], axes=[2**62, -2**63])],
        [big, numpy_helper.from_array(np.int64([1]), "i")], opset=11)
    yield "channel-axis", model([node("DequantizeLinear", ["q", "s"], ["w"], axis=9), node("MatMul", ["x", "w"], ["y"]),
                                 node("DequantizeLinear", ["q", "s"], ["v"], axis=-9, block_size=-4),
                                 node("MatMul", ["x", "v"], ["z"]),
                                 node("QuantizeLinear", ["f", "s"], ["h"], axis=4), node("Conv", ["x", "h"], ["c"])],
                                [numpy_helper.from_array(np.ones((16, 24), np.int8), "q"), weight("s", 24),
                                 weight("f", 16, 20)], opset=21, ir=10)
    yield "duplicate", model([node("MatMul", ["x", "w"], ["y"])], [big, weight("w", 2, 2)])
    yield "produced-twice", model([node("MatMul", ["x", "w"], ["y"]), node("Relu", ["x"], ["y"])], [big])
    yield "cycle", model([node("MatMul", ["z", "w"], ["y"]), node("MatMul", ["y", "v"], ["z"])],
                         [weight("w", 16, 20), weight("v", 20, 16)])
    yield "identity-ring", model([node("Identity", ["a"], ["b"]), node("Identity", ["b"], ["a"]),
                                  node("MatMul", ["x", "a"], ["y"]), node("Identity", ["w"], ["i"]),
                                  node("Identity", ["i"], ["j"]), node("MatMul", ["x", "j"], ["z"])], [big])
    inner = helper.make_graph([node("Identity", ["w"], ["w"]), node("MatMul", ["x", "w"], ["t"])], "s", [], [info("t")])
    yield "shadow", model([node("If", ["c"], ["y"], then_branch=inner, else_branch=inner),
                           node("MatMul", ["x", "w"], ["z"])], [big, numpy_helper.from_array(np.bool_([True]), "c")])
    yield "missing-inputs", model([node("MatMul", ["nowhere", "w"], ["y"]), node("MatMul", ["y", "nothing"], ["z"])], [big])
    yield "output-weight", model([node("MatMul", ["x", "w"], ["y"])], [big, weight("v", 300)],
                                 outputs=[info("w"), info("y"), info("v")])
    yield "names", model([node("MatMul", ["x", "q0"], ["s1"]), node("MatMul", ["x", "q\n\x01\"\u202e"], ["t2"]),
                          node("", ["x"], [""]), node("MatMul", ["x", "c3"], ["y"])],
                         [weight("q0", 16, 12), weight("q\n\x01\"\u202e", 16, 12), weight("c3", 16, 12), weight("", 4)])
    yield "no-nodes", model([], [big])
    yield "empty-function", model([node("F", ["x", "w", "w", "w"], ["y"], domain="local")], [big],
                                  functions=[helper.make_function("local", "F", [], [], [], []),
                                             helper.make_function("local", "F", ["a", "b"], ["b"],
                                                                  [node("F", ["a", "b"], ["d"], domain="local"),
                                                                   node("MatMul", ["a", "b"], ["e"])], [])])
    typed = TensorProto(name="w", data_type=FLOAT, dims=[16, 10])
    typed.float_data.extend(rng.standard_normal(160).astype(np.float32).tolist())
    lied = TensorProto(name="v", data_type=FLOAT, dims=[16, 10])
    lied.int32_data.extend([1] * 160)
    both = claimed("u", [16, 20], rng.standard_normal(320).astype("<f4").tobytes())
    both.float_data.extend([1.0])
    yield "typed", model([node("MatMul", ["x", name], [f"y{name}"]) for name in "wvu"], [typed, lied, both],
                         outputs=[info("yw")])
    sparse = model([node("MatMul", ["x", "w"], ["y"])], [])
    entry = sparse.graph.sparse_initializer.add()
    entry.values.CopyFrom(weight("w", 3))
    entry.indices.CopyFrom(numpy_helper.from_array(np.int64([1, 2, 3]), "wi"))
    entry.dims.extend([16, 20])
    yield "sparse", sparse
    none = node("MatMul", ["x", "w"], ["y"])
    none.attribute.append(AttributeProto(name="body", type=AttributeProto.GRAPHS))
    none.attribute.append(AttributeProto(name="g", type=AttributeProto.GRAPH))
    none.attribute.append(AttributeProto())
    bare = model([none], [big])
    del bare.opset_import[:]
    yield "no-opset", bare
    late = model([node("MatMul", ["x", "w"], ["y"])], [big], opset=2**40, ir=2**40)
    late.opset_import.add(domain="ai.onnx", version=-5)
    yield "late-opset", late


def write(folder, name, data):
    if len(data) > MAX_BYTES:
        sys.exit(f"{folder}/{name}: {len(data)} bytes, at most {MAX_BYTES} wanted")
    os.makedirs(os.path.join(CORPUS, folder), exist_ok=True)
    with open(os.path.join(CORPUS, folder, name), "wb") as file:
        file.write(data)


def pair(first, second=b""):
    return len(first).to_bytes(2, "little") + first + second


def write_models():
    models = {name: item.SerializeToString() for name, item in list(sound()) + list(wrong())}
    for name, data in models.items():
        write("compress", f"{name}.bin", ALL_RECIPES + data)
    # Inspection: the models against themselves or another one, the smaller ones only.
    small = {name: data for name, data in models.items() if len(data) < 1000}
    for name, data in small.items():
        write("inspect", f"{name}.bin", pair(data))
    for name, other in (("qdq", "qdq"), ("channel-axis", "channel-axis"), ("dims", "dims"), ("if", "missing-inputs"),
                        ("zero-dims", "dims"), ("names", "names"), ("lstm-same", "lstm-same")):
        first, second = models[name], models[other]
        if len(first) + len(second) + 2 <= MAX_BYTES:
            write("inspect", f"{name}-{other}.bin", pair(first, second))


def write_npz():
    def archive(save, **arrays):
        data = io.BytesIO()
        save(data, **arrays)
        return data.getvalue()

    def array(value):
        data = io.BytesIO()
        np.save(data, value)
        return data.getvalue()

    some = {"a": np.float32([[1, 2], [3, 4]]), "b": np.int8(5), "c": np.zeros((0, 3), np.float16)}
    stored = archive(np.savez, **some)
    write("npz", "stored.npz", stored)
    write("npz", "deflated.npz", archive(np.savez_compressed, **some, d=np.zeros(5000, np.uint8)))
    write("npz", "fortran.npz", archive(np.savez, f=np.asfortranarray(np.arange(12, dtype=">i2").reshape(3, 4))))
    write("npz", "text.npz", archive(np.savez, t=np.array(["a", "b"])))
    write("npz", "cut.npz", stored[:-30])
    write("npz", "empty.npz", archive(np.savez))
    write("npz", "bool.npy", array(np.array([True, False])))
    write("npz", "scalar.npy", array(np.float64(3)))
    write("npz", "cut.npy", array(np.arange(9))[:-1])
    header = array(np.zeros(3, "<f4"))
    write("npz", "huge.npy", header.replace(b"(3,)", b"(2**62,)").replace(b"2**62,", b"9" * 20 + b","))
    write("npz", "rank.npy", header.replace(b"(3,), }", b"(" + b"1," * 20 + b"3), }"))


if __name__ == "__main__":
    write_models()
    write_npz()
