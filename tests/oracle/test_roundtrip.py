"""The onnx package and ONNX Runtime as oracles of formats/onnx_*: test_roundtrip.py [ROUNDTRIP_TOOL].

Models are opened and written again by tests/oracle/roundtrip_tool.c and compared with their source: the example
and the zoo (skipped where they are missing), and models made here with every data type, nested graphs, functions,
sparse tensors, fields newer than the system's schema, and broken or hostile external data. Without an argument the
library is built in $B (build) and the tool in a temporary folder. Prints "N passed, N failed, N skipped"; exit code 1 when something failed.
"""

import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from common import ROOT, all_models, summary, tensor_bits, tensors_of, zoo_folder

ZOO_MODELS = 35
OK, INTERNAL, USAGE, MODEL, IO = 0, 1, 2, 3, 4


class Checks:
    """Counts checks and says which one failed."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def expect(self, condition, what):
        if condition:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED: {what}")


def build_tool(folder):
    build = os.environ.get("B", "build")
    subprocess.run([os.environ.get("MAKE", "make"), "-s", f"B={build}", f"{build}/libvqc.a"], cwd=ROOT, check=True)
    tool = os.path.join(folder, "roundtrip_tool")
    subprocess.run([os.environ.get("CC", "cc"), "-std=c17", "-D_GNU_SOURCE", "-O1", "-I.", f"-I{build}/gen",
                    "tests/oracle/roundtrip_tool.c", f"{build}/libvqc.a", "-o", tool, "-fopenmp", "-lprotobuf-c", "-lm"],
                   cwd=ROOT, check=True)
    return tool


def run_tool(tool, mode, source, target):
    """(exit code, file bytes, external bytes, message)"""
    done = subprocess.run([tool, mode, source, target], capture_output=True, text=True, timeout=300, check=False)
    sizes = [int(word) for word in done.stdout.split()] if done.returncode == 0 else [0, 0]
    return done.returncode, sizes[0], sizes[1], done.stderr.strip()


def canonical(path):
    """The model with its data inside and without a trace of where it was: equal bytes mean equal models."""
    model = onnx.load(path)
    for _, tensor in tensors_of(model):
        tensor.ClearField("data_location")
        tensor.ClearField("external_data")
    return model.SerializeToString(deterministic=True)


def all_bits(path):
    return [(name, tensor_bits(tensor)) for name, tensor in tensors_of(onnx.load(path))]


def loads(path):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception:  # ONNX Runtime raises many types, all of which mean "does not load"
        return False
    return True


def passes_checker(path):
    try:
        onnx.checker.check_model(path)
    except Exception:  # as above
        return False
    return True


def check_written(checks, what, source, target, sizes, same_tools=True):
    """The file at `target` says what the one at `source` says, at the size that was announced."""
    data = target + ".data"
    checks.expect(os.path.getsize(target) == sizes[0], f"{what}: file size {sizes[0]} is the real one")
    external = os.path.getsize(data) if os.path.exists(data) else 0
    checks.expect(external == sizes[1], f"{what}: external size {sizes[1]} is {external}")
    checks.expect(canonical(source) == canonical(target), f"{what}: same meaning")
    checks.expect(all_bits(source) == all_bits(target), f"{what}: every tensor bit-identical")
    if same_tools:
        checks.expect(loads(target) or not loads(source), f"{what}: ONNX Runtime loads it")
        checks.expect(passes_checker(target) or not passes_checker(source), f"{what}: the checker passes it")


def check_model(checks, tool, name, source, folder, modes, same_tools=True):
    for mode in modes:
        target = os.path.join(folder, f"{name}.{mode.replace('=', '_')}.onnx")
        code, *sizes, message = run_tool(tool, mode, source, target)
        checks.expect(code == OK, f"{name} {mode}: {message}")
        if code != OK:
            continue
        check_written(checks, f"{name} {mode}", source, target, sizes, same_tools)
        measured = run_tool(tool, "measure", source, target)
        if mode == "save":
            checks.expect(list(measured[1:3]) == sizes, f"{name}: measured {measured[1:3]}, wrote {sizes}")
        left = [file for file in os.listdir(folder) if file.endswith(".tmp")]
        checks.expect(not left, f"{name} {mode}: left behind {left}")


def check_zoo(checks, tool, folder):
    models = all_models()
    for model in models:
        check_model(checks, tool, model.name, model.path, folder, ["save", "external"])
    in_zoo = [model for model in models if model.zoo]
    if zoo_folder():
        checks.expect(len(in_zoo) == ZOO_MODELS, f"{len(in_zoo)} of {ZOO_MODELS} zoo models found")
    return ZOO_MODELS - len(in_zoo)


# ---- models made here ----

def value(name, dtype=TensorProto.FLOAT, shape=(4,)):
    return helper.make_tensor_value_info(name, dtype, list(shape))


def make_model(nodes, inputs, outputs, initializers, **kwargs):
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    kwargs.setdefault("opset_imports", [helper.make_opsetid("", 17)])
    kwargs.setdefault("ir_version", 9)
    return helper.make_model(graph, **kwargs)


def typed_and_raw_tensors():
    """Every data type of the standard, in raw_data and in its typed field, of lengths that fill no byte evenly."""
    rng = np.random.default_rng(1)
    tensors = []
    for number in range(1, max(TensorProto.DataType.values()) + 1):
        name = TensorProto.DataType.Name(number)
        if number == TensorProto.STRING:
            tensors.append(helper.make_tensor(name, number, [3], [b"a", b"", "ä".encode()]))
            continue
        for count in (0, 1, 5, 130):
            dtype = helper.tensor_dtype_to_np_dtype(number)
            if number == TensorProto.BOOL:
                array = rng.integers(0, 2, count).astype(bool)
            elif np.dtype(dtype).kind in "fciu" and np.dtype(dtype).itemsize > 1:
                array = np.frombuffer(rng.bytes(count * np.dtype(dtype).itemsize), dtype=dtype)
            else:
                array = np.arange(count).astype(np.uint8).astype(np.float32).astype(dtype)
            tensors.append(numpy_helper.from_array(array.reshape(count), f"{name}_raw_{count}"))
            typed = TensorProto(name=f"{name}_typed_{count}", data_type=number, dims=[count])
            fill_typed(typed, number, array)
            tensors.append(typed)
    return tensors


def fill_typed(tensor, number, array):
    raw = numpy_helper.from_array(array).raw_data
    if number in (TensorProto.FLOAT, TensorProto.COMPLEX64):
        tensor.float_data.extend(np.frombuffer(raw, np.float32))
    elif number in (TensorProto.DOUBLE, TensorProto.COMPLEX128):
        tensor.double_data.extend(np.frombuffer(raw, np.float64))
    elif number == TensorProto.INT64:
        tensor.int64_data.extend(array.tolist())
    elif number in (TensorProto.UINT32, TensorProto.UINT64):
        tensor.uint64_data.extend(array.tolist())
    elif number in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
        tensor.int32_data.extend(np.frombuffer(raw, np.uint16).tolist())
    elif number in (TensorProto.FLOAT6E2M3, TensorProto.FLOAT6E3M2):
        tensor.int32_data.extend((array.view(np.uint8) & 63).tolist())
    elif array.dtype.itemsize == 1 and array.dtype.kind not in "iub":
        tensor.int32_data.extend(np.frombuffer(raw, np.uint8).tolist())
    else:
        tensor.int32_data.extend(array.astype(np.int32).tolist() if array.dtype.kind in "iub" and
                                 len(raw) == array.nbytes else np.frombuffer(raw, np.uint8).tolist())


def nested_graph(levels):
    """A chain of If nodes in one another's then_branch, `levels` deep."""
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "leaf", [], [value("y")])
    for level in range(levels):
        other = helper.make_graph([helper.make_node("Identity", ["x"], [f"e{level}"])], "e", [], [value(f"e{level}")])
        node = helper.make_node("If", ["c"], [f"y{level}"], then_branch=graph, else_branch=other)
        graph = helper.make_graph([node], f"g{level}", [], [value(f"y{level}")])
    node = graph.node[0]
    return make_model([node], [value("x"), value("c", TensorProto.BOOL, ())], [value(node.output[0])], [])


