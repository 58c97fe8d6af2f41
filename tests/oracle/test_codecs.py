#!/usr/bin/env python3
"""Small models x opsets x recipes through vqc, judged by the onnx checker and ONNX Runtime.

For each written model: exit code 0; never larger; the checker passes it in full; ONNX Runtime loads it; where the
decoded weights can be read out of it, they have the error that the report says, and the outputs are those of
the source model with these weights in place of its own (exactly, but for the order of sums, without graph
optimizations; within a bound with them). Where they cannot (subgraphs, functions, patterns that replace the
operator, dynamic activations), the outputs keep a bound against the source's.
"""

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import codec_cases  # noqa: E402
import common  # noqa: E402

VQC = os.path.abspath(os.environ.get("VQC") or os.path.join(os.environ.get("B") or os.path.join(common.ROOT, "build"),
                                                            "vqc"))

# name -> (settings, smallest SQNR of Gaussian weights in dB, looser bound of the outputs or None)
VARIANTS = {
    "int8": ([], 36, None),
    "int8-asym": (["weights.symmetric=false"], 36, None),
    "int8-tensor": (["weights.granularity=tensor"], 33, None),
    "int8-reduce": (["weights.reduce_range=true"], 30, None),
    "int8-dq": (["weights.pattern=dequantize_linear"], 36, None),
    "int8-speed": (["target.objective=speed"], 36, None),
    "int4-block": (["weights.bits=4", "weights.granularity=block", "weights.block_size=32"], 16, None),
    "int4-dq-block-asym": (["weights.bits=4", "weights.granularity=block", "weights.symmetric=false",
                            "weights.pattern=dequantize_linear"], 16, None),
    "int4-dq": (["weights.bits=4", "weights.pattern=dequantize_linear"], 13, None),
    "int4-foldable-mse": (["weights.bits=4", "weights.pattern=foldable", "weights.range=mse"], 15, None),
    "int2-block": (["weights.bits=2", "weights.granularity=block", "weights.block_size=16"], 3, None),
    "int3": (["weights.bits=3"], 6, None),
    "int5-asym": (["weights.bits=5", "weights.symmetric=false"], 18, None),
    "int6-percentile": (["weights.bits=6", "weights.range=percentile", "weights.percentile=99.9"], 18, None),
    "int16": (["weights.bits=16"], 70, None),
    "float16": (["weights.codec=float16"], 65, None),
    "bfloat16": (["weights.codec=bfloat16"], 48, None),
    "float8e4m3fn": (["weights.codec=float8e4m3fn"], 28, None),
    "float8e5m2-block": (["weights.codec=float8e5m2", "weights.granularity=block"], 22, None),
    "nbits4": (["weights.bits=4", "weights.granularity=block", "target.operators=onnxruntime"], 16, 11),
    "nbits8-asym": (["weights.symmetric=false", "target.operators=onnxruntime"], 36, 28),
    # 7 bits: with 8, sums of int16 overflow in the integer kernels of processors without VNNI.
    "dynamic": (["activations=dynamic", "weights.reduce_range=true"], 30, 24),
    "dynamic-ort": (["activations=dynamic", "weights.reduce_range=true", "target.operators=onnxruntime"], 30, 24),
    "dynamic-asym-ort": (["activations=dynamic", "weights.symmetric=false", "weights.reduce_range=true",
                          "target.operators=onnxruntime"], 30, 24),
    "vq-2x64": (["weights.codec=vq", "weights.dim=2", "weights.codebook_size=64"], 8, None),
    "vq-scalar": (["weights.codec=vq", "weights.dim=1", "weights.codebook_size=11"], 8, None),
    "vq-auto": (["weights.codec=vq", "weights.bits_per_weight=2.5"], 6, None),
    "vq-stages-groups": (["weights.codec=vq", "weights.dim=2", "weights.codebook_size=8", "weights.stages=2",
                          "weights.output_groups=3", "weights.input_groups=2", "weights.channel_scale=on"], 6, None),
    "vq-output-float32": (["weights.codec=vq", "weights.dim=3", "weights.codebook_size=60", "weights.along=output",
                           "weights.codebook_type=float32"], 6, None),
    "vq-input-int8": (["weights.codec=vq", "weights.dim=3", "weights.codebook_size=60", "weights.along=input",
                       "weights.codebook_type=int8", "weights.channel_scale=on"], 6, None),
    # 8-bit kernels quantize activations too
    "vq-speed": (["weights.codec=vq", "weights.dim=2", "weights.codebook_size=60", "target.objective=speed"], 8, 6),
    "keep": (["weights.codec=keep"], 0, None),
}
# Patterns that ONNX Runtime turns into int8 kernels with activations of 8 bits when it optimizes.
OPTIMIZED_BOUND_DB = 26
# Cases whose arithmetic is coarser than float32.
EXACT_DB = {"matmul_float16": 50}
def session(model, optimize):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model, feeds, optimize):
    return [np.asarray(out, np.float64) for out in session(model, optimize).run(None, feeds)]


