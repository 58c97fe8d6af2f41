"""ONNX's own backend node tests through vqc: one outcome per case in a committed table.

Every case's model goes through `vqc compress` three times: as it is with codec keep, and, with its float
inputs after the first made initializers, with int8 and with float16 from one element up. Outcomes:

    copied        nothing was to be gained, the file is the source's, byte for byte
    close         weights were coded; ONNX Runtime gives the source's outputs within 20 dB (int8) or 50 dB (float16)
    far           coded, but the outputs are further off: this operator has no use for approximate inputs
    unrun         coded; this ONNX Runtime does not run the source, so only the protobuf was compared
    error N: why  vqc declared that it cannot, with exit code N

What is wrong in any case: an exit code outside the documented ones, a file that is larger, that the onnx
checker or ONNX Runtime no longer takes, or that lost nodes, metadata or functions of its source. The column
`run` is the executor's: see execute.py. A case whose outcome is not the table's fails:
tests/conformance/outcomes.csv is then changed on purpose (`make golden`) and reviewed. Cases of a newer onnx
that the table does not know only have to be right.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import warnings

import numpy as np
import onnx

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "oracle"))
import common  # noqa: E402
import execute  # noqa: E402

TABLE = os.path.join(common.ROOT, "tests", "conformance", "outcomes.csv")
COLUMNS = {
    "keep": (["weights.codec=keep"], None),
    "int8": (["weights.bits=8", "weights.min_elements=1"], 20.0),
    "float16": (["weights.codec=float16", "weights.min_elements=1"], 50.0),
}
BATCH = 500


def cases():
    """The cases in a fixed order with fixed random values."""
    random.seed(0)
    np.random.seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases
        found = collect_testcases(None)
    return sorted(found, key=lambda case: case.name)


def freeze(model, values):
    """A copy with its float tensor inputs after the first as initializers, and what is left to feed."""
    frozen = onnx.ModelProto()
    frozen.CopyFrom(model)
    feeds, kept = {}, []
    for number, (info, value) in enumerate(zip(model.graph.input, values)):
        is_float = isinstance(value, np.ndarray) and value.dtype == np.float32 and value.ndim > 0
        if number > 0 and is_float:
            frozen.graph.initializer.append(onnx.numpy_helper.from_array(value, info.name))
            if frozen.ir_version < 4:
                kept.append(info)
        else:
            kept.append(info)
            feeds[info.name] = value
    del frozen.graph.input[:]
    frozen.graph.input.extend(kept)
    return frozen, feeds


def run_model(path, feeds):
    """Outputs as arrays, or None where ONNX Runtime does not run it."""
    try:
        outputs = common.session(path).run(None, feeds)
    except Exception:  # whatever the reason: it does not run
        return None
    return [np.asarray(output) for output in outputs if isinstance(output, (np.ndarray, np.generic))]


def distance_db(reference, measured):
    worst = np.inf
    for ref, got in zip(reference, measured):
        if ref.dtype.kind in "fiub":
            worst = min(worst, common.sqnr_db(ref, got))
    return worst


def survivors(before, after):
    """What of the source's meaning is not in the written model."""
    lost = []
    raised = {o.domain: o.version for o in before.opset_import} != {
        o.domain: o.version for o in after.opset_import if o.domain in {p.domain for p in before.opset_import}}
    if not raised:
        def key(node):
            attributes = b"".join(sorted(a.SerializeToString(deterministic=True) for a in node.attribute))
            return node.op_type, node.domain, tuple(node.output), attributes
        there = {key(node) for node in after.graph.node}
        lost += [f"node {node.op_type} {node.name}" for node in before.graph.node if key(node) not in there]
    if [v.name for v in before.graph.output] != [v.name for v in after.graph.output]:
        lost.append("graph outputs")
    if {v.name for v in before.graph.input} - {t.name for t in before.graph.initializer} != {
            v.name for v in after.graph.input} - {t.name for t in after.graph.initializer}:
        lost.append("graph inputs")
    if list(before.metadata_props) != list(after.metadata_props):
        lost.append("metadata")
    if [f.SerializeToString(deterministic=True) for f in before.functions] != [
            f.SerializeToString(deterministic=True) for f in after.functions]:
        lost.append("functions")
    return lost


def compress_all(vqc, sources, target, settings):
    """path -> (exit code, JSON object) for many models in few calls."""
    results = {}
    for start in range(0, len(sources), BATCH):
        part = sources[start:start + BATCH]
        arguments = [vqc, "compress", *part, "-o", target + os.sep, "--force", "--json", "-j", "2"]
        for setting in settings:
            arguments += ["--set", setting]
        done = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600,
                              check=False)
        try:
            models = json.loads(done.stdout)["models"]
        except (ValueError, KeyError):
            sys.exit(f"vqc compress of {len(part)} models: exit code {done.returncode}, no JSON: {done.stderr[-500:]}")
        for source, result in zip(part, models):
            results[source] = result
    return results


