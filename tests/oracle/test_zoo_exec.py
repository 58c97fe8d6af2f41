"""Every model of the zoo through the executor and through ONNX Runtime: test_zoo_exec.py [MODEL...].

The first sample of each model's data is run by both; the outputs agree within MIN_SQNR_DB (LOOSE_DB for models whose
rounding to codes amplifies the last bits). A model with operators of a foreign domain is refused,
and the operators are named. Prints "N passed, N failed, N skipped"; exit code 1 when something failed.
"""

import os
import sys
import tempfile
import time

import numpy as np
import onnx

import common
import run_tool
from common import sqnr_db, summary

MIN_SQNR_DB = 80.0
# Quantized models round to codes: a last bit that differs may become a step of one code.
LOOSE_DB = {"mnv4s_qat_int8": 40.0, "mobilenetv1_025_128_qdq_u8": 40.0}
FOREIGN = {"superres_prepost_customop": "com.microsoft.extensions"}


def first_feed(model):
    """The first sample, or one of seeded random numbers where there is no data."""
    feeds, _, _ = model.feeds(False)
    if feeds:
        return feeds[0]
    rng = np.random.default_rng(1)
    proto = onnx.load(model.path, load_external_data=False)
    constants = {t.name for t in proto.graph.initializer}
    feed = {}
    for value in proto.graph.input:
        if value.name in constants:
            continue
        kind = value.type.tensor_type
        dims = [d.dim_value if d.dim_value > 0 else 1 for d in kind.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        feed[value.name] = (rng.normal(size=dims) if dtype.kind == "f" else rng.integers(0, 4, dims)).astype(dtype)
    return feed


def names_of(path):
    proto = onnx.load(path, load_external_data=False)
    constants = {t.name for t in proto.graph.initializer} if proto.ir_version < 4 else set()
    return [value.name for value in proto.graph.input if value.name not in constants]


def worst_error(reference, got):
    """(smallest SQNR in dB, largest difference relative to the largest value)."""
    worst, relative = np.inf, 0.0
    for number, ref in enumerate(reference):
        ref = np.asarray(ref)
        out = got.get(number)
        if out is None or out.shape != ref.shape or out.dtype != ref.dtype:
            return -np.inf, np.inf
        if ref.size == 0 or np.array_equal(ref, out, equal_nan=ref.dtype.kind == "f"):
            continue
        wide, other = ref.astype(np.float64), out.astype(np.float64)
        worst = min(worst, sqnr_db(wide, other))
        relative = max(relative, float(np.max(np.abs(wide - other)) / (np.max(np.abs(wide)) or 1.0)))
    return worst, relative


def main():
    only = sys.argv[1:]
    models = [model for model in common.all_models() if not only or model.name in only]
    if not models:
        print("SKIP no model of these names")
        summary(0, 0, 1)
        return
    tool = run_tool.build_tool()
    passed = failed = 0
    with tempfile.TemporaryDirectory() as work:
        for model in models:
            folder = os.path.join(work, model.name)
            feed = first_feed(model) if model.name not in FOREIGN else {}
            run_tool.write_inputs(folder, [feed.get(name) for name in names_of(model.path)])
            result = run_tool.run_all(tool, [(model.path, folder)], work, ["--threads", "2", "--repeat", "2"])[folder]
            if model.name in FOREIGN:
                good = result.error is not None and FOREIGN[model.name] in result.error and "lacks" in result.error
                text = f"refused: {result.error}"
            elif result.error is not None:
                good, text = False, result.error
            else:
                session = common.session(model.path)
                session.run(None, feed)
                begin = time.perf_counter()
                reference = session.run(None, feed)
                if os.environ.get("VQC_DELIBERATE_FAILURE"):
                    reference = [np.asarray(ref) + np.asarray(ref) for ref in reference]
                ort_ms = (time.perf_counter() - begin) * 1e3
                worst, relative = worst_error(reference, result.outputs)
                good = worst >= LOOSE_DB.get(model.name, MIN_SQNR_DB)
                text = (f"{worst:7.1f} dB, relative error {relative:.2e}, {result.time_ns / 1e6:8.2f} ms "
                        f"(ONNX Runtime {ort_ms:8.2f} ms), peak {result.peak_bytes / 1e6:.1f} MB")
            print(f"{'ok  ' if good else 'FAIL'} {model.name}: {text}", flush=True)
            passed, failed = passed + good, failed + (not good)
    summary(passed, failed, 0)


if __name__ == "__main__":
    main()