def worst_sqnr(reference, measured):
    return min(common.sqnr_db(r, m) for r, m in zip(reference, measured))


def stored_weights(model):
    """Float constants of the main graph: name -> TensorProto."""
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = node.attribute[0].t
    return found


def decoded_weights(written, names):
    """What the written model makes of its weights, computed by ONNX Runtime."""
    probe = onnx.ModelProto()
    probe.CopyFrom(written)
    made = {output: node for node in probe.graph.node for output in node.output}
    names = [name for name in names if name in made]
    if not names:
        return {}
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    # Only what the weights need stays, so that they can be computed without any input.
    needed, stack = set(), list(names)
    while stack:
        node = made.get(stack.pop())
        if node is not None and id(node) not in needed:
            needed.add(id(node))
            stack.extend(node.input)
    nodes = [node for node in probe.graph.node if id(node) in needed]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del probe.graph.node[:]
    del probe.graph.input[:]
    probe.graph.node.extend(kept)
    probe.ir_version = max(probe.ir_version, 4)  # where initializers need not be inputs
    return dict(zip(names, session(probe, False).run(None, {})))


def with_weights(source, decoded):
    """The source model with the decoded weights in place of its own."""
    model = onnx.ModelProto()
    model.CopyFrom(source)
    for name, tensor in stored_weights(model).items():
        if name in decoded:
            assert list(tensor.dims) == list(decoded[name].shape), name
            tensor.CopyFrom(numpy_helper.from_array(decoded[name], tensor.name))
    return model


def is_bfloat16(tensor):
    return tensor.data_type == onnx.TensorProto.BFLOAT16


def compress(path, out, settings, report):
    command = [VQC, "compress", path, "-o", out, "--report", report, "--force", "-q", "-j", "1"]
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise AssertionError(f"exit code {done.returncode}: {done.stderr.strip()}")
    with open(report, encoding="utf-8") as stream:
        return json.load(stream)


def want(condition, message):
    if not condition:
        raise AssertionError(message)


def check(name, case, opset, variant, folder):
    """Raises AssertionError with what is wrong; returns how many layers were coded."""
    coded, written = compare(name, case, opset, variant, folder)
    try:
        onnx.checker.check_model(written, full_check=True)
    except Exception as problem:  # the checker raises many types
        raise AssertionError(f"checker: {str(problem).strip().splitlines()[0]}") from problem
    return coded


