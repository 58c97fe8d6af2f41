#!/usr/bin/env python3
"""Opset raising against the ONNX checker, ONNX Runtime and the reference evaluator.

    test_opset.py --tool build/opset_tool --work build/opset-test [--only PART]

Parts: facts (tables and docs are true), cases (one operator at a time, hand-made: tests/oracle/opset_cases.py),
steps (every step of every operator's history), zoo.
"""
import argparse
import os
import pickle
import subprocess
import sys
import time
import warnings

import numpy as np
import onnx
import onnxruntime as ort
from onnx import defs, helper
from onnx.reference import ReferenceEvaluator

import common
import opset_cases

warnings.filterwarnings("ignore")
NEWEST = 28
RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
ort.set_default_logger_severity(4)


class Counter:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def ok(self):
        self.passed += 1

    def fail(self, name, why):
        self.failed += 1
        print(f"FAIL {name}: {str(why).strip()[:600]}", flush=True)

    def skip(self, name, why, quiet=False):
        self.skipped += 1
        if not quiet:
            print(f"skip {name}: {str(why).strip()[:160]}", flush=True)


class Tool:
    """opset_tool --batch, kept running."""

    def __init__(self, path, work):
        self.process = subprocess.Popen([path, "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.work = work

    def run(self, source, result, target):
        """("ok" | "blocked" | "error", [messages])."""
        self.process.stdin.write(f"{source}\t{result}\t{target}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().rstrip("\n").split("\t")
        if answer[0] not in ("ok", "blocked", "error"):
            raise RuntimeError("opset_tool ended")
        return answer[0], answer[1:]

    def raise_model(self, model, target):
        source, result = os.path.join(self.work, "in.onnx"), os.path.join(self.work, "out.onnx")
        with open(source, "wb") as file:
            file.write(model.SerializeToString())
        kind, messages = self.run(source, result, target)
        return kind, messages, onnx.load(result) if kind == "ok" else None


def checks(model):
    try:
        onnx.checker.check_model(model, full_check=True)
        return None
    except Exception as problem:  # the checker raises many kinds
        return problem


def run_ort(model, feeds):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def run_reference(model, feeds):
    return ReferenceEvaluator(model).run(None, feeds)


def difference(old, new, relative=1e-6):
    """None when equal (NaN included) or within `relative` of the largest value, else a description."""
    if isinstance(old, (list, tuple)):
        if len(old) != len(new):
            return f"{len(old)} elements, now {len(new)}"
        return next((d for d in (difference(o, n, relative) for o, n in zip(old, new)) if d), None)
    if old is None or new is None:
        return None if old is new else "None on one side"
    if not isinstance(old, (np.ndarray, np.generic)):
        return None if old == new else f"{old} {new}"
    if old.dtype != new.dtype or old.shape != new.shape:
        return f"was {old.dtype}{old.shape}, is {new.dtype}{new.shape}"
    if old.tobytes() == new.tobytes():
        return None
    if old.dtype.kind not in "fc" and "float" not in str(old.dtype):
        return None if np.array_equal(old, new) else f"was {old.flatten()[:8]}, is {new.flatten()[:8]}"
    a, b = old.astype(np.complex128), new.astype(np.complex128)
    if np.allclose(a, b, rtol=relative, atol=relative * np.nanmax(np.abs(a), initial=0), equal_nan=True):
        return None
    return f"largest difference {np.nanmax(np.abs(a - b))} of {np.nanmax(np.abs(a))}"


def attempt(engine, model, feeds):
    """(outputs, None) or (None, why not)."""
    try:
        return engine(model, feeds), None
    except Exception as problem:  # whatever the engine raises
        return None, str(problem)


def compare(old, new, feeds):
    """("same"|"differs"|"unrunnable", text): both through ONNX Runtime, else both through the reference. Where ONNX
    Runtime has no kernel for the new version, its old result against the reference's new one, less sharply."""
    before, why_before = attempt(run_ort, old, feeds)
    if before is None:
        before, reason = attempt(run_reference, old, feeds)
        after, why_after = attempt(run_reference, new, feeds)
        if before is None:
            return "unrunnable", f"{why_before} / {reason}"
        found = why_after or difference(before, after)
        return ("differs", f"reference: {found}") if found else ("same", "reference")
    after, why_after = attempt(run_ort, new, feeds)
    if after is None:
        if "NOT_IMPLEMENTED" not in why_after and "under development" not in why_after:
            return "differs", f"ONNX Runtime, the raised model: {why_after}"
        after, reason = attempt(run_reference, new, feeds)
        if after is None:
            return "unrunnable", f"{why_after} / {reason}"
        found = difference(before, after, 1e-5)
        return ("differs", f"ONNX Runtime before, reference after: {found}") if found else ("same", "both")
    found = difference(before, after)
    return ("differs", f"ONNX Runtime: {found}") if found else ("same", "ONNX Runtime")


def opset_of(model):
    return max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


# ---- facts ----

def history():
    result = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "" and schema.since_version <= NEWEST:
            result.setdefault(schema.name, []).append(schema)
    return {name: sorted(schemas, key=lambda s: s.since_version) for name, schemas in result.items()}


def part_facts(args, tool, count):
    del tool
    generator = os.path.join(common.ROOT, "tools", "gen_opset_table.py")
    sys.path.insert(0, os.path.dirname(generator))
    import gen_opset_table
    with open(os.path.join(common.ROOT, "core", "emit", "opset_table.c"), encoding="utf-8") as file:
        if file.read() == gen_opset_table.render():
            count.ok()
        else:
            count.fail("opset_table.c", "is not what tools/gen_opset_table.py writes")
    with open(os.path.join(common.ROOT, "docs", "OPSETS.md"), encoding="utf-8") as file:
        printed = subprocess.run([args.tool, "--doc"], check=True, capture_output=True, text=True).stdout
        if file.read() == printed:
            count.ok()
        else:
            count.fail("docs/OPSETS.md", "is not what opset_tool --doc prints")
    lines = subprocess.run([args.tool, "--steps"], check=True, capture_output=True, text=True).stdout.splitlines()
    reviewed = [(line.split("\t")[0], int(line.split("\t")[1])) for line in lines]
    if reviewed == sorted(reviewed) and len(set(reviewed)) == len(reviewed):
        count.ok()
    else:
        count.fail("steps", "not sorted")
    known = set()
    for name, schemas in history().items():
        known.update((name, schema.since_version) for schema in schemas)
        for old, new in zip(schemas, schemas[1:]):
            step = (name, new.since_version)
            if new.since_version <= 7:
                continue
            structural = gen_opset_table.form(old)[:3] != gen_opset_table.form(new)[:3] or (
                new.deprecated or gen_opset_table.lost_types(old, new))
            if structural and step not in reviewed:
                count.fail(f"{name} {old.since_version}->{new.since_version}", "changes its form and is not reviewed")
            else:
                count.ok()
    for step in reviewed:
        if step in known:
            count.ok()
        else:
            count.fail(f"step {step}", "is not in the history")


# ---- hand-made cases ----

def part_cases(args, tool, count):
    del args
    for case in opset_cases.cases():
        problem = checks(case.model)
        if problem and not case.unchecked:
            count.fail(case.name, f"the source does not pass the checker: {problem}")
            continue
        for target in case.targets:
            name = f"{case.name} {opset_of(case.model)}->{target}"
            kind, messages, raised = tool.raise_model(case.model, target)
            if case.blocked is not None:
                if kind == "blocked" and any(case.blocked in line for line in messages):
                    count.ok()
                else:
                    count.fail(name, f"expected a blocker with {case.blocked!r}, got {kind} {messages}")
                continue
            if kind != "ok":
                count.fail(name, f"{kind} {messages}")
                continue
            problem = checks(raised) if not case.unchecked else None
            if problem or opset_of(raised) != max(target, opset_of(case.model)):
                count.fail(name, f"opset {opset_of(raised)}, checker: {problem}")
                continue
            if case.expect is not None and not case.expect(raised, target):
                count.fail(name, "does not have the expected form:\n" + onnx.printer.to_text(raised))
                continue
            if case.form_only:
                count.ok()
                continue
            verdict, text = compare(case.model, raised, case.feeds)
            if verdict == "same" or (case.random and ("largest difference" in text or ": was [" in text)):
                count.ok()  # of random numbers only type and shape can be compared
            elif verdict == "unrunnable" and case.may_not_run:
                count.skip(name, text)
            else:
                count.fail(name, f"{verdict}: {text}\n" + onnx.printer.to_text(raised))


# ---- every step of every operator ----

def relabelled(model, version):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.opset_import[:]
    copy.opset_import.append(helper.make_opsetid("", version))
    copy.ir_version = 10
    return copy


def node_tests(work):
    """operator -> [(name, model, feeds)] from ONNX's own node tests; making them takes long, so they are kept."""
    kept = os.path.join(work, f"node-tests-{onnx.__version__}.pickle")
    if os.path.exists(kept):
        with open(kept, "rb") as file:
            return pickle.load(file)
    result = make_node_tests()
    with open(kept, "wb") as file:
        pickle.dump(result, file)
    return result


def make_node_tests():
    from onnx.backend.test.case.node import collect_testcases
    result = {}
    for case in collect_testcases(None):
        model = case.model
        if len(model.graph.node) != 1 or model.graph.node[0].domain not in ("", "ai.onnx") or case.name.endswith(
                "_expanded"):
            continue
        inputs = case.data_sets[0][0]
        feeds = {}
        try:
            for value, data in zip(model.graph.input, inputs):
                feeds[value.name] = (onnx.numpy_helper.to_array(data) if isinstance(data, onnx.TensorProto) else data)
        except Exception:
            continue
        result.setdefault(model.graph.node[0].op_type, []).append((case.name, model, feeds))
    return result


def part_steps(args, tool, count):
    """For each step a -> b a node test in the form that both versions know, at opset b-1, raised to b."""
    covered_by_hand = opset_cases.steps_covered()
    tests = node_tests(args.work)
    missing = []
    for name, schemas in sorted(history().items()):
        for old, new in zip(schemas, schemas[1:]):
            target = new.since_version
            if target <= 7:
                continue
            step = f"{name} {old.since_version}->{target}"
            outcome = None
            tried = 0
            for _, model, feeds in tests.get(name, []):
                source = relabelled(model, target - 1)
                if tried >= args.tries or checks(source):
                    continue
                tried += 1
                kind, messages, raised = tool.raise_model(source, target)
                if kind != "ok":
                    outcome = outcome or ("unrunnable", f"{kind} {messages}")
                    continue
                problem = checks(raised)
                if problem:
                    outcome = ("differs", f"checker: {problem}")
                    break
                verdict, text = compare(source, raised, feeds)
                if name in RANDOM and verdict == "differs" and "largest difference" in text:
                    verdict = "same"  # type and shape agree
                if verdict != "unrunnable" or outcome is None:
                    outcome = (verdict, text)
                if verdict != "unrunnable":
                    break
            if outcome and outcome[0] == "same":
                count.ok()
            elif outcome and outcome[0] == "differs":
                count.fail(step, outcome[1])
            elif (name, target) in covered_by_hand:
                continue
            else:
                missing.append(step)
                count.skip(step, outcome[1] if outcome else "no node test in the old form", quiet=not args.verbose)
    if missing:
        print(f"{len(missing)} steps without a case that runs here: " + ", ".join(missing))


# ---- zoo ----

def random_feeds(model):
    generator = np.random.default_rng(1)
    feeds = {}
    initializers = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in initializers:
            tensor = value.type.tensor_type
            shape = [d.dim_value if d.dim_value > 0 else 1 for d in tensor.shape.dim]
            dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
            feeds[value.name] = (generator.random(shape) if dtype.kind == "f" else np.zeros(shape)).astype(dtype)
    return feeds


def part_zoo(args, tool, count):
    models = [model for model in common.all_models() if model.zoo]
    if not models:
        count.skip("zoo", "no folder ../shared/zoo and no $VQC_ZOO")
    for entry in models:
        old_checks = None
        before = None
        feeds = None
        for target in (13, 19, 21):
            name = f"{entry.name} -> {target}"
            if opset_of(onnx.load(entry.path, load_external_data=False)) >= target:
                continue
            result = os.path.join(args.work, f"{entry.name}.onnx")
            kind, messages = tool.run(entry.path, result, target)
            if kind == "blocked":
                count.skip(name, " | ".join(messages))
                continue
            if kind == "error":
                count.fail(name, messages)
                continue
            if old_checks is None:
                old_checks = check_file(entry.path) or "passes"
            new_checks = check_file(result) or "passes"
            if old_checks == "passes" and new_checks != "passes":
                count.fail(name, f"checker: {new_checks}")
                continue
            try:
                if before is None:
                    samples = entry.feeds(False)[0]
                    feeds = samples[0] if samples else random_feeds(onnx.load(entry.path))
                    before = session(entry.path).run(None, feeds)
            except Exception as problem:
                count.skip(name, f"the source does not run: {problem}")
                continue
            try:
                found = difference(before, session(result).run(None, feeds))
            except Exception as problem:
                found = problem
            if found:
                count.fail(name, found)
            else:
                count.ok()
            for file in common.external_files(result) + [result]:
                os.remove(file)


def check_file(path):
    try:
        onnx.checker.check_model(path, full_check=True)
        return None
    except Exception as problem:
        return problem


def session(path):
    """As a user would: all optimizations, so that a form which stops one shows up as a difference in speed only."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 4
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool", default=os.path.join(common.ROOT, "build", "opset_tool"))
    parser.add_argument("--work", default=os.path.join(common.ROOT, "build", "opset-test"))
    parser.add_argument("--only")
    parser.add_argument("--tries", type=int, default=4, help="node tests tried for one step")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    os.makedirs(args.work, exist_ok=True)
    tool = Tool(args.tool, args.work)
    total = Counter()
    for name, part in (("facts", part_facts), ("cases", part_cases), ("steps", part_steps), ("zoo", part_zoo)):
        if args.only in (None, name):
            start = time.time()
            before = total.passed
            part(args, tool, total)
            print(f"{name}: {total.passed - before} passed in {time.time() - start:.1f} s", flush=True)
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
