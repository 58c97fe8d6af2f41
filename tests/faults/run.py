"""Faults: what vqc does when the machine says no, or when somebody stops it.

Every run must end by itself with a documented exit code and one message, never by a crash, and leave the
output folder either empty or with the complete output.
"""

import argparse
import concurrent.futures
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
from onnx import TensorProto, helper

NOBODY = 65534
EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples")
INTERNAL, MODEL, IO = 1, 3, 4
# A failing allocation is 1; where the library that wanted it reports it as a file or a model that cannot
# be opened it may be 4 or 3; and 0 where the program can do without (a stdio buffer).
ALLOCATION_CODES = {0, INTERNAL, MODEL, IO}


class Suite:
    """Counts cases and says what failed."""

    def __init__(self, options):
        self.vqc = os.path.abspath(options.vqc)
        self.failalloc = os.path.abspath(options.failalloc)
        self.passed = self.failed = self.skipped = 0

    def case(self, name, problems):
        if problems:
            self.failed += 1
            print(f"FAIL {name}")
            for problem in problems[:8]:
                print(f"     {problem}")
            if len(problems) > 8:
                print(f"     ... and {len(problems) - 8} more")
        else:
            self.passed += 1
            print(f"ok   {name}")
        sys.stdout.flush()

    def skip(self, name, reason):
        self.skipped += 1
        print(f"skip {name}: {reason}")

    def run(self, arguments, timeout=60, **more):
        more.setdefault("stdout", subprocess.PIPE)
        environment = dict(os.environ, **more.pop("environment", {}))
        try:
            return subprocess.run([self.vqc, *arguments], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                  env=environment, timeout=timeout, check=False, **more)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(arguments, -signal.SIGALRM, b"", b"did not end in time")


def judge(done, codes, folder=None, whole=None):
    """Problems of one ended run: exit code, one message, what is left in the folder.

    whole: name -> bytes that a successful run leaves; None: anything may be there after exit code 0.
    """
    problems = []
    text = done.stderr.decode(errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    if done.returncode not in codes:
        problems.append(f"exit code {done.returncode}, wanted one of {sorted(codes)}: {text.strip()[-200:]}")
    if done.returncode > 0 and len(lines) != 1:
        problems.append(f"{len(lines)} lines on stderr with exit code {done.returncode}: {text.strip()[-300:]}")
    if folder is not None:
        left = {name: os.path.join(folder, name) for name in os.listdir(folder)}
        if done.returncode != 0 and left:
            problems.append(f"exit code {done.returncode} left {sorted(left)}")
        if done.returncode == 0 and whole is not None:
            found = {name: open(path, "rb").read() for name, path in left.items()}
            if found != whole:
                problems.append(f"exit code 0 with other files than a good run: {sorted(found)}")
    return problems


def leftovers(folder, whole, code):
    """Problems with what a run under a fault left: only complete files, and all of them after exit code 0.

    A JSON report also says what failed; a model stays when only its report could not be written, and so do the
    outputs of `vqc run` (out.npz) when only the table could not be printed.
    """
    problems = []
    left = sorted(os.listdir(folder))
    if code == 0 and left != sorted(whole):
        problems.append(f"exit code 0 left {left}, wanted {sorted(whole)}")
    for name in left:
        data = open(os.path.join(folder, name), "rb").read()
        if name == "report.json":
            try:
                done = json.loads(data).get("error") is None
            except ValueError:
                problems.append("report.json is no JSON")
                continue
            if done and "out.onnx" not in left:
                problems.append("report.json tells of no error, but there is no model")
        elif data != whole.get(name):
            problems.append(f"exit code {code} left {name} with other bytes than a good run")
        elif code != 0 and "report.json" not in whole and name != "out.npz":
            problems.append(f"exit code {code} left {name}")
    return problems


def fresh(parent):
    return tempfile.mkdtemp(dir=parent)


def small_model(path, side=48, layers=2, external=False):
    rng = np.random.default_rng(7)
    nodes, tensors = [], []
    for i in range(layers):
        weights = rng.standard_normal((side, side)).astype(np.float32)
        tensors.append(onnx.numpy_helper.from_array(weights, f"w{i}"))
        nodes.append(helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"], name=f"matmul{i}"))
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["n", side])],
                              [helper.make_tensor_value_info(f"x{layers}", TensorProto.FLOAT, ["n", side])], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(model, path, save_as_external_data=external, location=os.path.basename(path) + ".data",
                    size_threshold=64)


