"""Hostile files through the real program: whatever comes in, it ends by itself with a documented exit code and
one line that says why, writes what the onnx checker passes where it passed the input, and leaves nothing behind.
"""

import concurrent.futures
import gzip
import os
import random
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from common import ROOT, all_models

VQC = os.path.abspath(os.environ.get("VQC") or os.path.join(ROOT, os.environ.get("B", "build"), "vqc"))
CODES = {0, 2, 3, 4, 5}
SECONDS = 10  # for one run, on a busy machine
SEED = 20
MUTATIONS = 240
RECIPES = [[], ["--set", "weights.bits=4", "--set", "weights.granularity=block"],
           ["--set", "activations=dynamic"], ["--set", "weights.codec=float16"],
           ["--set", "target.operators=onnxruntime", "--set", "weights.bits=4", "--set", "weights.granularity=block"]]


class Suite:
    """Counts cases and says what failed."""

    def __init__(self, folder):
        self.folder = folder
        self.passed = self.failed = self.skipped = 0

    def case(self, name, problems):
        if problems:
            self.failed += 1
            print(f"FAIL {name}: {'; '.join(problems[:4])}")
        else:
            self.passed += 1
        sys.stdout.flush()


def checker_takes(path):
    try:
        onnx.checker.check_model(path)
    except Exception:  # the checker and protobuf raise many kinds  # pylint: disable=broad-except
        return False
    return True


