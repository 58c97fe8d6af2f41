"""Input moments of sequential calibration (core/vq/sequence.h) against ONNX Runtime on zoo models.

sequence_tool walks a model and changes every layer a little; here ONNX Runtime runs the original and the changed model
up to the input of each layer, and NumPy takes the moments of all input vectors. Few samples are used, so that the walk
looks at all vectors, too.
"""
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ZOO = os.environ.get("VQC_ZOO", os.path.join(os.path.dirname(ROOT), "shared", "zoo"))
BUILD = os.environ.get("B", os.path.join(ROOT, "build"))
# model, samples, tolerance (magika's layer norm takes E[x^2] - E[x]^2 of rows that are almost constant, which no two
# float32 programs compute alike)
CASES = [("cifar_resnet_4b", 4, 1e-3), ("mnist_sigmoid_6x200", 8, 1e-3), ("cifar_vit_ibp_3_3_8", 8, 1e-3),
         ("magika_v3_3", 4, 1e-2), ("squeezenet1.0_fp32", 1, 1e-3), ("mobilenetv2_fp32_dithered", 1, 1e-3)]
MOST_COLUMNS = 1300


def vectors(x, node, shape):
    """[groups][vectors, cols] that the node multiplies with its weight."""
    attrs = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    x = x.astype(np.float64)
    if node.op_type != "Conv":
        if attrs.get("transA"):
            x = x.T
        return [x.reshape(-1, x.shape[-1])]
    kernel = shape[2:]
    space = len(kernel)
    strides = attrs.get("strides", [1] * space)
    dilations = attrs.get("dilations", [1] * space)
    pads = list(attrs.get("pads", [0] * (2 * space)))
    groups = attrs.get("group", 1)
    auto = attrs.get("auto_pad", b"NOTSET").decode()
    if auto.startswith("SAME"):
        for i in range(space):
            total = max(0, (-(-x.shape[2 + i] // strides[i]) - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1
                        - x.shape[2 + i])
            pads[i], pads[space + i] = total // 2, total - total // 2
            if auto == "SAME_LOWER":
                pads[i], pads[space + i] = pads[space + i], pads[i]
    x = np.pad(x, [(0, 0), (0, 0)] + [(pads[i], pads[space + i]) for i in range(space)])
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(2, 2 + space)))
    view = view[(slice(None), slice(None)) + tuple(slice(None, None, s) for s in strides)
                + tuple(slice(None, None, d) for d in dilations)]
    view = np.moveaxis(view, 1, 1 + space)  # n, places, channels, kernel
    places = int(np.prod(view.shape[:1 + space]))
    channels = x.shape[1]
    view = view.reshape(places, channels, int(np.prod(kernel)))
    size = channels // groups
    return [view[:, g * size:(g + 1) * size].reshape(places, -1) for g in range(groups)]


def session(model, names):
    model = onnx.ModelProto.FromString(model)
    have = {o.name for o in model.graph.output}
    for name in names:
        if name not in have:
            have.add(name)
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def close(got, want, scale, tolerance, what):
    worst = float(np.max(np.abs(got - want) / scale)) if want.size else 0.0
    assert worst < tolerance, f"{what}: off by {worst:.2e} of its scale"


def check_layer(tool_dir, fields, node, shape, x, y, tolerance):
    index, groups, cols, count = int(fields[1]), int(fields[5]), int(fields[6]), int(fields[7])

    def load(what, dtype, dims):
        path = os.path.join(tool_dir, f"{index}.{what}")
        return np.fromfile(path, dtype).reshape(dims) if os.path.exists(path) else np.zeros(dims, dtype)

    vx = [np.concatenate(parts) for parts in zip(*[vectors(v, node, shape) for v in x])]
    vy = [np.concatenate(parts) for parts in zip(*[vectors(v, node, shape) for v in y])]
    assert (len(vx), vx[0].shape[1]) == (groups, cols), (len(vx), vx[0].shape, groups, cols)
    assert len(vx[0]) == count, f"{len(vx[0])} vectors, looked at {count}"
    mean_x, mean_y = load("mean_x", "f8", (groups, cols)), load("mean_y", "f8", (groups, cols))
    power = load("power", "f8", (groups, cols))
    second, cross = load("second", "f4", (groups, cols, cols)), load("cross", "f4", (groups, cols, cols))
    rms = np.sqrt(np.mean([np.mean(v * v) for v in vx])) + 1e-30
    for g in range(groups):
        a, b = vx[g], vy[g]
        size = np.maximum(rms, np.sqrt(np.maximum((a * a).mean(0), (b * b).mean(0))))
        close(mean_x[g], a.mean(0), size, tolerance, "mean_x")
        close(mean_y[g], b.mean(0), size, tolerance, "mean_y")
        close(power[g], (a * a).mean(0), size * size, tolerance, "power")
        b0, d0 = b - b.mean(0), (a - b) - (a - b).mean(0)
        close(second[g], b0.T @ b0 / len(b), np.outer(size, size), tolerance, "second")
        close(cross[g], d0.T @ b0 / len(b), np.outer(size, size), tolerance, "cross")