def allocation_scenario(suite, work, name, arguments, writes, sticky):
    """Fails the n-th allocation for n = 1, 2, ... until the run no longer gets that far."""
    baseline = fresh(work)
    done = suite.run([argument.replace("OUT", baseline) for argument in arguments])
    if done.returncode != 0:
        suite.case(f"allocations: {name}", [f"without a fault: exit code {done.returncode} {done.stderr[-200:]!r}"])
        return
    whole = {file: open(os.path.join(baseline, file), "rb").read() for file in os.listdir(baseline)}
    def attempt(number):
        folder = fresh(work)
        mark = os.path.join(work, f"mark{name.replace(' ', '-')}{number}{sticky}")
        environment = {"LD_PRELOAD": suite.failalloc, "VQC_FAIL_AT": str(number), "VQC_FAIL_MARK": mark,
                       "VQC_FAIL_FROM": "1" if sticky else "0", "OMP_NUM_THREADS": "1"}
        result = suite.run([argument.replace("OUT", folder) for argument in arguments], environment=environment)
        reached = os.path.exists(mark)
        if reached:
            os.unlink(mark)
        problems = judge(result, ALLOCATION_CODES)
        if writes:
            problems += leftovers(folder, whole, result.returncode)
        shutil.rmtree(folder)
        return reached, [f"allocation {number}: {problem}" for problem in problems]

    problems, number, wide = [], 1, 64
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        # A run is milliseconds, but an input with very many allocations is sampled past the first 3000.
        while number < 200000:
            step = 1 if number <= 3000 else 37
            outcomes = list(pool.map(attempt, range(number, number + wide * step, step)))
            for reached, found in outcomes:
                problems += found
            number += wide * step
            if not outcomes[-1][0]:
                break
    count = number - wide * step + sum(1 for reached, _ in outcomes if reached) * step - 1
    suite.case(f"allocations: {name}, {'every one from the n-th' if sticky else 'the n-th'} ({count} places)", problems)


def allocations(suite, work, model, recipe):
    compress = ["compress", model, "-c", recipe, "-o", "OUT/out.onnx", "-j", "1", "-q"]
    out = os.path.join(fresh(work), "small.int8.onnx")
    suite.run(["compress", model, "-o", out, "-q"])
    for sticky in (False, True):
        allocation_scenario(suite, work, "compress", compress, True, sticky)
        allocation_scenario(suite, work, "report", ["report", model, "--json"], False, sticky)
        allocation_scenario(suite, work, "report with reference", ["report", out, "--ref", model], False, sticky)
    allocation_scenario(suite, work, "compress with a JSON report",
                        compress[:-1] + ["-q", "--report", "OUT/report.json"], True, False)


def sampled_model(work):
    """A model that static quantization takes, and labelled samples for it: (model, samples)."""
    model, samples = os.path.join(work, "sampled.onnx"), os.path.join(work, "samples.npz")
    rng = np.random.default_rng(9)
    weights = [onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
               for name, shape in (("w", (4, 1, 3, 3)), ("v", (64, 3)))]
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["r"]),
             helper.make_node("Flatten", ["r"], ["f"]), helper.make_node("MatMul", ["f", "v"], ["y"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 6, 6])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])], weights)
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    np.savez_compressed(samples, x=rng.standard_normal((6, 1, 6, 6)).astype(np.float32), labels=np.arange(6) % 3)
    return model, samples


STATIC = ("version: 1\nactivations: static\ntarget: {output_sqnr_db: 10}\n"
          "weights: {codec: int, bits: 8, min_elements: 1}\n")


