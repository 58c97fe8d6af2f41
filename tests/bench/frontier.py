"""The size/accuracy frontier of every labelled model: float16, int8, int4 and vector quantization at several settings.

Each file is scored by ONNX Runtime on the evaluation samples, of which calibration saw none: bytes of the whole file,
points of top-1 lost, output SQNR. Writes docs/frontier.csv, docs/FRONTIER.md and docs/frontier.svg. Rows of models and
settings that a run leaves out stay as they are in the CSV file; --render only makes table and picture from it.
"""

import argparse
import functools
import json
import math
import multiprocessing
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import onnxruntime as ort

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "oracle"))
import common  # noqa: E402
import frontier_svg  # noqa: E402
from static_zoo import Case  # noqa: E402

# Small ones first; the last two take minutes for every calibrated setting.
MODELS = ["iris_mlp", "mnist-8", "lenet5", "cifar10_tutorial_cnn", "cifar_vit_ibp_3_3_8", "cifar_resnet_4b",
          "mnist_sigmoid_6x200", "magika_v3_3", "squeezenet1.0_fp32", "mobilenetv2_fp32_dithered"]
LARGE = {"squeezenet1.0_fp32", "mobilenetv2_fp32_dithered"}
KEYS = ["model", "series", "setting", "bytes", "ratio", "samples", "top1", "lost", "lost_error", "output_sqnr_db"]
RATES = (6, 5, 4, 3, 2.5, 2, 1.5)
LARGE_RATES = (5, 4, 3)
LOSSES = (0.5, 1, 2, 5)
SETTLED_EXIT_CODES = (0, 5)  # 5: written, and a limit of the recipe was missed
NO_TARGET = ["--set", "target={}"]


class Point:
    """One setting: the series it belongs to, its name in the table, recipe, further arguments, calibration or not."""

    def __init__(self, series, setting, recipe, more=(), calibrated=False):
        self.series, self.setting, self.recipe = series, setting, recipe
        self.more, self.calibrated = list(more), calibrated


def rate_point(bits, calibrated):
    """Codebooks of a rate: from 3 bits on as in vq-4bit.yaml, below with the int8 codebooks of vq-2bit.yaml."""
    recipe = "vq-4bit" if bits >= 3 else "vq-2bit"
    series = "vq, calibrated" if calibrated else "vq, no data"
    more = ["--set", f"weights.bits_per_weight={bits}", *NO_TARGET]
    return Point(series, f"{series}, {bits:g} bits", recipe, more, calibrated)


def points_of(name, quick):
    points = [Point(series, recipe, recipe)
              for series, recipe in (("float16", "float16"), ("int8", "int8"), ("int4", "int4-block32"))]
    points += [rate_point(bits, False) for bits in (4, 2)]
    points += [Point(recipe, recipe + ".yaml, calibrated", recipe, calibrated=True) for recipe in ("vq-4bit", "vq-2bit")]
    rates = (4, 2) if quick else LARGE_RATES if name in LARGE else RATES
    return points + [rate_point(bits, True) for bits in rates]


def calibration(model):
    """Arguments that give the model's calibration samples."""
    if model.zoo:
        return Case(model).arguments()
    return ["--calib", model.path.replace(".onnx", ".calib.npz")]