def outcome(source, result, limit, feeds, wrong):
    """One cell of the table; what is wrong goes to the list."""
    if "error" in result:
        code = result["exit_code"]
        if code not in (2, 3):
            wrong.append(f"exit code {code}: {result['error']}")
        return f"error {code}: " + result["error"].replace(source, "").lstrip(": ")
    output = result["output"]
    if result["unchanged"]:
        if open(source, "rb").read() != open(output, "rb").read():
            wrong.append("said to be unchanged, but the file differs")
        return "copied"
    if os.path.getsize(output) > os.path.getsize(source):
        wrong.append(f"{os.path.getsize(output)} bytes, the source has {os.path.getsize(source)}")
    if common.checker_level(output) < common.checker_level(source):
        wrong.append("the onnx checker took the source, not the output")
    before, after = onnx.load(source), onnx.load(output)
    wrong += ["lost: " + what for what in survivors(before, after)]
    if limit is None:
        same = [common.tensor_bits(t) for _, t in common.tensors_of(before)] == [
            common.tensor_bits(t) for _, t in common.tensors_of(after)]
        if not same:
            wrong.append("codec keep changed a tensor")
        return "rewritten"
    reference = run_model(source, feeds)
    if reference is None:
        return "unrun"
    measured = run_model(output, feeds)
    if measured is None:
        wrong.append("ONNX Runtime ran the source, not the output")
        return "far"
    return "close" if distance_db(reference, measured) >= limit else "far"


def agree(got, wanted):
    """What cannot be run here is as good as what was seen elsewhere."""
    return got == wanted or {got, wanted} <= {"unrun", "close", "far"} and "unrun" in (got, wanted)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vqc", default="build/vqc")
    parser.add_argument("--work", default="build/conformance")
    parser.add_argument("--write-outcomes", action="store_true")
    parser.add_argument("--limit", type=int, help="only the first N cases")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    for folder in ("plain", "frozen", *COLUMNS):
        os.makedirs(os.path.join(options.work, folder))

    all_cases = cases()[:options.limit]
    plain, frozen, feeds = {}, {}, {}
    for case in all_cases:
        plain[case.name] = os.path.join(options.work, "plain", case.name + ".onnx")
        frozen[case.name] = os.path.join(options.work, "frozen", case.name + ".onnx")
        with open(plain[case.name], "wb") as stream:
            stream.write(case.model.SerializeToString())
        model, feeds[case.name] = freeze(case.model, case.data_sets[0][0])
        with open(frozen[case.name], "wb") as stream:
            stream.write(model.SerializeToString())

    cells = {case.name: {"case": case.name} for case in all_cases}
    wrong = {case.name: [] for case in all_cases}
    for column, (settings, limit) in COLUMNS.items():
        paths = plain if limit is None else frozen
        results = compress_all(options.vqc, [paths[case.name] for case in all_cases],
                               os.path.join(options.work, column), settings)
        for case in all_cases:
            bad = []
            source = paths[case.name]
            try:
                cells[case.name][column] = outcome(source, results[source], limit, feeds[case.name], bad)
            except Exception as error:  # for example a file that onnx cannot read back
                bad.append(f"{type(error).__name__}: {error}"[:200])
                cells[case.name][column] = "wrong"
            wrong[case.name] += [f"{column}: {what}" for what in bad]

    for name, cell in execute.run_cases(all_cases, os.path.join(options.work, "run")).items():
        cells[name]["run"] = cell
        if cell.startswith("fail"):
            wrong[name].append(f"run: {cell}")

    if options.write_outcomes:
        common.write_csv(TABLE, ["case", *COLUMNS, "run"], list(cells.values()),
                         "What vqc makes of ONNX's backend node tests; see run.py; `make golden`.")
    table = {row["case"]: row for row in common.read_csv(TABLE)}
    if os.environ.get("VQC_DELIBERATE_FAILURE") and table:
        next(iter(table.values())).update(keep="a deliberate failure", run="a deliberate failure")
    unknown = 0
    for name, row in cells.items():
        if name not in table:
            unknown += 1
            continue
        for column in (*COLUMNS, "run"):
            if not agree(row[column], table[name][column]):
                wrong[name].append(f"{column}: got \"{row[column]}\", the table has \"{table[name][column]}\"")
    for name, what in wrong.items():
        for line in what:
            print(f"FAIL {name}: {line}")
    for column in (*COLUMNS, "run"):
        counts = {}
        for row in cells.values():
            kind = row[column].split(":")[0]
            counts[kind] = counts.get(kind, 0) + 1
        print(f"{column}: " + ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    if unknown:
        print(f"{unknown} cases are not in the table (another onnx than the one that made it)")
    if not table:
        print(f"{TABLE} is missing: run `make golden`")
    failed = sum(1 for what in wrong.values() if what) + (not table)
    common.summary(len(cells) - sum(1 for what in wrong.values() if what), failed,
                   0 if options.limit else len(set(table) - set(cells)))


if __name__ == "__main__":
    main()
