"""Static quantization over the zoo: every model with calibration data x int8-static, int8-qoperator, int16-static, fold.

One test per model and recipe, and one per model for "same bytes". For each: exit code 0 (or a missed accuracy
target that the report admits); ONNX Runtime loads the file; the onnx checker passes what it passed before; never
larger than the source; the outputs keep the committed SQNR against the source's (tests/golden/static.csv);
labelled models keep their accuracy; what ONNX Runtime's optimizer leaves of float Conv, MatMul and Gemm with a
constant weight is what the report says stays float; and what vqc measured on the same samples is what ONNX
Runtime gives. --write-golden writes the bounds anew.
"""

import argparse
import json
import math
import multiprocessing
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import onnx
import onnxruntime as ort

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import common  # noqa: E402

BOUNDS = os.path.join(common.ROOT, "tests", "golden", "static.csv")
BOUND_KEYS = ["model", "recipe", "bytes_before", "bytes_after", "float_layers", "min_output_sqnr_db"]
# Calibration and search are the same at every instruction set and thread count, ONNX Runtime's own kernels
# are not: the bound leaves this much room, and nothing above 60 dB is asked for.
BOUND_MARGIN_DB = 1.5
BOUND_CEILING_DB = 60.0
# A file may be this much larger than the committed one before the test fails.
SIZE_MARGIN = 1.02

RECIPES = ["int8-static", "int8-qoperator", "int16-static", "fold"]
INTEGER_RECIPES = {"int8-static", "int8-qoperator"}
# Minutes each: with --all, or by name.
SLOW = {"dnsmos_sig_bak_ovr", "fns_mosaic", "magika_v3_3", "yolox_nano", "yolox_nano_extdata", "basic_pitch", "ppocr_v3_det"}
PICTURES = 100
CALIBRATION_PICTURES = 64
LABELLED_SAMPLES = 500
# Points of top-1 that int8 may cost; beside that one sample may always tip over.
ACCURACY_POINTS = {"squeezenet1.0_fp32": 1.0, "mobilenetv2_fp32_dithered": 1.0}
ACCURACY_POINTS_DEFAULT = 0.5
# vqc's own measurement against ONNX Runtime's on the same samples.
AGREEMENT_DB = 0.5
# Behind 16-bit activations ONNX Runtime makes MatMulNBits of int8 weights, which rounds its input to 8 bits.
AGREEMENT_16_DB = 6.0
AGREEMENT_CEILING_DB = 45.0  # above, both are the rounding of a few values
FOLD_SQNR_DB = 80.0
# What computes in float; MatMulNBits is what the optimizer makes of a MatMul with a weight-only int8 weight.
LINEAR = {"Conv", "FusedConv", "MatMul", "FusedMatMul", "MatMulNBits", "Gemm", "FusedGemm"}
FEW_SAMPLES = 32
IMAGE = {
    "caffe": ["crop=224", "order=bgr", "mean=104:117:123"],
    "tf": ["crop=224", "order=rgb", "mean=127.5", "std=127.5"],
}


class Failures(list):
    """What went wrong in one test: (check, got, wanted)."""

    def expect(self, good, check, got, wanted):
        if not good:
            self.append((check, str(got), str(wanted)))
        return good


class Case:
    """A zoo model with its calibration and evaluation data."""

    def __init__(self, model):
        self.model = model
        self.name = model.name
        self.picture = common.PICTURE_MODELS.get(model.name)
        self.calibration = os.path.join(model.zoo, "data", model.name + ".calib.npz")

    def usable(self):
        if self.picture:
            return self.picture[0] in IMAGE and self.picture[1] == 224 and not self.name.endswith("fp16")
        return os.path.exists(self.calibration)

    def arguments(self):
        if not self.picture:
            return ["--calib", self.calibration]
        arguments = ["--calib", os.path.join(self.model.zoo, "data", "imagenet"),
                     "--set", f"calibrate.samples={CALIBRATION_PICTURES}"]
        for setting in IMAGE[self.picture[0]]:
            arguments += ["--set", "calibrate.image." + setting]
        return arguments

    def feeds(self):
        common.FEW_SAMPLES = FEW_SAMPLES
        common.LABELLED_SAMPLES = PICTURES if self.picture else LABELLED_SAMPLES
        feeds, labels, offset = self.model.feeds(True)
        if labels is None:
            return self.model.feeds(False)
        return feeds, labels, offset

    def same_samples(self, folder, feeds):
        """The fed samples as a file for --eval, or None when they cannot be written as one."""
        if self.picture or not feeds:
            return None
        arrays = dict(np.load(self.model.data))
        inputs = self.model.graph_inputs()
        count = sum(len(next(iter(feed.values()))) if len(feed) and next(iter(feed.values())).ndim else 1
                    for feed in feeds)
        if all(arrays[key].ndim == len(inputs[key]) + 1 for key in arrays if key in inputs):
            count = len(feeds)
        path = os.path.join(folder, "eval.npz")
        np.savez(path, **{key: value[:count] if value.ndim else value for key, value in arrays.items()})
        return path


