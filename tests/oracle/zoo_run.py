"""The proof over the zoo: every model x every recipe compresses, loads, runs and stays close to its source.

One test per model and recipe, and one per model for "same bytes at every ISA and thread count". For each:
exit code 0; never larger than the source (file and external data); the onnx checker passes what it passed
before; ONNX Runtime loads it wherever it loads the source; the outputs keep the committed SQNR
(tests/golden/bounds.csv), int8 weights at least 25 dB and accuracy within 0.5 points on labelled models;
--dry-run foretold the bytes; `vqc report --ref` measures what compress reported; size and weight SQNR as in
tests/golden/results.csv. --write-golden writes both files anew.
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

import onnx

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import common  # noqa: E402

GOLDEN = os.path.join(common.ROOT, "tests", "golden")
RESULTS = os.path.join(GOLDEN, "results.csv")
BOUNDS = os.path.join(GOLDEN, "bounds.csv")
RESULT_KEYS = ["model", "recipe", "bytes_before", "bytes_after", "weight_sqnr_db", "coded_layers"]
BOUND_KEYS = ["model", "recipe", "min_output_sqnr_db"]
# Outputs differ in the last bits between processors; the committed bound leaves this much room below what
# was measured, and nothing above 60 dB is asked for.
BOUND_MARGIN_DB = 1.0
BOUND_CEILING_DB = 60.0

INT8_OUTPUT_SQNR_DB = 25.0
INT8_ACCURACY_POINTS = 0.5

# Variants beside the shipped recipes: name -> (recipe file or None, settings).
VARIANTS = {
    "keep": (None, ["weights.codec=keep"]),
    "bfloat16": (None, ["weights.codec=bfloat16"]),
    "float8e4m3fn": (None, ["weights.codec=float8e4m3fn"]),
    "float8e5m2": (None, ["weights.codec=float8e5m2"]),
    "int2-block": (None, ["weights.bits=2", "weights.granularity=block", "weights.block_size=16"]),
    "int3": (None, ["weights.bits=3"]),
    "int5-asym": (None, ["weights.bits=5", "weights.symmetric=false"]),
    "int6-tensor": (None, ["weights.bits=6", "weights.granularity=tensor"]),
    "int16": (None, ["weights.bits=16"]),
    "int8-asym": (None, ["weights.symmetric=false"]),
    "int8-tensor": (None, ["weights.granularity=tensor"]),
    "int8-reduce-range": (None, ["weights.reduce_range=true"]),
    "int4-mse": (None, ["weights.bits=4", "weights.range=mse"]),
    "int4-percentile": (None, ["weights.bits=4", "weights.range=percentile", "weights.percentile=99.9"]),
    "int4-block-asym-ort": (None, ["weights.bits=4", "weights.granularity=block", "weights.symmetric=false",
                                   "target.operators=onnxruntime"]),
    "int8-speed": (None, ["target.objective=speed"]),
    "int8-dynamic-ort": ("int8-dynamic.yaml", ["target.operators=onnxruntime"]),
}
# Recipes whose weights are int8 and whose activations stay float: the 25 dB and 0.5 points hold here.
INT8_WEIGHT_RECIPES = {"int8", "int8-asym"}
# Recipes that are scored on all labelled samples.
SCORED_RECIPES = {"int8", "int8-dynamic"}
# Recipes that are written at every ISA and thread count.
SAME_BYTES_RECIPES = ["int8", "int4-block32", "float16", "int3", "int4-mse"]


# static_zoo.py runs these, with samples.
NEED_SAMPLES = {"int8-static", "int8-qoperator", "int16-static", "fold", "prune-int8-static"}
# These fold, or take channels out, before they code: their weights are not those of the source any more, so that the error of
# coding, which compress reports, is not the distance from the source, which `report --ref` measures.
CHANGE_FIRST = {"vq-4bit", "vq-2bit", "vq-int8-runtime", "prune-vq", "prune-channels"}


def recipes():
    """name -> (file or None, settings): all of configs/ that needs no samples, and the variants."""
    folder = os.path.join(common.ROOT, "configs")
    found = {file[:-5]: (os.path.join(folder, file), []) for file in sorted(os.listdir(folder))
             if file.endswith(".yaml") and file[:-5] not in NEED_SAMPLES}
    for name, (file, settings) in VARIANTS.items():
        found[name] = (file and os.path.join(folder, file), settings)
    return found


def instruction_sets():
    """The --cpu values this machine can run."""
    try:
        flags = set(open("/proc/cpuinfo", encoding="utf-8").read().split())
    except OSError:
        return ["c"]
    sets = ["c"]
    if {"avx2", "fma", "f16c"} <= flags:
        sets.append("avx2")
    if {"avx512f", "avx512bw", "avx512vl", "avx512dq"} <= flags:
        sets.append("avx512")
    if "asimd" in flags:
        sets.append("neon")
    return sets


class Failures(list):
    """What went wrong in one test: (check, got, wanted)."""

    def expect(self, good, check, got, wanted):
        if not good:
            self.append((check, str(got), str(wanted)))
        return good


def vqc(program, *arguments):
    return subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=300, check=False)


def recipe_arguments(recipe):
    file, settings = recipe
    arguments = ["-c", file] if file else []
    for setting in settings:
        arguments += ["--set", setting]
    return arguments


def compress(program, model, recipe, output, *more):
    """(completed process, JSON report or None)"""
    done = vqc(program, "compress", model.path, *recipe_arguments(recipe), "-o", output, "--force", "--json", *more)
    try:
        return done, json.loads(done.stdout)
    except ValueError:
        return done, None


def close(a, b, relative):
    if a is None or b is None:
        return a is b
    return a == b or abs(a - b) <= relative * max(abs(a), abs(b))


def report_agrees(program, model, output, report, bad):
    """`vqc report OUT --ref SRC` measures per layer what compress reported."""
    done = vqc(program, "report", output, "--ref", model.path, "--json")
    if not bad.expect(done.returncode == 0, "report --ref", done.stderr.strip()[-200:], "exit code 0"):
        return
    measured = {(layer["scope"], layer["name"]): layer for layer in json.loads(done.stdout)["layers"]}
    if os.path.basename(report["recipe"]).removesuffix(".yaml") in CHANGE_FIRST:
        return
    for layer in report["layers"]:
        if layer["status"] != "coded":
            continue
        key = (layer["scope"], layer["name"])
        other = measured.get(key)
        if not bad.expect(other is not None, "report --ref", "no layer", key):
            continue
        if not bad.expect(other["metrics"] is not None, f"report --ref metrics of {key[1]}", "none",
                          layer["metrics"]["sqnr_db"]):
            continue
        ours, theirs = layer["metrics"]["sqnr_db"], other["metrics"]["sqnr_db"]
        bad.expect(close(ours, theirs, 1e-6), f"report --ref sqnr of {key[1]}", theirs, ours)


def keeps_tensors(model, output, bad):
    """`codec: keep`: every tensor of the source is there with the same bits."""
    before = list(common.tensors_of(onnx.load(model.path)))
    after = list(common.tensors_of(onnx.load(output)))
    if bad.expect([name for name, _ in before] == [name for name, _ in after], "tensor names", len(after), len(before)):
        for (name, a), (_, b) in zip(before, after):
            bad.expect(common.tensor_bits(a) == common.tensor_bits(b), "bits of a kept tensor", name, "identical")


def one_recipe(job, model, source, name, recipe, facts):
    """Runs one recipe on one model; fills facts with what the golden files hold. Returns Failures."""
    bad = Failures()
    folder = os.path.join(job.work, model.name)
    output = os.path.join(folder, name + ".onnx")
    dry, foretold = compress(job.vqc, model, recipe, output, "--dry-run")
    if os.path.exists(output):
        bad.expect(False, "--dry-run", "a file", "nothing written")
    done, report = compress(job.vqc, model, recipe, output)
    good = report is not None and (done.returncode == 0 or missed_gate(done, report))
    if not bad.expect(good, "compress", f"exit code {done.returncode} {done.stderr.strip()[-300:]}",
                      "exit code 0 and a report"):
        return bad
    size = common.model_size(output)
    facts["bytes_before"], facts["bytes_after"] = model.size_bytes(), size
    facts["weight_sqnr_db"] = weight_sqnr(report)
    facts["coded_layers"] = report["coded_count"]
    bad.expect(size <= model.size_bytes(), "size", size, f"at most {model.size_bytes()}")
    bad.expect(report["after"]["total_bytes"] == size, "size in the report", report["after"]["total_bytes"], size)
    bad.expect(foretold is not None and foretold["after"]["total_bytes"] == size, "--dry-run size",
               foretold and foretold["after"]["total_bytes"], size)
    bad.expect(common.checker_level(output) >= source.checker, "onnx checker", common.checker_level(output),
               source.checker)
    report_agrees(job.vqc, model, output, report, bad)
    if name == "keep":
        keeps_tensors(model, output, bad)
    if source.few is not None:
        check_outputs(model, source, name, output, facts, bad)
    for file in [output] + common.external_files(output):
        os.unlink(file)
    return bad


def missed_gate(done, report):
    """Exit code 5 with the gate named in the report: the file is written and correct all the same."""
    return done.returncode == 5 and len(report["gate_misses"]) > 0


def weight_sqnr(report):
    value = report["metrics"]["sqnr_db"] if report["metrics"] else None
    return "" if value is None or not math.isfinite(value) else f"{value:.2f}"


def check_outputs(model, source, name, output, facts, bad):
    """Loads and runs the written model and compares it with the source."""
    scored = source.labels is not None and name in SCORED_RECIPES
    try:
        outputs = common.run(output, source.full_feeds if scored else source.few_feeds)
    except Exception as error:  # ONNX Runtime raises many types, all of which are the failure looked for
        bad.expect(False, "ONNX Runtime", str(error)[-300:], "loads and runs")
        return
    if not outputs:
        return
    sqnr = common.worst_output_sqnr(source.full if scored else source.few, outputs)
    facts["output_sqnr_db"] = sqnr
    if source.labels is None:
        return
    if name in INT8_WEIGHT_RECIPES:
        bad.expect(sqnr >= INT8_OUTPUT_SQNR_DB, "output SQNR (int8 weights)", f"{sqnr:.2f} dB",
                   f"{INT8_OUTPUT_SQNR_DB} dB")
    if scored:
        score = common.accuracy(outputs, source.labels, source.offset)
        facts["accuracy_loss"] = source.accuracy - score
        if name in INT8_WEIGHT_RECIPES:
            bad.expect(source.accuracy - score <= INT8_ACCURACY_POINTS + 1e-9, "accuracy", f"{score:.2f}",
                       f"{source.accuracy:.2f} - {INT8_ACCURACY_POINTS}")


class Source:
    """What the source model does: checker level, outputs, accuracy."""

    def __init__(self, model):
        self.checker = common.checker_level(model.path)
        self.few = self.full = self.labels = self.accuracy = None
        self.few_feeds, _, self.offset = model.feeds(False)
        try:
            self.few = common.run(model.path, self.few_feeds)
        except Exception:  # the source itself does not load: the checker's verdict is all there is
            return
        self.full_feeds, self.labels, _ = model.feeds(True)
        if self.labels is not None:
            self.full = common.run(model.path, self.full_feeds)
            self.accuracy = common.accuracy(self.full, self.labels, self.offset)


def same_bytes(job, model):
    """The same file at every instruction set and thread count."""
    bad = Failures()
    folder = os.path.join(job.work, model.name)
    for name in SAME_BYTES_RECIPES:
        seen = {}
        for cpu in instruction_sets():
            for threads in ("1", "2"):
                if cpu == "c" and threads == "2":
                    continue
                output = os.path.join(folder, "same.onnx")
                done, _ = compress(job.vqc, model, job.recipes[name], output, f"--cpu={cpu}", "-j", threads)
                if not bad.expect(done.returncode in (0, 5), f"{name} --cpu={cpu} -j{threads}",
                                  done.stderr.strip()[-200:], "exit code 0"):
                    continue
                seen[f"{cpu} -j{threads}"] = common.sha256(output)
                for file in [output] + common.external_files(output):
                    os.unlink(file)
        bad.expect(len(set(seen.values())) <= 1, f"{name}: same bytes", seen, "one hash")
    return bad


class Job:
    """What a worker needs to know."""

    def __init__(self, options):
        self.vqc = os.path.abspath(options.vqc)
        self.work = os.path.abspath(options.work)
        self.recipes = recipes()
        self.only = options.recipe


def one_model(task):
    """(model name, {recipe: (facts, failures)}, seconds)"""
    job, model = task
    start = time.monotonic()
    results = {}
    shutil.rmtree(os.path.join(job.work, model.name), ignore_errors=True)
    os.makedirs(os.path.join(job.work, model.name))
    source = Source(model)
    for name, recipe in job.recipes.items():
        if job.only and name not in job.only:
            continue
        facts = {}
        try:
            bad = one_recipe(job, model, source, name, recipe, facts)
        except Exception as error:  # reported as this test's failure, the others go on
            bad = Failures([("exception", f"{type(error).__name__}: {error}"[:300], "none")])
        results[name] = (facts, bad)
    if not job.only:
        results["(same bytes)"] = ({}, same_bytes(job, model))
    return model.name, results, time.monotonic() - start


def compare_golden(model, recipe, facts, results, bounds, bad):
    """Adds what differs from the committed files."""
    row = results.get((model, recipe))
    if bad.expect(row is not None, "results.csv", "no row", "a row; see `make golden`"):
        for key in ("bytes_before", "bytes_after", "coded_layers"):
            bad.expect(str(facts[key]) == row[key], key, facts[key], row[key])
        got, wanted = facts["weight_sqnr_db"], row["weight_sqnr_db"]
        same = got == wanted or (got and wanted and abs(float(got) - float(wanted)) <= 0.0100001)
        bad.expect(same, "weight_sqnr_db", got, wanted)
    if "output_sqnr_db" in facts:
        row = bounds.get((model, recipe))
        if bad.expect(row is not None, "bounds.csv", "no row", "a row; see `make golden`"):
            bad.expect(facts["output_sqnr_db"] >= float(row["min_output_sqnr_db"]), "output SQNR",
                       f"{facts['output_sqnr_db']:.2f} dB", row["min_output_sqnr_db"] + " dB")


def merged(path, rows):
    """The committed rows with those in `rows` in place of the old ones, or behind them."""
    new = by_key(rows)
    old = [new.pop((row["model"], row["recipe"]), row) for row in common.read_csv(path)]
    return old + list(new.values())


def write_golden(outcomes, everything):
    rows, bounds = [], []
    for model, results in outcomes.items():
        for recipe, (facts, _) in results.items():
            if "bytes_after" in facts:
                rows.append({"model": model, "recipe": recipe, **{key: facts[key] for key in RESULT_KEYS[2:]}})
            if "output_sqnr_db" in facts:
                bound = min(facts["output_sqnr_db"] - BOUND_MARGIN_DB, BOUND_CEILING_DB)
                bounds.append({"model": model, "recipe": recipe, "min_output_sqnr_db": f"{math.floor(bound)}"
                               if math.isfinite(bound) else "-inf"})
    if not everything:
        rows, bounds = merged(RESULTS, rows), merged(BOUNDS, bounds)
    common.write_csv(RESULTS, RESULT_KEYS, rows, "Sizes and weight errors of the zoo under every recipe; `make golden`.")
    common.write_csv(BOUNDS, BOUND_KEYS, bounds,
                     "The least SQNR of the worst model output against the source's outputs, in dB; `make golden`.")
    print(f"wrote {len(rows)} rows to {RESULTS} and {len(bounds)} to {BOUNDS}")


def by_key(rows):
    return {(row["model"], row["recipe"]): row for row in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vqc", default="build/vqc")
    parser.add_argument("--work", default="build/zoo")
    parser.add_argument("--model", action="append", help="only this model (repeatable)")
    parser.add_argument("--recipe", action="append", help="only this recipe (repeatable)")
    parser.add_argument("--write-golden", action="store_true", help="with --model, --recipe: of these only")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()

    models = [model for model in common.all_models() if not options.model or model.name in options.model]
    skipped = 0
    if common.zoo_folder() is None:
        print("no zoo at $VQC_ZOO or ../shared/zoo: skipped, the shipped example only")
        skipped = 1
    job = Job(options)
    # The slow ones first, so that the two processes end together.
    slow = ["magika_v3_3", "mobilenetv2_fp32_dithered", "squeezenet1.0_fp32", "fns_mosaic", "dnsmos_sig_bak_ovr"]
    ordered = sorted(models, key=lambda model: (model.name not in slow, slow.index(model.name)
                                                if model.name in slow else -model.size_bytes()))
    outcomes = {}
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for name, results, seconds in pool.imap_unordered(one_model, [(job, model) for model in ordered]):
            outcomes[name] = results
            wrong = sum(1 for _, bad in results.values() if bad)
            print(f"{name}: {len(results)} recipes, {wrong} with failures, {seconds:.1f} s", flush=True)
    outcomes = {model.name: outcomes[model.name] for model in models}
    if options.write_golden:
        write_golden(outcomes, not options.model and not options.recipe)
    results, bounds = by_key(common.read_csv(RESULTS)), by_key(common.read_csv(BOUNDS))
    if os.environ.get("VQC_DELIBERATE_FAILURE"):
        for row in results.values():
            row["bytes_after"] = "1"
    passed, table = 0, []
    for model, recipes_of in outcomes.items():
        for recipe, (facts, bad) in recipes_of.items():
            if "bytes_after" in facts:
                compare_golden(model, recipe, facts, results, bounds, bad)
            table += [(model, recipe, check, got[:120], wanted[:60]) for check, got, wanted in bad]
            passed += not bad
    if table:
        common.print_table(table, ("model", "recipe", "check", "got", "wanted"))
    losses = [(facts["accuracy_loss"], model, recipe) for model, all_of in outcomes.items()
              for recipe, (facts, _) in all_of.items() if "accuracy_loss" in facts]
    for loss, model, recipe in sorted(losses, reverse=True)[:5]:
        print(f"accuracy: {model} {recipe} lost {loss:+.2f} points")
    total = sum(len(recipes_of) for recipes_of in outcomes.values())
    common.summary(passed, total - passed, skipped)


if __name__ == "__main__":
    main()