def run(arguments, seconds=SECONDS):
    """(exit code or None after a timeout, lines on stderr)."""
    try:
        done = subprocess.run([VQC, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return None, []
    return done.returncode, done.stderr.decode("utf-8", "replace").splitlines()


def judge_end(code, lines, wanted):
    if code is None:
        return [f"still running after {SECONDS} s"]
    problems = [] if code in wanted else [f"exit code {code}, expected one of {sorted(wanted)}"]
    if code != 0 and (len(lines) != 1 or not lines[0].startswith("vqc: ")):
        problems.append(f"expected one line on stderr, got {lines[:3]}")
    return problems


def try_file(folder, path, recipe=(), wanted=frozenset(CODES), seconds=SECONDS):
    """Compresses and reports `path`; what is wrong with how that went."""
    target = os.path.join(folder, "out")
    os.makedirs(target)
    output = os.path.join(target, "out.onnx")
    code, lines = run(["compress", path, "-q", *recipe, "-o", output], seconds)
    problems = judge_end(code, lines, wanted)
    expected = {"out.onnx"} if code == 0 else set()
    left = {name for name in os.listdir(target) if not name.startswith("out.onnx.data")}
    if left != expected:
        problems.append(f"left in the folder: {sorted(left)}, expected {sorted(expected)}")
    if code == 0 and not problems and not checker_takes(output) and checker_takes(path):
        problems.append("the onnx checker takes the input but not the output")
    code, lines = run(["report", path, *(["--ref", output] if code == 0 else [])], seconds)
    problems += [f"report: {problem}" for problem in judge_end(code, lines, wanted | {0})]
    shutil.rmtree(target)
    return problems


def mutate(data, rng):
    """One of: cut, flipped bits, bytes overwritten, a piece removed, doubled or moved."""
    data = bytearray(data)
    kind = rng.randrange(6)
    # Structure is where payloads are not: at the ends and in strings; half of the changes go there.
    edge = min(len(data), 4000)
    at = rng.choice([rng.randrange(len(data)), rng.randrange(edge), len(data) - 1 - rng.randrange(edge)])
    length = rng.randrange(1, 64)
    if kind == 0:
        del data[at:]
    elif kind == 1:
        for _ in range(rng.randrange(1, 9)):
            data[(at + rng.randrange(length)) % len(data)] ^= 1 << rng.randrange(8)
    elif kind == 2:
        data[at:at + length] = bytes(rng.choice([0, 255, 127, 128, 10, rng.randrange(256)])
                                     for _ in range(len(data[at:at + length])))
    elif kind == 3:
        del data[at:at + length]
    elif kind == 4:
        data[at:at] = data[at:at + length]
    else:
        piece = data[at:at + length]
        to = rng.randrange(len(data))
        data[to:to + len(piece)] = piece
    return bytes(data)


def mutations(suite):
    models = sorted((model for model in all_models() if model.size_bytes() < 1_500_000),
                    key=lambda model: model.size_bytes())
    sources = []
    for model in models:
        with open(model.path, "rb") as file:
            sources.append((model.name, file.read()))
    rng = random.Random(SEED)
    jobs = []
    for i in range(MUTATIONS):
        name, data = sources[i % len(sources)]
        data = mutate(data, rng)
        for _ in range(rng.randrange(3)):
            data = mutate(data, rng) if data else data
        jobs.append((i, name, data, rng.choice(RECIPES)))

    def attempt(job):
        number, name, data, recipe = job
        with tempfile.TemporaryDirectory(dir=suite.folder) as folder:
            path = os.path.join(folder, "model.onnx")
            with open(path, "wb") as file:
                file.write(data)
            return f"mutation {number} (seed {SEED}) of {name} {' '.join(recipe)}", try_file(folder, path, recipe)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for name, problems in pool.map(attempt, jobs):
            suite.case(name, problems)


# ---- files that are no models ----


def no_models(suite):
    folder = os.path.join(suite.folder, "files")
    os.makedirs(folder)
    contents = {"zero-bytes": b"", "text": b"this is no model\n" * 20, "gzip": gzip.compress(os.urandom(2000)),
                "zeros": bytes(4096), "ones": b"\xff" * 4096, "only-version": b"\x08\x08"}
    for name, data in contents.items():
        path = os.path.join(folder, name)
        with open(path, "wb") as file:
            file.write(data)
        suite.case(name, try_file(folder, path, wanted={3}))
    suite.case("folder", try_file(folder, suite.folder, wanted={3, 4}))
    pipe = os.path.join(folder, "fifo")
    os.mkfifo(pipe)
    suite.case("fifo", try_file(folder, pipe, wanted={3, 4}))
    ring = os.path.join(folder, "ring")
    os.symlink("ring", ring)
    suite.case("link to itself", try_file(folder, ring, wanted={4}))
    suite.case("device", try_file(folder, "/dev/zero", wanted={3, 4}))
    link = os.path.join(folder, "link.onnx")
    os.symlink(os.path.join(ROOT, "examples", "lenet5.onnx"), link)
    suite.case("link to a model", try_file(folder, link, wanted={0}))


# ---- models that are wrong or odd ----


def graph_model(nodes, initializers=(), outputs=None, opset=13):
    info = helper.make_tensor_value_info
    graph = helper.make_graph(list(nodes), "g", [info("x", TensorProto.FLOAT, ["n", 32])],
                              [info(name, TensorProto.FLOAT, None) for name in outputs or ["y"]], list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()


def matmul_model(array, **more):
    return graph_model([helper.make_node("MatMul", ["x", "w"], ["y"])], [numpy_helper.from_array(array, "w")], **more)


def function_model(array):
    """A weight inside a function, which imports its own operators."""
    body = [helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(array)),
            helper.make_node("MatMul", ["a", "w"], ["b"])]
    function = helper.make_function("local", "Dense", ["a"], ["b"], body, [helper.make_opsetid("", 13)])
    model = onnx.load_from_string(graph_model([helper.make_node("Dense", ["x"], ["y"], domain="local")]))
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    return model.SerializeToString()


def claimed(dims, data=b"", location=None, **fields):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, raw_data=data)
    tensor.dims.extend(dims)
    if location is not None:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **fields}.items():
            tensor.external_data.add(key=key, value=str(value))
    return graph_model([helper.make_node("MatMul", ["x", "w"], ["y"])], [tensor])


def varint(value):
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def nested(depth):
    graph = field(2, b"inner")
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)) + field(4, b"If"))
    return b"\x08\x08" + field(7, graph) + field(8, b"\x10\x0d")


def identity_ring(count):
    """Two Identity nodes that read each other, and many nodes that read them."""
    def node(op, inputs, output):
        return field(1, b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, op))

    nodes = [node(b"Identity", [b"a"], b"b"), node(b"Identity", [b"b"], b"a")]
    nodes += [node(b"MatMul", [b"x", b"a"], b"m%d" % i) for i in range(count)]
    return b"\x08\x08" + field(7, b"".join(nodes)) + field(8, b"\x10\x0d")