def right(outputs, labels, offset):
    """For every sample whether the largest value of the first output is at its class."""
    scores = np.concatenate([sample[0].reshape(-1, sample[0].size // sample[0].shape[0]) for sample in outputs])
    return scores.argmax(axis=1) - offset == labels


def compress(options, model, point, output):
    """Writes output; returns (seconds, None or what went wrong)."""
    command = [options.vqc, "compress", model.path, "-c", os.path.join(ROOT, "configs", point.recipe + ".yaml"), "-o",
               output, "--force", "--json", *point.more, *(calibration(model) if point.calibrated else [])]
    start = time.monotonic()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          env={**os.environ, "OMP_WAIT_POLICY": "passive"})
    seconds = time.monotonic() - start
    if done.returncode not in SETTLED_EXIT_CODES or not os.path.exists(output):
        return seconds, f"exit code {done.returncode}: {done.stderr.strip()[-300:]}"
    if json.loads(done.stdout)["after"]["total_bytes"] != common.model_size(output):
        return seconds, "the report's total bytes are not those of the file"
    return seconds, None


def row_of(model, point, size, good, reference, sqnr):
    """One row of the CSV. lost_error: standard error of the difference over paired samples."""
    differ = good.astype(int) - reference.astype(int)
    return {"model": model.name, "series": point.series, "setting": point.setting, "bytes": size,
            "ratio": f"{model.size_bytes() / size:.4f}", "samples": len(good), "top1": f"{100 * good.mean():.2f}",
            "lost": f"{-100 * differ.mean() + 0.0:.2f}", "lost_error": f"{100 * differ.std() / math.sqrt(len(good)):.2f}",
            "output_sqnr_db": f"{sqnr:.2f}"}


def one_model(options, name):
    """(rows, failures) of every setting of one model; finished rows go to the work folder as they come."""
    model = next(model for model in common.all_models() if model.name == name)
    folder = os.path.join(options.work, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    common.LABELLED_SAMPLES = 100 if options.quick else 500 if model.zoo else 2000
    feeds, labels, offset = model.feeds(True)
    original = common.run(model.path, feeds)
    reference = right(original, labels, offset)
    rows = [row_of(model, Point("float32", "original", ""), model.size_bytes(), reference, reference, math.inf)]
    failures = []
    for point in points_of(name, options.quick):
        if options.setting and not any(wanted in point.setting for wanted in options.setting):
            continue
        output = os.path.join(folder, "out.onnx")
        seconds, wrong = compress(options, model, point, output)
        if wrong:
            failures.append((name, point.setting, wrong))
            print(f"{name}: {point.setting}: {wrong}", flush=True)
            continue
        outputs = common.run(output, feeds)
        row = row_of(model, point, common.model_size(output), right(outputs, labels, offset), reference,
                     common.worst_output_sqnr(original, outputs))
        rows.append(row)
        print(f'{name}: {point.setting}: {float(row["ratio"]):.2f}x, {row["lost"]} +- {row["lost_error"]} points, '
              f'{row["output_sqnr_db"]} dB, {seconds:.1f} s', flush=True)
        common.write_csv(os.path.join(folder, "rows.csv"), KEYS, rows, name)
        os.remove(output)
    return rows, failures


def order(row):
    """Models as in MODELS; within one the original, then series as in the picture, larger files first."""
    series = ["float32"] + list(frontier_svg.STYLES)
    return MODELS.index(row["model"]), series.index(row["series"]), -int(row["bytes"])


def merge(path, rows):
    """The CSV's rows with the new ones in place of those of the same model and setting."""
    known = {(row["model"], row["setting"]): row for row in common.read_csv(path)}
    known.update({(row["model"], row["setting"]): row for row in rows})
    return sorted(known.values(), key=order)


def on_frontier(row, rows):
    """Whether no other file of the model is as small and loses as little (and is better at one of the two)."""
    def value(other):
        return int(other["bytes"]), float(other["lost"])
    mine = value(row)
    return not any(all(a <= b for a, b in zip(value(other), mine)) and value(other) != mine for other in rows)


def summary_table(by_model):
    """Per model and loss: the smallest file among the classical codecs, and among codebooks."""
    lines = ["| model | " + " | ".join(f"≤ {loss:g} pt" for loss in LOSSES) + " |",
             "|---|" + "---|" * len(LOSSES)]
    for name, rows in by_model.items():
        cells = []
        for loss in LOSSES:
            fit = [row for row in rows if float(row["lost"]) <= loss and row["series"] != "float32"]
            vq = max((float(row["ratio"]) for row in fit if row["series"].startswith("vq")), default=None)
            rest = max((float(row["ratio"]) for row in fit if not row["series"].startswith("vq")), default=None)
            cells.append(" / ".join("–" if value is None else f"{value:.1f}×" for value in (rest, vq)))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def model_table(rows):
    lines = ["| setting | bytes | smaller | top-1 | points lost | output SQNR |", "|---|---:|---:|---:|---:|---:|"]
    for row in rows:
        if row["series"] == "float32":
            lines.append(f'| original, float32 | {int(row["bytes"]):,} | | {float(row["top1"]):.1f}% | | |')
            continue
        ratio = f'{float(row["ratio"]):.2f}×'
        sqnr = float(row["output_sqnr_db"])
        lines.append(f'| {row["setting"]} | {int(row["bytes"]):,} | {f"**{ratio}**" if on_frontier(row, rows) else ratio} | '
                     f'{float(row["top1"]):.1f}% | {float(row["lost"]):.1f} ± {float(row["lost_error"]):.1f} | '
                     f'{"exact" if math.isinf(sqnr) else f"{sqnr:.1f} dB"} |')
    return lines


def write_page(path, by_model, runtime):
    lines = [
        "# Size against accuracy", "",
        "What every labelled test model becomes with float16, int8, int4 and codebooks ([VQ.md](VQ.md)), from",
        "[frontier.csv](frontier.csv). `make frontier` measures all of it anew (tests/bench/frontier.py).", "",
        "![Points lost against times smaller, one panel per model](frontier.svg)", "",
        f"Scores are those of ONNX Runtime {runtime} on evaluation samples that calibration did not see. Bytes are those of",
        "the whole file. ± is the standard error of the difference over these samples; a negative loss is a gain. Output SQNR",
        "is that of the worst output. Bold: no other file of the model is as small and loses as little.", "",
        "Settings: `float16`, `int8`, `int4-block32`, `vq-4bit.yaml` and `vq-2bit.yaml` are configs/ as they are; `vq, N bits` is",
        "vq-4bit.yaml (from 3 bits on) or vq-2bit.yaml (below) with `--set weights.bits_per_weight=N --set target={}`, so that",
        "no output target adds bits. \"Calibrated\" is with `--calib`.", "",
        "## Smallest file at a loss", "",
        "Times smaller: best of float16, int8 and int4 / best with codebooks, of the settings below and by these samples.",
        "", *summary_table(by_model)]
    for name, rows in by_model.items():
        lines += ["", f"## {name}", "", f'{rows[0]["samples"]} samples.', "", *model_table(rows)]
    with open(path, "w", encoding="utf-8") as stream:
        stream.write("\n".join(lines) + "\n")


def render(folder, rows):
    by_model = {}
    for row in rows:
        by_model.setdefault(row["model"], []).append(row)
    write_page(os.path.join(folder, "FRONTIER.md"), by_model, ort.__version__.rsplit(".", 1)[0])
    panels = []
    for name, own in by_model.items():
        start = own[0]
        measured = [{"series": row["series"], "setting": row["setting"], "ratio": float(row["ratio"]),
                     "lost": float(row["lost"])} for row in own if row["series"] in frontier_svg.STYLES]
        panels.append((name, f'{int(start["bytes"]) / 1000:,.0f} kB, top-1 {float(start["top1"]):.1f}% of '
                             f'{start["samples"]}', measured))
    frontier_svg.draw(os.path.join(folder, "frontier.svg"), panels)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vqc", default="build/vqc")
    parser.add_argument("--work", default="build/bench/frontier")
    parser.add_argument("--output", default=os.path.join(ROOT, "docs"), help="folder of the CSV, the page, the picture")
    parser.add_argument("--model", action="append", choices=MODELS, help="only this model (repeatable)")
    parser.add_argument("--setting", action="append", help="only settings whose name contains this (repeatable)")
    parser.add_argument("--quick", action="store_true", help="few settings and samples, into the work folder")
    parser.add_argument("--render", action="store_true", help="measure nothing")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    options.vqc, options.work = os.path.abspath(options.vqc), os.path.abspath(options.work)
    os.makedirs(options.work, exist_ok=True)
    folder = options.work if options.quick else options.output
    table = os.path.join(folder, "frontier.csv")
    failures, rows = [], []
    if not options.render:
        there = {model.name for model in common.all_models()}
        names = [name for name in options.model or MODELS if name in there]
        if common.zoo_folder() is None:
            print("no zoo at $VQC_ZOO or ../shared/zoo: only the example is measured")
        with multiprocessing.get_context("spawn").Pool(options.processes, maxtasksperchild=1) as pool:
            for new, wrong in pool.imap_unordered(functools.partial(one_model, options), names):
                rows += new
                failures += wrong
    rows = merge(table, rows)
    common.write_csv(table, KEYS, rows, "size and accuracy of every labelled model; make frontier")
    render(folder, rows)
    for failure in failures:
        print(": ".join(failure))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