def compress(job, case, recipe, output, *more):
    """(completed process, JSON report or None)"""
    done = subprocess.run(
        [job.vqc, "compress", case.model.path, "-c", os.path.join(common.ROOT, "configs", recipe + ".yaml"), "-o",
         output, "--force", "--json", *([] if recipe == "fold" else case.arguments()), *more],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False)
    try:
        return done, json.loads(done.stdout)
    except ValueError:
        return done, None


def constant_weights(model):
    """Names of a graph's values that follow from initializers alone (decoded weights)."""
    constant = {tensor.name for tensor in model.graph.initializer} - {value.name for value in model.graph.input}
    for node in model.graph.node:
        if node.op_type == "Constant" or (node.input and all(name in constant or not name for name in node.input)):
            constant.update(node.output)
    return constant


def linear_nodes(model):
    """Number of Conv, MatMul and Gemm nodes of the main graph with a constant weight."""
    constant = constant_weights(model)
    return sum(1 for node in model.graph.node
               if node.op_type in LINEAR and len(node.input) > 1 and node.input[1] in constant
               and node.input[0] not in constant)


def float_layers_in_runtime(path, folder):
    """The same in what ONNX Runtime's optimizer makes of the file."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    # The extended level: the one above rewrites the layout of what is left, which changes no count.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = os.path.join(folder, "optimized.onnx")
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    count = linear_nodes(onnx.load(options.optimized_model_filepath))
    os.unlink(options.optimized_model_filepath)
    return count


def target_missed(report):
    return any("accuracy target cannot be met" in note for note in report["notes"])


def one_recipe(job, case, source, recipe, facts):
    """Runs one recipe on one model; fills facts with what the golden file holds. Returns Failures."""
    bad = Failures()
    output = os.path.join(source.folder, recipe + ".onnx")
    more = ["--eval", source.samples] if recipe != "fold" and source.samples else []
    start = time.monotonic()
    done, report = compress(job, case, recipe, output, *more)
    facts["seconds"] = time.monotonic() - start
    if not bad.expect(done.returncode == 0 and report is not None, "compress",
                      f"exit code {done.returncode} {done.stderr.strip()[-300:]}", "exit code 0 and a report"):
        return bad
    size = common.model_size(output)
    facts["bytes_before"], facts["bytes_after"] = case.model.size_bytes(), size
    facts["float_layers"] = report["possible_layers"] - report["integer_layers"] if recipe != "fold" else ""
    bad.expect(size <= case.model.size_bytes(), "size", size, f"at most {case.model.size_bytes()}")
    bad.expect(report["after"]["total_bytes"] == size, "size in the report", report["after"]["total_bytes"], size)
    bad.expect(common.checker_level(output) >= source.checker, "onnx checker", common.checker_level(output),
               source.checker)
    try:
        outputs = common.run(output, source.feeds)
    except Exception as error:  # ONNX Runtime raises many types, all of which are the failure looked for
        bad.expect(False, "ONNX Runtime", str(error)[-300:], "loads and runs")
        return bad
    sqnr = common.worst_output_sqnr(source.outputs, outputs)
    facts["output_sqnr_db"] = sqnr
    if recipe == "fold":
        bad.expect(sqnr >= FOLD_SQNR_DB, "output SQNR (fold)", f"{sqnr:.1f} dB", f"{FOLD_SQNR_DB} dB")
    else:
        check_report(source, recipe, output, report, sqnr, bad)
    check_accuracy(case, source, recipe, outputs, facts, bad)
    os.unlink(output)
    return bad


def check_report(source, recipe, output, report, sqnr, bad):
    """What the report says against what ONNX Runtime shows."""
    written = onnx.load(output)
    if recipe in INTEGER_RECIPES:
        left = float_layers_in_runtime(output, source.folder)
        stays = linear_nodes(written) - (report["integer_layers"] if recipe == "int8-static" else 0)
        # a Gemm that stays in QDQ form because standard operators lack it is an integer one in ONNX Runtime
        agrees = left == stays if recipe == "int8-static" else left <= stays
        bad.expect(agrees, "float layers after the optimizer", left, f"{stays} as reported")
        if recipe == "int8-static":
            total = linear_nodes(written)
            bad.expect(report["integer_layers"] <= report["possible_layers"] <= total, "layers in the report",
                       f"{report['integer_layers']} of {report['possible_layers']}", f"at most {total}")
    own = report["verification"]
    if source.samples and bad.expect(own is not None, "verification", "none", "of the written model"):
        ours = own["min_sqnr_db"] if own["min_sqnr_db"] is not None else math.inf
        high = min(ours, sqnr) >= AGREEMENT_CEILING_DB
        room = AGREEMENT_16_DB if recipe == "int16-static" and sqnr < ours else AGREEMENT_DB
        bad.expect(high or abs(ours - sqnr) <= room, "vqc's output SQNR", f"{ours:.2f} dB",
                   f"{sqnr:.2f} dB by ONNX Runtime")


def check_accuracy(case, source, recipe, outputs, facts, bad):
    if source.labels is None:
        return
    loss = source.accuracy - common.accuracy(outputs, source.labels, source.offset)
    allowed = ACCURACY_POINTS.get(case.name, ACCURACY_POINTS_DEFAULT)
    allowed = max(allowed, 100.0 / len(source.labels)) + 1e-9
    facts["accuracy_loss"] = loss
    bad.expect(loss <= allowed, "accuracy", f"{loss:+.2f} points lost", f"at most {allowed:.2f}")


class Source:
    """What the source model does: checker level, outputs, accuracy."""

    def __init__(self, case, folder):
        self.folder = folder
        self.checker = common.checker_level(case.model.path)
        self.feeds, self.labels, self.offset = case.feeds()
        self.outputs = common.run(case.model.path, self.feeds)
        self.accuracy = None if self.labels is None else common.accuracy(self.outputs, self.labels, self.offset)
        self.samples = case.same_samples(folder, self.feeds)


def same_bytes(job, case, folder):
    """The same file again, and at 1 and 2 threads."""
    bad = Failures()
    seen = {}
    for run in (["-j", "1"], ["-j", "2"], ["-j", "2"]):
        output = os.path.join(folder, "same.onnx")
        done, _ = compress(job, case, "int8-static", output, *run)
        if bad.expect(done.returncode == 0, " ".join(run), done.stderr.strip()[-200:], "exit code 0"):
            seen[f"{' '.join(run)} #{len(seen)}"] = common.sha256(output)
            os.unlink(output)
    bad.expect(len(set(seen.values())) == 1, "same bytes", seen, "one hash")
    return bad


class Job:
    """What a worker needs to know."""

    def __init__(self, options):
        self.vqc = os.path.abspath(options.vqc)
        self.work = os.path.abspath(options.work)
        self.only = options.recipe


def one_model(task):
    """(model name, {recipe: (facts, failures)}, seconds)"""
    job, case = task
    start = time.monotonic()
    folder = os.path.join(job.work, case.name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    results = {}
    try:
        source = Source(case, folder)
    except Exception as error:  # reported as a failure of its own
        return case.name, {"(source)": ({}, Failures([("source", str(error)[-300:], "runs")]))}, 0.0
    for recipe in RECIPES:
        if job.only and recipe not in job.only:
            continue
        facts = {}
        try:
            bad = one_recipe(job, case, source, recipe, facts)
        except Exception as error:  # reported as this test's failure, the others go on
            bad = Failures([("exception", f"{type(error).__name__}: {error}"[:300], "none")])
        results[recipe] = (facts, bad)
    if not job.only:
        results["(same bytes)"] = ({}, same_bytes(job, case, folder))
    shutil.rmtree(folder, ignore_errors=True)
    return case.name, results, time.monotonic() - start


def compare_bounds(model, recipe, facts, bounds, bad):
    row = bounds.get((model, recipe))
    if not bad.expect(row is not None, "static.csv", "no row", "a row; see `make golden`"):
        return
    most = SIZE_MARGIN * int(row["bytes_after"])
    bad.expect(facts["bytes_after"] <= most, "size", facts["bytes_after"], f"at most {most:.0f}")
    if "output_sqnr_db" in facts:
        bad.expect(facts["output_sqnr_db"] >= float(row["min_output_sqnr_db"]), "output SQNR",
                   f"{facts['output_sqnr_db']:.2f} dB", row["min_output_sqnr_db"] + " dB")


def write_golden(outcomes):
    rows = []
    for model, results in outcomes.items():
        for recipe, (facts, _) in results.items():
            if "output_sqnr_db" not in facts:
                continue
            bound = min(facts["output_sqnr_db"] - BOUND_MARGIN_DB, BOUND_CEILING_DB)
            rows.append({"model": model, "recipe": recipe, "bytes_before": facts["bytes_before"],
                         "bytes_after": facts["bytes_after"], "float_layers": facts["float_layers"],
                         "min_output_sqnr_db": f"{math.floor(bound)}" if math.isfinite(bound) else "-inf"})
    common.write_csv(BOUNDS, BOUND_KEYS, rows,
                     "Sizes, layers that stay float and the least SQNR of the worst model output against the "
                     "source's, in dB; `make golden`.")
    print(f"wrote {len(rows)} rows to {BOUNDS}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vqc", default="build/vqc")
    parser.add_argument("--work", default="build/static-zoo")
    parser.add_argument("--model", action="append", help="only this model (repeatable)")
    parser.add_argument("--recipe", action="append", help="only this recipe (repeatable)")
    parser.add_argument("--all", action="store_true", help="also the slow models, and those without committed bounds")
    parser.add_argument("--write-golden", action="store_true")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()

    if common.zoo_folder() is None:
        print("no zoo at $VQC_ZOO or ../shared/zoo: skipped")
        common.summary(0, 0, 1)
    job = Job(options)
    cases = [Case(model) for model in common.all_models() if model.zoo]
    cases = [case for case in cases if case.usable() and (not options.model or case.name in options.model)]
    bounded = {row["model"] for row in common.read_csv(BOUNDS)}
    if bounded and not options.all and not options.model:
        cases = [case for case in cases if case.name in bounded - SLOW]
    # The slow ones first, so that the processes end together.
    slow = ["mobilenetv2_fp32_dithered", "squeezenet1.0_fp32", "dnsmos_sig_bak_ovr", "fns_mosaic", "magika_v3_3"]
    ordered = sorted(cases, key=lambda case: (case.name not in slow, slow.index(case.name) if case.name in slow
                                              else -case.model.size_bytes()))
    outcomes = {}
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for name, results, seconds in pool.imap_unordered(one_model, [(job, case) for case in ordered]):
            outcomes[name] = results
            shown = ", ".join(f"{recipe} {facts['output_sqnr_db']:.1f} dB" +
                              (f" {-facts['accuracy_loss']:+.1f} pt" if "accuracy_loss" in facts else "")
                              for recipe, (facts, _) in results.items() if "output_sqnr_db" in facts)
            print(f"{name}: {shown}; {sum(1 for _, bad in results.values() if bad)} with failures, {seconds:.1f} s",
                  flush=True)
    outcomes = {case.name: outcomes[case.name] for case in cases}
    if options.write_golden:
        write_golden(outcomes)
    bounds = {(row["model"], row["recipe"]): row for row in common.read_csv(BOUNDS)}
    if os.environ.get("VQC_DELIBERATE_FAILURE"):
        for row in bounds.values():
            row["min_output_sqnr_db"] = "500"
    skipped = 0
    if not os.path.exists(BOUNDS):
        print(f"no {BOUNDS}: bounds are not compared; `make golden` writes it")
        skipped = 1
    passed, table = 0, []
    for model, results in outcomes.items():
        for recipe, (facts, bad) in results.items():
            if "bytes_after" in facts and not skipped:
                compare_bounds(model, recipe, facts, bounds, bad)
            table += [(model, recipe, check, got[:140], wanted[:60]) for check, got, wanted in bad]
            passed += not bad
    if table:
        common.print_table(table, ("model", "recipe", "check", "got", "wanted"))
    total = sum(len(results) for results in outcomes.values())
    common.summary(passed, total - passed, skipped)


if __name__ == "__main__":
    main()