def everything_model():
    """Subgraph and function weights, constants, sparse tensors, metadata of newer schemas, training info."""
    rng = np.random.default_rng(2)
    weight = rng.standard_normal((40, 40)).astype(np.float32)
    inner = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w_in"], ["t"])], "then", [], [value("t", shape=(1, 40))],
        [numpy_helper.from_array(weight, "w_in")])
    other = helper.make_graph(
        [helper.make_node("Constant", [], ["w_c"], value=numpy_helper.from_array(weight + 1, "w_c_value")),
         helper.make_node("MatMul", ["x", "w_c"], ["u"])], "else", [], [value("u", shape=(1, 40))])
    nodes = [helper.make_node("If", ["c"], ["a"], then_branch=inner, else_branch=other),
             helper.make_node("F", ["a"], ["b"], domain="local"),
             helper.make_node("MatMul", ["b", "w"], ["y"])]
    body = [helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(weight[:1] * 2, "k_value")),
            helper.make_node("Add", ["p", "k"], ["q"])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    function = helper.make_function("local", "F", ["p"], ["q"], body, opsets[:1])
    model = make_model(nodes, [value("x", shape=(1, 40)), value("c", TensorProto.BOOL, ())], [value("y", shape=(1, 40))],
                       [numpy_helper.from_array(weight * 3, "w")], opset_imports=opsets, functions=[function], ir_version=10)
    for holder in (model, model.graph, model.graph.node[0], model.graph.initializer[0], function):
        entry = holder.metadata_props.add()
        entry.key, entry.value = "key", "value \u00e4"
    model.functions[0].CopyFrom(function)
    model.functions[0].overload = ""
    return model