def compare(name, case, opset, variant, folder):
    """Everything but the checker; returns how many layers were coded, and the written model."""
    settings, weight_db, loose_db = VARIANTS[variant]
    source = case.model(opset)
    stem = os.path.join(folder, f"{name}-{opset}-{variant}")
    onnx.save(source, stem + ".onnx")
    report = compress(stem + ".onnx", stem + ".out.onnx", settings, stem + ".json")
    size = os.path.getsize(stem + ".out.onnx")
    want(size <= os.path.getsize(stem + ".onnx"), f"larger: {size}")
    want(size == report["after"]["total_bytes"], f"report says {report['after']['total_bytes']} bytes, file has {size}")
    written = onnx.load(stem + ".out.onnx")
    expected = run(source, case.feeds, False)
    plain = run(written, case.feeds, False)
    fast = run(written, case.feeds, True)
    coded = [layer for layer in report["layers"] if layer["status"] == "coded"]
    if not coded:
        want(worst_sqnr(expected, plain) == np.inf, "nothing was coded, but the outputs differ")
        return 0, written
    for layer in coded:
        want(layer["metrics"]["sqnr_db"] is None or layer["metrics"]["sqnr_db"] >= weight_db,
             f"{layer['name']}: {layer['metrics']['sqnr_db']} dB, wanted {weight_db}")
    stored = stored_weights(source)
    decoded = {key: value for key, value in
               decoded_weights(written, [layer["name"] for layer in coded if layer["scope"] == ""
                                         and layer["name"] in stored
                                         and not is_bfloat16(stored[layer["name"]])]).items()}
    for layer in coded:
        if layer["name"] in decoded and layer["scope"] == "" and layer["metrics"]["sqnr_db"] is not None:
            measured = common.sqnr_db(numpy_helper.to_array(stored[layer["name"]]), decoded[layer["name"]])
            want(abs(measured - layer["metrics"]["sqnr_db"]) < 0.01,
                 f"{layer['name']}: report {layer['metrics']['sqnr_db']} dB, measured {measured}")
    bound = (loose_db if loose_db is not None else weight_db - 6)
    if len(decoded) == len(coded):
        expected = run(with_weights(source, decoded), case.feeds, False)
        exact = worst_sqnr(expected, plain)
        wanted = EXACT_DB.get(name, 90)
        want(exact >= wanted, f"not the model with the decoded weights: {exact:.1f} dB, wanted {wanted}")
        bound = OPTIMIZED_BOUND_DB if loose_db is None else loose_db
    got = worst_sqnr(expected, plain)
    want(got >= bound, f"outputs {got:.1f} dB, wanted {bound}")
    got = worst_sqnr(expected, fast)
    want(got >= bound, f"optimized outputs {got:.1f} dB, wanted {bound}")
    return len(coded), written


def jobs():
    """Each case with each variant at one of its opsets in turn, and with int8 at all of them."""
    for number, (name, build, opsets) in enumerate(codec_cases.CASES):
        for place, variant in enumerate(VARIANTS):
            for opset in opsets if variant == "int8" else [opsets[(number + place) % len(opsets)]]:
                yield name, build(opset), opset, variant


def main():
    ort.set_default_logger_severity(4)
    codec_cases.check_all()
    passed, failed, skipped = 0, 0, 0
    coded = {}
    wanted = set(sys.argv[1:])  # names of cases or variants to look at alone
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        def one(job):
            name, case, opset, variant = job
            try:
                return job, check(name, case, opset, variant, folder), None
            except Exception as problem:  # any is a failure of this job
                return job, 0, f"{type(problem).__name__}: {problem}"
        chosen = [job for job in jobs() if not wanted or job[0] in wanted or job[3] in wanted]
        for (name, _, opset, variant), layers, problem in pool.map(one, chosen):
            coded[name] = coded.get(name, 0) + layers
            passed += problem is None
            failed += problem is not None
            if problem is not None:
                print(f"FAIL {name} opset {opset} {variant}: {problem.splitlines()[0][:300]}")
    for name, layers in coded.items():  # a case in which nothing is ever coded shows nothing
        passed += layers > 0
        failed += layers == 0
        if layers == 0:
            print(f"FAIL {name}: no recipe coded anything")
    common.summary(passed, failed, skipped)


if __name__ == "__main__":
    main()