def identity_chain(count):
    def node(op, inputs, output):
        return field(1, b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, op))

    nodes = [node(b"Identity", [b"i%d" % i], b"i%d" % (i + 1)) for i in range(count)]
    nodes += [node(b"Relu", [b"i%d" % count], b"r%d" % i) for i in range(count)]
    return b"\x08\x08" + field(7, b"".join(nodes)) + field(8, b"\x10\x0d")


def odd_models(suite):
    good = np.random.default_rng(SEED).standard_normal((32, 64)).astype(np.float32)

    def special(*values):
        array = good.copy()
        array.flat[:len(values)] = values
        return matmul_model(array)

    small = field(1, field(1, b"x") + field(2, b"") + field(4, b"Relu"))
    cases = {
        "no nodes": (graph_model([]), CODES),
        "weight in a function": (function_model(good), {0}),
        "only weights": (graph_model([], [numpy_helper.from_array(good, "w")], ["w"]), CODES),
        "huge dims": (claimed([2**31, 2**31], b"\0" * 64), CODES),
        "dims beyond 64 bits": (claimed([2**62, 2**62, 7]), {3}),
        "negative dims": (claimed([-32, 64], b"\0" * 8192), {3}),
        "dims larger than the data": (claimed([2**20, 2**10], b"\0" * 64), CODES),
        "no elements": (claimed([0, 64]), CODES),
        "external data outside the folder": (claimed([32, 64], location="../secret"), {3}),
        "external data by absolute path": (claimed([32, 64], location="/etc/passwd"), {3}),
        "external data beyond the file": (claimed([32, 64], location="data", offset=2**40, length=8192), {3}),
        "external data negative": (claimed([32, 64], location="data", offset=-8, length=8192), {3}),
        "external data is a pipe": (claimed([32, 64], location="pipe"), {3, 4}),
        "external data is missing": (claimed([32, 64], location="nowhere"), {3, 4}),
        "external data is the model": (claimed([32, 64], location="model.onnx", offset=0, length=8192), {3, 4}),
        "10,000 nested graphs": (nested(10_000), {3}),
        "30 nested graphs": (nested(30), CODES),
        "1,000,000 nodes": (b"\x08\x08" + field(7, small * 1_000_000) + field(8, b"\x10\x0d"), CODES),
        "Identity ring": (identity_ring(100_000), CODES),
        "Identity chain": (identity_chain(50_000), CODES),
        "NaN": (special(np.nan), {0}), "infinity": (special(np.inf, -np.inf), {0}),
        "1e38": (special(1e38, -1e38, 3.4e38), {0}), "denormals": (matmul_model(good * np.float32(1e-42)), {0}),
        "negative zero": (matmul_model(np.full((32, 64), -0.0, np.float32)), {0}),
        "all equal": (matmul_model(np.full((32, 64), 3e-39, np.float32)), {0}),
    }
    for name, (data, wanted) in cases.items():
        for recipe in RECIPES:
            if len(data) > 1_000_000 and recipe not in (RECIPES[0], RECIPES[2]):
                continue
            with tempfile.TemporaryDirectory(dir=suite.folder) as folder:
                path = os.path.join(folder, "model.onnx")
                os.mkfifo(os.path.join(folder, "pipe"))
                for extra in ("data", os.path.join("..", "secret")):
                    with open(os.path.join(folder, extra), "wb") as file:
                        file.write(bytes(8192))
                with open(path, "wb") as file:
                    file.write(data)
                suite.case(f"{name} {' '.join(recipe)}", try_file(folder, path, recipe, frozenset(wanted)))


def main():
    if not os.path.exists(VQC):
        sys.exit(f"{VQC}: not there; run make first")
    with tempfile.TemporaryDirectory() as folder:
        suite = Suite(folder)
        no_models(suite)
        odd_models(suite)
        mutations(suite)
    print(f"{suite.passed} passed, {suite.failed} failed" + (f", {suite.skipped} skipped" if suite.skipped else ""))
    return 1 if suite.failed or not suite.passed else 0


if __name__ == "__main__":
    sys.exit(main())