def sparse_model():
    dense = np.zeros((30, 20), np.float32)
    dense[3, 4], dense[7, 7] = 1.5, -2
    rows = np.flatnonzero(dense).astype(np.int64)
    sparse = helper.make_sparse_tensor(numpy_helper.from_array(dense.ravel()[rows], "s"),
                                       numpy_helper.from_array(rows, "s_idx"), [30, 20])
    model = make_model([helper.make_node("MatMul", ["s", "x"], ["y"])], [value("x", shape=(20, 1))],
                       [value("y", shape=(30, 1))], [])
    model.graph.sparse_initializer.append(sparse)
    return model


def odd_model():
    """Legal but unusual: no names, empty strings, unknown enum values and data types, attributes of all kinds."""
    model = make_model([helper.make_node("Odd", ["x", ""], ["y"], domain="custom", f=1.5, i=-3, s=b"\x00\xff\x00",
                                         floats=[0.0, -0.0, float("inf")], ints=[-1, 2 ** 62], strings=[b"", b"\x00"],
                                         big=b"z" * 5000)],
                       [value("x")], [value("y")], [],
                       opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("custom", 1)])
    attribute = model.graph.node[0].attribute.add(name="tp", type=onnx.AttributeProto.TYPE_PROTO)
    attribute.tp.optional_type.elem_type.sequence_type.elem_type.map_type.key_type = TensorProto.STRING
    attribute.tp.optional_type.elem_type.sequence_type.elem_type.map_type.value_type.tensor_type.elem_type = 1
    model.graph.node[0].attribute.add(name="ref", ref_attr_name="outer", type=onnx.AttributeProto.FLOAT)
    unknown = TensorProto(name="unknown type", data_type=99, dims=[3], raw_data=b"12345" * 300)
    wrong = TensorProto(name="wrong length", data_type=1, dims=[3], raw_data=b"1234" * 300)
    model.graph.initializer.extend([unknown, wrong, TensorProto(name="", data_type=1, dims=[0])])
    model.doc_string = ""
    model.metadata_props.add(key="", value="")
    return model


