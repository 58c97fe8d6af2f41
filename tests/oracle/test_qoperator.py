"""QOperator models against the QDQ models of the same decisions, on models of the zoo.

configs/int8-static.yaml and configs/int8-qoperator.yaml decide alike, so both models must compute the same up to the
rounding of single codes: in ONNX Runtime (the QDQ model without its optimizer) and by `vqc run`. The QOperator model
must pass the full check where it is pure ai.onnx, have no float Conv, and import com.microsoft only on request.
Without the zoo everything is skipped. Prints "N passed, N failed, N skipped".
"""

import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx

import common

VQC = os.path.abspath(os.environ.get("VQC") or os.path.join(common.ROOT, os.environ.get("B", "build"), "vqc"))
# Model, smallest number of operators on codes, least SQNR between the two models. A code that rounds to the other
# side changes the codes behind it, so deeper models agree less than shallow ones.
MODELS = [("cifar_resnet_4b", 13, 60), ("cifar10_tutorial_cnn", 6, 50), ("mnist-8", 5, 50), ("iris_mlp", 2, 40),
          ("mnist_sigmoid_6x200", 7, 60)]
ON_CODES = {"QLinearConv", "QLinearMatMul", "MatMulInteger", "QGemm", "QLinearAdd", "QLinearMul", "QLinearSigmoid",
            "QLinearLeakyRelu", "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearConcat", "MaxPool", "Reshape",
            "Concat", "Transpose", "Flatten"}
INTEGER = {"QLinearConv", "QLinearMatMul", "MatMulInteger", "QGemm"}


def compress(source, config, data, target, *more):
    subprocess.run([VQC, "compress", source, "-c", os.path.join(common.ROOT, "configs", config), "--calib", data, "-o",
                    target, "--force", "-j", "1", *more], check=True, capture_output=True)


def run_vqc(path, feed, folder):
    given = os.path.join(folder, "in.npz")
    got = os.path.join(folder, "out.npz")
    np.savez(given, **feed)
    subprocess.run([VQC, "run", path, "-i", given, "-o", got, "--force"], check=True, capture_output=True)
    return list(np.load(got).values())


def check(name, least, floor, operators, folder, zoo):
    source = os.path.join(zoo, "models", name + ".onnx")
    data = os.path.join(zoo, "data", name + ".calib.npz")
    qdq, qop = (os.path.join(folder, kind + ".onnx") for kind in ("qdq", "qop"))
    more = ["--set", "target.operators=" + operators]
    compress(source, "int8-static.yaml", data, qdq, *more)
    compress(source, "int8-qoperator.yaml", data, qop, *more)
    graph = onnx.load(qop)
    ops = [node.op_type for node in graph.graph.node]
    wrong = []
    used = any(node.domain == "com.microsoft" for node in graph.graph.node)
    imported = any(opset.domain == "com.microsoft" for opset in graph.opset_import)
    if used != imported or (operators == "standard" and used):
        wrong.append(f"com.microsoft used {used}, imported {imported}")
    if not used and common.checker_level(qop) < 2:
        wrong.append("fails the checker")
    if "Conv" in ops or "Gemm" in ops:
        wrong.append("a float Conv or Gemm is left")
    integers = sum(op in INTEGER for op in ops)
    on_codes = sum(op in ON_CODES for op in ops)
    if integers == 0 or on_codes < least:
        wrong.append(f"{on_codes} operators on codes, {integers} products, wanted {least}")
    if os.path.getsize(qop) > os.path.getsize(qdq):
        wrong.append("larger than the QDQ model")
    feeds = common.Model(name, source, data, zoo).feeds(False)[0][:8]
    reference = [common.session(qdq, optimize=False).run(None, feed) for feed in feeds]
    optimized = common.run(qop, feeds)
    plain = [common.session(qop, optimize=False).run(None, feed) for feed in feeds]
    ours = [run_vqc(qop, feed, folder) for feed in feeds]
    values = []
    for label, got in (("ONNX Runtime", optimized), ("its operators one by one", plain), ("vqc run", ours)):
        db = common.sqnr_db(np.concatenate([o.ravel() for r in reference for o in r]),
                            np.concatenate([o.ravel() for r in got for o in r]))
        values.append(f"{db:.0f}")
        if not db >= floor:
            wrong.append(f"{label}: {db:.1f} dB to the QDQ model, wanted {floor}")
    print(f"{'ok  ' if not wrong else 'FAIL'} {name} ({operators}): {integers} products, {on_codes} on codes, "
          f"{'/'.join(values)} dB {'; '.join(wrong)}")
    return not wrong


def main():
    zoo = common.zoo_folder()
    passed = failed = skipped = 0
    for name, least, floor in MODELS:
        for operators in ("standard", "onnxruntime"):
            if zoo is None or not os.path.exists(os.path.join(zoo, "models", name + ".onnx")):
                skipped += 1
                continue
            with tempfile.TemporaryDirectory() as folder:
                try:
                    good = check(name, least, floor, operators, folder, zoo)
                except subprocess.CalledProcessError as error:
                    print(f"FAIL {name} ({operators}): {error.stderr.decode(errors='replace').strip()}")
                    good = False
            passed += good
            failed += not good
    sys.stdout.flush()
    common.summary(passed, failed, skipped)


if __name__ == "__main__":
    main()