def sample_allocations(suite, work):
    """The same for the commands that run the model."""
    model, samples = sampled_model(work)
    recipe = os.path.join(work, "static.yaml")
    with open(recipe, "w", encoding="utf-8") as stream:
        stream.write(STATIC)
    static = ["compress", model, "-c", recipe, "--calib", samples, "-o", "OUT/out.onnx", "-j", "1", "-q"]
    for sticky in (False, True):
        allocation_scenario(suite, work, "run", ["run", model, "-i", samples, "-o", "OUT/out.npz", "-j", "1"], True, sticky)
        allocation_scenario(suite, work, "eval", ["eval", model, "--ref", model, "--data", samples, "-j", "1"], False, sticky)
        allocation_scenario(suite, work, "static compress", static, True, sticky)


def damaged_samples(suite, work):
    """Cut and changed sample files: refused by name, nothing written."""
    model, samples = sampled_model(work)
    recipe = os.path.join(work, "static.yaml")
    with open(recipe, "w", encoding="utf-8") as stream:
        stream.write(STATIC)
    good = open(samples, "rb").read()
    rng = random.Random(12)
    cuts = [good[:cut] for cut in sorted(rng.randrange(len(good)) for _ in range(40))]
    for name, variants, codes in (("cut samples", cuts, {MODEL, IO}),
                                  ("samples with changed bytes", [damage(good, rng) for _ in range(60)], {0, MODEL, IO})):
        problems = []
        for number, data in enumerate(variants):
            folder = fresh(work)
            path = os.path.join(work, f"cut{number}.npz")
            with open(path, "wb") as stream:
                stream.write(data)
            for arguments in (["run", model, "-i", path, "-o", os.path.join(folder, "out.npz")],
                              ["eval", model, "--data", path],
                              ["compress", model, "-c", recipe, "--calib", path, "-q", "-o",
                               os.path.join(folder, "out.onnx")]):
                done = suite.run(arguments + ["-j", "1"], timeout=20)
                if done.returncode != 0 or arguments[0] != "run":
                    found = [problem for problem in judge(done, codes, folder if done.returncode != 0 else None)
                             if "lines on stderr" not in problem]
                    problems += [f"{name} {number}, {arguments[0]}: {problem}" for problem in found]
            os.unlink(path)
            shutil.rmtree(folder)
        suite.case(f"{name} ({len(variants)})", problems)


def full_disks(suite, work, model):
    folder = fresh(work)
    suite.case("output to /dev/full", judge(suite.run(["compress", model, "-o", "/dev/full", "--force", "-q"]), {IO}))
    if not os.path.exists("/dev/full"):
        suite.case("/dev/full is still there", ["it was replaced"])
    with open("/dev/full", "wb") as full:
        suite.case("report to a full stdout", judge(suite.run(["report", model], stdout=full), {IO}))
        suite.case("JSON report to a full stdout", judge(suite.run(["report", model, "--json"], stdout=full), {IO}))
        suite.case("help to a full stdout", judge(suite.run(["--help"], stdout=full), {IO}))
    out = os.path.join(folder, "out.onnx")
    done = suite.run(["compress", model, "-o", out, "--report", "/dev/full", "-q"])
    suite.case("--report to /dev/full", judge(done, {IO}))

    folder = fresh(work)

    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    done = suite.run(["compress", model, "-o", os.path.join(folder, "out.onnx"), "-q"], preexec_fn=small_files)
    suite.case("a file that may not grow (EFBIG)", judge(done, {IO}, folder))

    def little_memory():
        resource.setrlimit(resource.RLIMIT_AS, (48 << 20, 48 << 20))

    big = os.path.join(work, "big.onnx")
    small_model(big, side=2048, layers=4)
    done = suite.run(["compress", big, "-o", os.path.join(folder, "out.onnx"), "-q", "-j", "1"],
                     preexec_fn=little_memory, environment={"OMP_NUM_THREADS": "1"})
    suite.case("48 MB of address space for a 64 MB model", judge(done, {INTERNAL, IO}, folder))