def write_model(folder, name, model):
    path = os.path.join(folder, name + ".onnx")
    with open(path, "wb") as stream:
        stream.write(model.SerializeToString())
    return path


def check_made(checks, tool, folder):
    every = ["save", "external", "limit=2000"]
    model = make_model([helper.make_node("Identity", ["x"], ["y"])], [value("x")], [value("y")], typed_and_raw_tensors(),
                       ir_version=13)
    # onnx's reader of typed complex and 8-bit floats is its own test's business; here: same message, same bits.
    source = write_model(folder, "types", model)
    check_model(checks, tool, "types", source, folder, every, same_tools=False)
    for name, made, tools in (("everything", everything_model(), True), ("sparse", sparse_model(), True),
                              ("nested", nested_graph(30), True)):
        check_model(checks, tool, name, write_model(folder, name, made), folder, every, tools)
    source = write_model(folder, "odd", odd_model())
    for mode in every:
        target = os.path.join(folder, f"odd.{mode}.onnx")
        code, *_, message = run_tool(tool, mode, source, target)
        checks.expect(code == OK, f"odd {mode}: {message}")
        checks.expect(code == OK and onnx.load(source).SerializeToString(deterministic=True) ==
                      onnx.load(target).SerializeToString(deterministic=True), f"odd {mode}: same meaning")


def check_depth(checks, tool, folder):
    """What protobuf itself still reads is read; one level more is refused; a bomb is refused quickly."""
    for levels in (1, 32, 33, 34, 40, 10000):
        content = b""
        for _ in range(levels):  # graph { node { attribute { g: ... } } }
            for tag in (b"\x32", b"\x2a", b"\x0a"):
                content = tag + varint(len(content)) + content
        path = os.path.join(folder, f"depth{levels}.onnx")
        with open(path, "wb") as stream:
            stream.write(b"\x3a" + varint(len(content)) + content)
        try:
            onnx.ModelProto().ParseFromString(open(path, "rb").read())
            wanted = OK
        except Exception:  # the parser's error type has no public name
            wanted = MODEL
        checks.expect((wanted == OK) == (levels <= 33), f"{levels} nested graphs: the protobuf package says {wanted}")
        code, *_, message = run_tool(tool, "save", path, path + ".out")
        checks.expect(code == wanted, f"{levels} nested graphs: {code} {message}")
        checks.expect(code == OK or "nested too deeply" in message, f"{levels} nested graphs: {message}")


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


# ---- external data ----

def external_model(count=300, **entries):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[count], data_location=TensorProto.EXTERNAL)
    for key, text in entries.items():
        tensor.external_data.add(key=key, value=text)
    return make_model([helper.make_node("Add", ["x", "w"], ["y"])], [value("x", shape=(count,))],
                      [value("y", shape=(count,))], [tensor])