def samples_of(npz, inputs, count):
    """The samples that the walk takes: evenly spread, one row of the batch axis or of a leading one each."""
    total = len(npz[inputs[0].name])
    out = []
    for i in range(count):
        feed = {}
        for port in inputs:
            array = npz[port.name]
            at = i * (total // count)
            feed[port.name] = array[at] if array.ndim > len(port.shape) else array[at:at + 1]
        out.append(feed)
    return out


def run_case(tool, name, count, tolerance, work):
    path = os.path.join(ZOO, "models", name + ".onnx")
    data = os.path.join(ZOO, "data", name + ".calib.npz")
    model = onnx.load(path)
    stored = {t.name: t for t in model.graph.initializer}
    stored.update({n.output[0]: n.attribute[0].t for n in model.graph.node
                   if n.op_type == "Constant" and n.attribute[0].name == "value"})
    plain = session(model.SerializeToString(), [])
    if not os.path.exists(data):
        rng = np.random.default_rng(5)
        data = os.path.join(work, "data.npz")
        np.savez(data, **{p.name: rng.normal(0, 50 if "squeeze" in name else 1,
                                             [count] + p.shape[1:]).astype("f4") for p in plain.get_inputs()})
    feeds = samples_of(np.load(data), plain.get_inputs(), count)
    lines = subprocess.run([tool, path, data, str(count), "2", work], check=True, capture_output=True,
                           text=True).stdout.splitlines()
    layers = [line.split() for line in lines if line.startswith("layer ")]
    for fields in layers:
        tensor = stored[fields[2]]
        values = np.fromfile(os.path.join(work, fields[1] + ".weights"), "f4")
        fields.append(list(tensor.dims))
        tensor.ClearField("float_data")
        tensor.raw_data = values.astype("f4").tobytes()
    seen = [f for f in layers if f[5] != "0" and int(f[6]) <= MOST_COLUMNS]
    names = sorted({f[3] for f in seen} - {p.name for p in plain.get_inputs()})
    original = session(onnx.load(path).SerializeToString(), names)
    coded = session(model.SerializeToString(), names)
    values = [[dict(zip(names, s.run(names, feed)), **feed) for feed in feeds] for s in (original, coded)]
    for fields in seen:
        node = next(n for n in model.graph.node if list(n.input[:2]) == [fields[3], fields[2]])
        try:
            check_layer(work, fields, node, fields[9], [v[fields[3]] for v in values[0]],
                        [v[fields[3]] for v in values[1]], tolerance)
        except AssertionError as error:
            raise AssertionError(f"{name} {fields[2]}: {error}") from error
    observed = sum(f[5] != "0" for f in layers)
    linear = sum(n.op_type in ("Conv", "Gemm", "MatMul") and len(n.input) > 1 and n.input[1] in stored
                 for n in model.graph.node)
    print(f"{name}: {observed} layers with moments of {len(layers)} ({linear} Conv, Gemm, MatMul), "
          f"{len(seen)} compared, {lines[-1]}")
    assert observed == linear, f"{name}: {observed} of {linear} layers with moments"


def main():
    tool = os.path.join(BUILD, "sequence_tool")
    only = sys.argv[1:]
    passed = failed = skipped = 0
    made = subprocess.run(["make", "-C", ROOT, f"B={BUILD}", tool], capture_output=True, text=True)
    if made.returncode != 0:
        print(made.stdout, made.stderr)
        print("0 passed, 1 failed")
        return 1
    for name, count, tolerance in CASES:
        if only and name not in only:
            continue
        if not os.path.exists(os.path.join(ZOO, "models", name + ".onnx")):
            skipped += 1
            continue
        try:
            with tempfile.TemporaryDirectory() as work:
                run_case(tool, name, count, tolerance, work)
            passed += 1
        except (AssertionError, subprocess.CalledProcessError) as error:
            print("FAIL", name, error, getattr(error, "stderr", "") or "")
            failed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
