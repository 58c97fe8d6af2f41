"""ONNX Runtime as the oracle of channel pruning (core/prune/channels.h): test_prune_channels.py [MODEL...].

Every model of the zoo loses a quarter of its removable channels. The onnx checker and ONNX Runtime must take
what is left, outputs keep their shapes, and they are those of the whole model with zeros in the weights that
read removed channels (tests/unit/channels_zeroed.h). Prints "N passed, N failed, N skipped"; exit code 1 when
something failed.
"""

import os
import subprocess
import sys
import tempfile

import numpy as np

import common

TOLERANCE = 2e-4
# A constant that the zeroed twin cannot change lies behind a Reshape, or is no float32.
NO_TWIN = {"mnist-8", "squeezenet1.0_fp16", "mobilenetv1_025_128_qdq_u8", "mnv4s_qat_int8"}
LARGE_MODELS_SECONDS = 300


def distance(a, b):
    """Largest difference relative to the largest magnitude, of float outputs."""
    worst = 0.0
    for x, y in zip(a, b):
        if x.dtype.kind == "f" and x.size:
            scale = np.abs(y.astype(np.float64)).max() + 1e-30
            worst = max(worst, float(np.abs(x.astype(np.float64) - y.astype(np.float64)).max() / scale))
    return worst


def check(tool, model, folder):
    """None, or what is wrong; "skipped: ..." for models that ONNX Runtime does not take as they are."""
    cut, zeroed = os.path.join(folder, "cut.onnx"), os.path.join(folder, "zeroed.onnx")
    paths = [model.path, cut] if model.name in NO_TWIN else [model.path, cut, zeroed]
    done = subprocess.run([tool, *paths, "--sparsity", "0.25"], capture_output=True, text=True,
                          timeout=LARGE_MODELS_SECONDS)
    if done.returncode != 0:
        return f"exit code {done.returncode}: {done.stderr[:200]}"
    if "removed in" not in done.stdout:
        return f"no note of what was removed: {done.stdout[:200]}"
    if common.checker_level(model.path) == 2 and common.checker_level(cut) < 2:
        return "the onnx checker refuses it"
    try:
        reference = common.session(model.path)
    except Exception as error:  # custom operators
        return f"skipped: {str(error)[:80]}"
    pruned = common.session(cut)
    feeds = model.feeds(False)[0][:1]
    if not feeds:
        return None
    whole, got = reference.run(None, feeds[0]), pruned.run(None, feeds[0])
    if [x.shape for x in whole] != [x.shape for x in got]:
        return "outputs have other shapes"
    if len(paths) == 3:
        if not os.path.exists(zeroed):
            return "no zeroed twin"
        off = distance(got, common.session(zeroed).run(None, feeds[0]))
        if not off <= TOLERANCE:
            return f"differs from the zeroed model by {off:.1e}"
    return None


def main():
    tool = common.build_tool("prune_tool")
    passed = failed = skipped = 0
    for model in common.all_models():
        if len(sys.argv) > 1 and model.name not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory() as folder:
            problem = check(tool, model, folder)
        if problem is None:
            passed += 1
        elif problem.startswith("skipped"):
            skipped += 1
            print(f"SKIP {model.name}: {problem}")
        else:
            failed += 1
            print(f"FAIL {model.name}: {problem}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