def check_external(checks, tool, folder):
    home = os.path.join(folder, "home")
    os.makedirs(os.path.join(home, "sub"))
    payload = np.arange(300, dtype=np.float32).tobytes()
    for path in ("w.bin", "sub/w.bin", "../w.bin"):
        with open(os.path.join(home, path), "wb") as stream:
            stream.write(b"pad!" + payload + b"tail")
    os.symlink("w.bin", os.path.join(home, "inside.bin"))
    os.symlink("../w.bin", os.path.join(home, "outside.bin"))
    os.symlink("..", os.path.join(home, "up"))
    os.symlink(os.path.join(folder, "w.bin"), os.path.join(home, "absolute.bin"))
    os.symlink("loop.bin", os.path.join(home, "loop.bin"))
    os.mkfifo(os.path.join(home, "fifo.bin"))
    good = dict(location="w.bin", offset="4", length="1200")
    cases = [
        ("plain", good, OK, ""),
        ("subfolder", dict(good, location="sub/w.bin"), OK, ""),
        ("dots", dict(good, location="./sub/.//w.bin"), OK, ""),
        ("link inside", dict(good, location="inside.bin"), OK, ""),
        ("no length", dict(location="w.bin", offset="4"), OK, ""),
        ("extra keys", dict(good, checksum="abc", other="x"), OK, ""),  # ONNX Runtime refuses these in the source as well
        ("dot dot", dict(good, location="../w.bin"), MODEL, "not a path below"),
        ("dot dot inside", dict(good, location="sub/../w.bin"), MODEL, "not a path below"),
        ("absolute", dict(good, location=os.path.join(folder, "w.bin")), MODEL, "not a path below"),
        ("empty", dict(good, location=""), MODEL, "not a path below"),
        ("no location", dict(offset="4"), MODEL, "without a location"),
        ("link outside", dict(good, location="outside.bin"), MODEL, "symbolic link"),
        ("folder link outside", dict(good, location="up/w.bin"), MODEL, "symbolic link"),
        ("absolute link", dict(good, location="absolute.bin"), MODEL, "symbolic link"),
        ("link loop", dict(good, location="loop.bin"), MODEL, "symbolic link"),
        ("missing", dict(good, location="none.bin"), IO, "No such file"),
        ("folder", dict(good, location="sub"), IO, "is a folder"),
        ("fifo", dict(good, location="fifo.bin"), IO, "not a regular file"),
        ("through a file", dict(good, location="w.bin/x"), IO, "Not a directory"),
        ("negative offset", dict(good, offset="-4"), MODEL, "not a number"),
        ("hexadecimal", dict(good, offset="0x4"), MODEL, "not a number"),
        ("overflow", dict(good, offset="18446744073709551616"), MODEL, "not a number"),
        ("wraps around", dict(good, offset="18446744073709551000"), MODEL, "outside"),
        ("behind the end", dict(good, offset="9"), MODEL, "outside"),
        ("short", dict(good, length="1196"), MODEL, "expected 1200"),
        ("long", dict(good, length="1204"), MODEL, "expected 1200"),
    ]
    for name, entries, wanted, text in cases:
        source = write_model(home, "case", external_model(**entries))
        target = os.path.join(home, f"{name}.out.onnx")
        code, *sizes, message = run_tool(tool, "save", source, target)
        checks.expect(code == wanted and text in message, f"external data, {name}: {code} {message}")
        if code == OK:
            checks.expect(tensor_bits(onnx.load(target).graph.initializer[0])[2] == payload,
                          f"external data, {name}: same bytes")
            # Not compared with the source: onnx refuses links even inside the folder and reads on without a length.
            checks.expect(sizes == [os.path.getsize(target), 1200] and os.path.getsize(target + ".data") == 1200,
                          f"external data, {name}: sizes {sizes}")
            checks.expect(loads(target) or not loads(source), f"external data, {name}: loads")
            checks.expect(passes_checker(target), f"external data, {name}: passes the checker")
        else:
            checks.expect(not os.path.exists(target) and not os.path.exists(target + ".data"),
                          f"external data, {name}: nothing written")
    check_entries(checks, tool, home, good)
    check_function_defaults(checks, tool, home)
    check_shared_ranges(checks, tool, home, payload)
    check_copy(checks, tool, home, good, payload)


def check_entries(checks, tool, home, good):
    """Entries that are not ours stay; a checksum stays while the bytes do."""
    source = write_model(home, "keys", external_model(**dict(good, checksum="abc", other="x")))
    target = os.path.join(home, "keys.out.onnx")
    run_tool(tool, "save", source, target)
    entries = onnx.load(target, load_external_data=False).graph.initializer[0].external_data
    got = {entry.key: entry.value for entry in entries}
    checks.expect(got == dict(location="keys.out.onnx.data", offset="0", length="1200", checksum="abc", other="x"),
                  f"entries are {got}")