def damaged_models(suite, work, model, external):
    good = open(model, "rb").read()
    rng = random.Random(11)
    cuts = sorted(set(list(range(0, min(len(good), 160))) + [rng.randrange(len(good)) for _ in range(120)]))
    for name, variants, codes in (
            ("cut models", [good[:cut] for cut in cuts], {0, MODEL}),
            ("models with changed bytes", [damage(good, rng) for _ in range(300)], {0, 2, MODEL, IO})):
        problems = []

        def attempt(item):
            number, data = item
            folder = fresh(work)
            path = os.path.join(work, f"damaged{number}-{len(data)}.onnx")
            with open(path, "wb") as stream:
                stream.write(data)
            done = suite.run(["compress", path, "-o", os.path.join(folder, "out.onnx"), "-q", "-j", "1"], timeout=20)
            found = judge(done, codes, folder)
            found += judge(suite.run(["report", path, "--csv"], timeout=20), codes)
            os.unlink(path)
            shutil.rmtree(folder)
            return [f"{name} {number} ({len(data)} bytes): {problem}" for problem in found]

        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
            for found in pool.map(attempt, enumerate(variants)):
                problems += found
        suite.case(f"{name} ({len(variants)})", problems)

    folder = fresh(work)
    data = external + ".data"
    whole = open(data, "rb").read()
    problems = []
    for length in (0, 1, 100, len(whole) - 1):
        with open(data, "wb") as stream:
            stream.write(whole[:length])
        done = suite.run(["compress", external, "-o", os.path.join(folder, "out.onnx"), "-q"])
        problems += judge(done, {MODEL, IO}, folder)
    suite.case("cut external data", problems)
    os.unlink(data)
    done = suite.run(["compress", external, "-o", os.path.join(folder, "out.onnx"), "-q"])
    suite.case("missing external data", judge(done, {IO}, folder))
    os.mkdir(data)
    done = suite.run(["compress", external, "-o", os.path.join(folder, "out.onnx"), "-q"])
    suite.case("a folder as external data", judge(done, {MODEL, IO}, folder))
    os.rmdir(data)


