"""ONNX's own backend node tests through the executor: the column `run` of outcomes.csv.

    pass                the outputs are the expected ones within the case's own tolerances, or, for float16 and
                        bfloat16, within two units in the last place: expected values were computed in these types
                        by NumPy, which rounds after other steps
    unsupported: class  the executor declares that it cannot: strings, sequences, optional, images, training, random
                        (run, but not comparable), ai.onnx.ml, or an operator that it lacks
    fail: why           anything else; never in the committed table

By itself (execute.py [WORK]) it prints the cases that fail or lack their operator, by operator.
"""

import os
import sys

import numpy as np
import onnx

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "oracle"))
import run_tool  # noqa: E402

NARROW_RTOL = {"float16": 2 * 2.0**-10, "bfloat16": 2 * 2.0**-7}
# Sums over a whole transform: where the exact value is 0 the expected one is rounding noise of NumPy's own FFT.
TRANSFORM_ATOL = {"DFT": 1e-6, "STFT": 1e-6}
MISSING = "operators that the executor lacks"
RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"}


def types_of(graph):
    for info in [*graph.input, *graph.output, *graph.value_info]:
        yield info.type
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from types_of(attribute.g)


def nodes_of(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from nodes_of(attribute.g)


def is_string(kind):
    return kind.HasField("tensor_type") and kind.tensor_type.elem_type == onnx.TensorProto.STRING


def reason_class(case):
    """Why the executor does not have to run a case, or None."""
    graph = case.model.graph
    kinds = list(types_of(graph))
    nodes = [*nodes_of(graph), *(node for function in case.model.functions for node in function.node)]
    if any(node.domain == "ai.onnx.ml" for node in nodes):
        return "ai.onnx.ml"
    if any(node.domain.startswith("ai.onnx.preview") for node in nodes):
        return "training"
    if any(kind.HasField("optional_type") for kind in kinds) or any(n.op_type.startswith("Optional") for n in nodes):
        return "optional"
    if any(kind.HasField("sequence_type") for kind in kinds) or any("Sequence" in node.op_type for node in nodes
                                                                  if node.op_type != "ReverseSequence"):
        return "sequences"
    if any(is_string(kind) for kind in kinds):
        return "strings"
    if any(node.op_type == "ImageDecoder" for node in nodes):
        return "images"
    if any(node.op_type in RANDOM for node in nodes):
        return "random"
    if any(node.op_type == "Dropout" and len(node.input) > 2 for node in nodes):
        return "random"
    return None


def compare(expected, got, rtol, atol):
    """What is wrong with one output, or None."""
    expected = onnx.numpy_helper.to_array(expected) if isinstance(expected, onnx.TensorProto) else np.asarray(expected)
    if got is None:
        return "no output"
    if expected.dtype != got.dtype:
        return f"type {got.dtype}, expected {expected.dtype}"
    if expected.shape != got.shape:
        return f"shape {list(got.shape)}, expected {list(expected.shape)}"
    if expected.dtype.kind in "biu" and expected.dtype.itemsize <= 8:
        wide = (expected, got)
    elif expected.dtype.kind == "c":
        wide = (expected, got)
    else:
        wide = (expected.astype(np.float64), got.astype(np.float64))
    rtol = max(rtol, NARROW_RTOL.get(expected.dtype.name, 0.0))
    try:
        np.testing.assert_allclose(wide[1], wide[0], rtol=rtol, atol=atol)
    except AssertionError as error:
        lines = [line for line in str(error).splitlines() if line.startswith("M")]
        return "; ".join(lines[:3]).strip() or "differs"
    return None


def outcome(case, results):
    """The cell of one case; results: one Result per data set."""
    for result, (_, expected) in zip(results, case.data_sets):
        reason = reason_class(case)
        if result.error is not None:
            if reason is not None and not result.error.startswith("crash"):
                return f"unsupported: {reason}"
            if result.error.startswith(MISSING):
                return "unsupported: missing operator"
            return f"fail: {result.error}"
        atol = max(case.atol, *(TRANSFORM_ATOL.get(node.op_type, 0.0) for node in case.model.graph.node))
        for number, value in enumerate(expected):
            wrong = compare(value, result.outputs.get(number), case.rtol, atol)
            if wrong is not None:
                return f"unsupported: {reason}" if reason == "random" else f"fail: output {number}: {wrong}"
    return "pass"


def run_cases(cases, work, options=()):
    """case name -> cell of the column."""
    tool = run_tool.build_tool()
    work = os.path.abspath(work)
    os.makedirs(work, exist_ok=True)
    jobs, folders = [], {}
    for case in cases:
        folders[case.name] = []
        path = os.path.join(work, case.name + ".onnx")
        with open(path, "wb") as stream:
            stream.write(case.model.SerializeToString())
        for number, (inputs, _) in enumerate(case.data_sets):
            folder = os.path.join(work, f"{case.name}.{number}")
            values = [value if isinstance(value, (np.ndarray, np.generic, onnx.TensorProto, int, float)) else None
                      for value in inputs]
            values = [None if isinstance(value, np.ndarray) and value.dtype.kind in "OSU" else value
                      for value in values]
            run_tool.write_inputs(folder, values)
            folders[case.name].append(folder)
            jobs.append((path, folder))
    results = run_tool.run_all(tool, jobs, work, options)
    return {case.name: outcome(case, [results[f] for f in folders[case.name]]) for case in cases}


def main():
    import run
    cases = run.cases()
    cells = run_cases(cases, sys.argv[1] if len(sys.argv) > 1 else "build/conformance-run")
    failing = {}
    for case in cases:
        if cells[case.name].startswith("fail") or cells[case.name].endswith("missing operator"):
            nodes = list(case.model.graph.node)
            op = nodes[0].op_type if len(nodes) == 1 else "+".join(sorted({node.op_type for node in nodes}))[:60]
            failing.setdefault(op, []).append(f"  {case.name}: {cells[case.name]}")
    counts = {}
    for cell in cells.values():
        kind = cell if cell.startswith("unsupported") else cell.split(":")[0]
        counts[kind] = counts.get(kind, 0) + 1
    print(", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    for op, lines in sorted(failing.items()):
        print(f"{op}: {len(lines)}")
        print("\n".join(lines))


if __name__ == "__main__":
    main()