def check_function_defaults(checks, tool, home):
    """A default value of a function's attribute is a field of newer schemas: kept, but not with external data."""
    for external in (False, True):
        model = everything_model()
        tensor = TensorProto(name="d", data_type=1, dims=[1], raw_data=b"1234")
        if external:
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="w.bin")
        model.functions[0].attribute_proto.add(name="a", type=onnx.AttributeProto.TENSOR, t=tensor)
        source, target = write_model(home, "defaults", model), os.path.join(home, f"defaults{external}.out.onnx")
        code, *_, message = run_tool(tool, "save", source, target)
        checks.expect(code == (MODEL if external else OK), f"function defaults, external {external}: {code} {message}")
        checks.expect("default value" in message if external else canonical(source) == canonical(target),
                      f"function defaults, external {external}: {message}")


def check_shared_ranges(checks, tool, home, payload):
    """Two tensors that share one range share it in the output, too."""
    model = external_model(location="w.bin", offset="4", length="1200")
    twin = model.graph.initializer.add()
    twin.CopyFrom(model.graph.initializer[0])
    twin.name = "twin"
    source, target = write_model(home, "shared", model), os.path.join(home, "shared.out.onnx")
    code, _, external, message = run_tool(tool, "save", source, target)
    checks.expect(code == OK and external == 1200, f"shared range: {external} bytes, {message}")
    checks.expect(all(tensor_bits(t)[2] == payload for t in onnx.load(target).graph.initializer), "shared range: same bytes")


def check_copy(checks, tool, home, good, payload):
    away = os.path.join(home, "..", "away")
    os.makedirs(away)
    source = write_model(home, "copy", external_model(**dict(good, location="sub/w.bin")))
    code, *sizes, message = run_tool(tool, "copy", source, os.path.join(home, "copy2.onnx"))
    checks.expect(code == OK and sizes == [os.path.getsize(source), 1208], f"copy beside: {code} {sizes} {message}")
    checks.expect(open(source, "rb").read() == open(os.path.join(home, "copy2.onnx"), "rb").read(), "copy beside: same bytes")
    checks.expect(not os.path.exists(os.path.join(home, "copy2.onnx.data")), "copy beside: data shared")
    target = os.path.join(away, "copy.onnx")
    code, *sizes, message = run_tool(tool, "copy", source, target)
    checks.expect(code == OK, f"copy away: {message}")
    checks.expect(tensor_bits(onnx.load(target).graph.initializer[0])[2] == payload, "copy away: data came along")
    code, *_, message = run_tool(tool, "copy", source, os.path.join(away, "copy3.onnx"))
    checks.expect(code == OK, f"copy away again, same data is there: {message}")
    with open(os.path.join(away, "sub/w.bin"), "wb") as stream:
        stream.write(b"something else")
    code, *_, message = run_tool(tool, "copy", source, os.path.join(away, "copy4.onnx"))
    checks.expect(code == USAGE and "exists already" in message, f"copy over other data: {code} {message}")
    checks.expect(not os.path.exists(os.path.join(away, "copy4.onnx")), "copy over other data: nothing written")
    checks.expect(open(os.path.join(away, "sub/w.bin"), "rb").read() == b"something else", "other data untouched")
    code, *_, message = run_tool(tool, "copy", source, os.path.join(home, "none", "copy.onnx"))
    checks.expect(code == IO and not os.path.exists(os.path.join(home, "none")), f"copy into no folder: {code} {message}")


def main():
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder:
        folder = os.path.realpath(folder)
        tool = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else build_tool(folder)
        skipped = check_zoo(checks, tool, folder)
        check_made(checks, tool, folder)
        check_depth(checks, tool, folder)
        check_external(checks, tool, folder)
    summary(checks.passed, checks.failed, skipped)


if __name__ == "__main__":
    main()