def damage(good, rng):
    data = bytearray(good)
    # Half of the changes hit the first bytes and the last ones, where the structure is.
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        place = rng.choice((rng.randrange(len(data)), rng.randrange(120), len(data) - 1 - rng.randrange(200)))
        data[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(data)


def wrong_places(suite, work, model):
    folder = fresh(work)
    out = os.path.join(folder, "out.onnx")
    for name, arguments, codes in (
            ("missing input", ["compress", os.path.join(work, "none.onnx"), "-o", out], {IO}),
            ("folder as input", ["compress", work, "-o", out], {2, IO}),
            ("empty input", ["compress", os.devnull, "-o", out], {MODEL, IO}),
            ("missing recipe", ["compress", model, "-c", os.path.join(work, "none.yaml"), "-o", out], {IO}),
            ("folder as recipe", ["compress", model, "-c", work, "-o", out], {2, IO}),
            ("output in a missing folder", ["compress", model, "-o", os.path.join(work, "no", "out.onnx")], {IO})):
        suite.case(name, judge(suite.run(arguments + ["-q"]), codes, folder))


def unwritable(suite, work, model):
    """As another user when this one is root, who may write everywhere."""
    locked = fresh(work)
    os.chmod(locked, 0o555)
    copy = shutil.copy(suite.vqc, os.path.join(work, "vqc"))
    os.chmod(copy, 0o755)
    prefix = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            suite.skip("unwritable folder", "running as root without setpriv")
            return
        prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    for name, arguments in (
            ("unwritable folder", ["compress", model, "-o", os.path.join(locked, "out.onnx"), "-q"]),
            ("unwritable folder for the report",
             ["compress", model, "-o", os.path.join(work, "open", "o.onnx"), "--report",
              os.path.join(locked, "r.json"), "-q"])):
        os.makedirs(os.path.join(work, "open"), exist_ok=True)
        os.chmod(os.path.join(work, "open"), 0o777)
        done = subprocess.run(prefix + [copy] + arguments, stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                              check=False)
        suite.case(name, judge(done, {IO}, locked))
    secret = shutil.copy(model, os.path.join(work, "secret.onnx"))
    os.chmod(secret, 0)
    done = subprocess.run(prefix + [copy, "report", secret], stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                          check=False)
    suite.case("unreadable model", judge(done, {IO}))
    os.chmod(locked, 0o755)


def interrupts(suite, work):
    big = os.path.join(work, "big.onnx")
    small_model(big, side=2048, layers=4)
    interrupt(suite, work, "compress", ["compress", big, "-o", "OUT/out.onnx", "-q"],
              (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    model, samples = os.path.join(EXAMPLES, "lenet5.onnx"), os.path.join(EXAMPLES, "lenet5.calib.npz")
    recipe = os.path.join(EXAMPLES, "..", "configs", "int8-static.yaml")
    for name, arguments in (
            ("run", ["run", model, "-i", samples, "-o", "OUT/out.npz"]),
            ("eval", ["eval", model, "--data", samples]),
            ("static compress", ["compress", model, "-c", recipe, "--calib", samples, "-o", "OUT/out.onnx", "-q"])):
        interrupt(suite, work, name, arguments, (signal.SIGINT,))


def interrupt(suite, work, name, command, signals):
    """Sends each signal at 24 moments of a run."""
    for number in signals:
        # Under nohup, or in the background of a shell, they are ignored, and vqc leaves it at that.
        signal.signal(number, signal.SIG_DFL)
    whole = fresh(work)
    start = time.monotonic()
    done = suite.run([argument.replace("OUT", whole) for argument in command])
    seconds = time.monotonic() - start
    if done.returncode != 0:
        suite.case(f"{name} without a signal", judge(done, {0}))
        return
    good = {name: open(os.path.join(whole, name), "rb").read() for name in os.listdir(whole)}
    for number in signals:
        problems, stopped = [], 0
        for i in range(24):
            folder = fresh(work)
            process = subprocess.Popen([suite.vqc, *(argument.replace("OUT", folder) for argument in command)],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(seconds * (i + 0.5) / 24)
            process.send_signal(number)
            _, text = process.communicate(timeout=60)
            left = {name: open(os.path.join(folder, name), "rb").read() for name in os.listdir(folder)}
            # The shell's convention (128 + n) and dying by the signal are both fine.
            if process.returncode in (-number, 128 + number):
                stopped += 1
                # A signal that comes after the rename finds the complete file.
                if left and left != good:
                    problems.append(f"stopped after {i}/24 of the run and left {sorted(left)}")
            elif process.returncode != 0 or left != good:
                problems.append(f"exit code {process.returncode} after {i}/24: {text[-200:]!r} {sorted(left)}")
            shutil.rmtree(folder)
        if stopped == 0:
            problems.append("no run was stopped: the test did not test anything")
        suite.case(f"{signal.Signals(number).name} at 24 moments of {name} ({stopped} stopped)", problems)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vqc", default="build/vqc")
    parser.add_argument("--failalloc", default="build/failalloc.so")
    parser.add_argument("--only", help="only the group of this name: allocations, "
                        "sample-allocations, samples, disks, models, places, rights, signals")
    options = parser.parse_args()
    suite = Suite(options)
    # The folder is opened for the other user of unwritable().
    work = tempfile.mkdtemp(prefix="vqc-faults-")
    os.chmod(work, 0o755)
    try:
        model, external = os.path.join(work, "small.onnx"), os.path.join(work, "external.onnx")
        recipe = os.path.join(work, "recipe.yaml")
        small_model(model)
        small_model(external, external=True)
        with open(recipe, "w", encoding="utf-8") as stream:
            stream.write("version: 1\nweights: {codec: int, bits: 8}\nlayers:\n"
                         "  - {match: {name: 'matmul1'}, bits: 4, granularity: block, block_size: 16}\n")
        groups = {
            "allocations": lambda: allocations(suite, work, model, recipe),
            "sample-allocations": lambda: sample_allocations(suite, work),
            "samples": lambda: damaged_samples(suite, work),
            "disks": lambda: full_disks(suite, work, model),
            "models": lambda: damaged_models(suite, work, model, external),
            "places": lambda: wrong_places(suite, work, model),
            "rights": lambda: unwritable(suite, work, model),
            "signals": lambda: interrupts(suite, work),
        }
        for name, group in groups.items():
            if options.only in (None, name):
                group()
        if os.environ.get("VQC_DELIBERATE_FAILURE"):
            suite.case("a deliberate failure", judge(suite.run(["report", os.devnull]), {0}))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"{suite.passed} passed, {suite.failed} failed, {suite.skipped} skipped")
    sys.exit(1 if suite.failed else 0)


if __name__ == "__main__":
    main()
