"""Vector quantization against uniform GPTQ of the same bytes, on layers of the zoo with the second moments of their
real inputs: layer-output SQNR, 10 log10 tr(W H W^T) / tr(E H E^T).

    vq_layers.py --tool build/vq_fit_tool --work build/bench/vq [--bits 2,3] [--models A,B] [--block 64] [--every 3]

H is the covariance of the layer's input columns (im2col patches of a convolution, subsampled) over pictures or
calibration samples. Uniform: float16 scale and zero point per row or per 64 columns, both searched by the squared error
weighted with diag(H), then error feedback and four sweeps of coordinate descent: the same code as vector quantization
has. Bytes are what a file needs: indices at ceil(log2 K) bits, codebooks, scales. Vector quantization is taken at the
same bytes by linear interpolation between the two neighbouring points (bytes, dB) of its frontier.
"""

import argparse
import os
import subprocess

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "oracle"))
import common  # noqa: E402

MODELS = ["squeezenet1.0_fp32", "mobilenetv2_fp32_dithered", "cifar_resnet_4b", "magika_v3_3", "mnist_sigmoid_6x200",
          "aidreams_llama_233k", "dnsmos_sig_bak_ovr"]
SAMPLES = 32
COLUMNS = 12000  # input vectors per layer
LEAST_WEIGHTS, MOST_COLS, MOST_LAYERS = 4096, 1200, 8


def attributes(node):
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def layers_of(model):
    """(node, W [rows, cols], kind) of ungrouped convolutions, Gemm and MatMul with constant weights."""
    constants = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2 or node.input[1] not in constants:
            continue
        w = numpy_helper.to_array(constants[node.input[1]])
        a = attributes(node)
        if w.dtype != np.float32 or (node.op_type == "Conv" and (w.ndim != 4 or a.get("group", 1) != 1)):
            continue
        if node.op_type != "Conv":
            if w.ndim != 2 or a.get("transA", 0) or node.input[0] in constants:
                continue
            w = w if a.get("transB", 0) else w.T
        w = np.ascontiguousarray(w.reshape(w.shape[0], -1))
        if w.size >= LEAST_WEIGHTS and w.shape[1] <= MOST_COLS and w.std() > 0:
            yield node, w, a


def patches(x, node, a, shape, rng, most):
    """Input vectors [n, cols] of one batch, at most `most` of them."""
    if node.op_type != "Conv":
        x = x.reshape(-1, x.shape[-1])
        return x[rng.permutation(len(x))[:most]]
    kh, kw = a.get("kernel_shape", shape[2:])
    sh, sw = a.get("strides", [1, 1])
    dh, dw = a.get("dilations", [1, 1])
    pads = a.get("pads", [0, 0, 0, 0])
    auto = a.get("auto_pad", b"NOTSET")
    if auto not in (b"NOTSET", b"VALID"):
        total = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
                 for n, s, k, d in zip(x.shape[2:], (sh, sw), (kh, kw), (dh, dw))]
        low = [t // 2 if auto == b"SAME_UPPER" else t - t // 2 for t in total]
        pads = [low[0], low[1], total[0] - low[0], total[1] - low[1]]
    x = np.pad(x, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    oh = (x.shape[2] - (kh - 1) * dh - 1) // sh + 1
    ow = (x.shape[3] - (kw - 1) * dw - 1) // sw + 1
    where = rng.permutation(len(x) * oh * ow)[:most]
    n, i, j = where // (oh * ow), where // ow % oh, where % ow
    rows = (i * sh)[:, None, None] + (np.arange(kh) * dh)[None, :, None]
    cols = (j * sw)[:, None, None] + (np.arange(kw) * dw)[None, None, :]
    return x[n[:, None, None, None], np.arange(x.shape[1])[None, :, None, None], rows[:, None], cols[:, None]].reshape(
        len(where), -1)


def collect(name, zoo, work):
    """Writes NAME.INDEX.W and .H; returns [(label, rows, cols, prefix)]."""
    path = os.path.join(zoo, "models", name + ".onnx")
    common.LABELLED_SAMPLES = common.FEW_SAMPLES = SAMPLES
    feeds, _, _ = common.Model(name, path, os.path.join(zoo, "data", name + ".calib.npz"), zoo).feeds(True)
    model = onnx.load(path)
    shapes = {t.name: t.dims for t in model.graph.initializer}
    found = list(layers_of(model))
    found = [found[i] for i in sorted({round(k) for k in np.linspace(0, len(found) - 1, min(len(found), MOST_LAYERS))})]
    known = {o.name for o in model.graph.output} | {i.name for i in model.graph.input}
    wanted = list(dict.fromkeys(node.input[0] for node, _, _ in found))
    for value in wanted:
        if value not in known:
            model.graph.output.append(onnx.ValueInfoProto(name=value))
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(1)
    sums = [[0, 0.0, 0.0] for _ in found]
    batches = sum(1 for _ in feeds)
    for feed in feeds:
        values = dict(zip(wanted, session.run([v for v in wanted if v not in feed], feed)))
        values.update({k: v for k, v in feed.items() if k in wanted})
        for (node, w, a), s in zip(found, sums):
            x = patches(values[node.input[0]], node, a, shapes[node.input[1]], rng, COLUMNS // batches).astype(np.float64)
            s[0] += len(x)
            s[1] = s[1] + x.sum(0)
            s[2] = s[2] + x.T @ x
    result = []
    for index, ((node, w, _), (count, total, squares)) in enumerate(zip(found, sums)):
        h = squares / count - np.outer(total / count, total / count)
        if not np.trace(h) > 0:
            continue
        prefix = os.path.join(work, f"{name}.{index}")
        w.tofile(prefix + ".W")
        h.astype(np.float32).tofile(prefix + ".H")
        result.append((f"{name} {node.op_type} {w.shape[0]}x{w.shape[1]}", w.shape[0], w.shape[1], prefix))
    return result


class Tool:
    """The compiled tool as a process that answers line by line."""

    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words):
        self.process.stdin.write(" ".join(str(w) for w in words) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        if not answer or answer[0] != "ok":
            raise RuntimeError(f"{words}: {' '.join(answer)}")
        return float(answer[1]), float(answer[2])


def uniform_grid(w, weight, bits, block):
    """Scales and zero points [rows, blocks] with the least weighted squared error of plain rounding."""
    rows, cols = w.shape
    block = block or cols
    blocks = -(-cols // block)
    top = 2 ** bits - 1
    scales = np.zeros((rows, blocks), np.float32)
    zeros = np.zeros((rows, blocks), np.int32)
    for b in range(blocks):
        part, pw = w[:, b * block:(b + 1) * block], weight[b * block:(b + 1) * block]
        span = np.maximum(part.max(1) - part.min(1), 1e-12)
        best = np.full(rows, np.inf)
        for zero in range(top + 1) if bits == 2 else range(top // 2 - 1, top // 2 + 4):
            for share in np.linspace(0.3, 1.3, 26):
                s = (span * share / top).astype(np.float16).astype(np.float32)
                s = np.maximum(s, 1e-7)
                q = np.clip(np.rint(part / s[:, None]) + zero, 0, top)
                error = (((q - zero) * s[:, None] - part) ** 2 * pw).sum(1)
                better = error < best
                best[better], scales[better, b], zeros[better, b] = error[better], s[better], zero
    return scales, zeros


def shape_bytes(rows, cols, dim, down, bits, stages, scales):
    vectors = cols * -(-rows // dim) if down else rows * -(-cols // dim)
    return stages * ((vectors * bits + 7) // 8 + 2 ** bits * dim + 4) + (2 * rows if scales else 0)


def at_bytes(points, size):
    """The frontier of (bytes, dB) at `size`, and the best point that is not larger."""
    points = sorted(points)
    hull, best = [], -1e9
    for p in points:
        if p[1] > best:
            hull.append(p)
            best = p[1]
    below = [p for p in hull if p[0] <= size]
    above = [p for p in hull if p[0] > size]
    strict = below[-1][1] if below else float("nan")
    if not below or not above:
        return strict, strict
    (x0, y0), (x1, y1) = below[-1][:2], above[0][:2]
    return y0 + (y1 - y0) * (size - x0) / (x1 - x0), strict


def measure_uniform(tool, layer, w, h, reference, bits, block, work):
    """(bytes, dB) of error feedback with four sweeps on a uniform grid."""
    _, rows, cols, prefix = layer
    scales, zeros = uniform_grid(w, np.diag(h), bits, block)
    scales.tofile(os.path.join(work, "scales"))
    zeros.tofile(os.path.join(work, "zeros"))
    loss, _ = tool.ask("uniform", rows, cols, 1, prefix + ".W", prefix + ".H", os.path.join(work, "scales"),
                       os.path.join(work, "zeros"), block, 0, 2 ** bits - 1, 4, 1, "-")
    size = (rows * cols * bits + 7) // 8 + scales.size * 2 + (scales.size * bits + 7) // 8
    return size, 10 * np.log10(reference / loss)


def candidates(rows, cols, bits, target):
    """Shapes near `bits` bits per weight: sub-vectors of dim with dim * bits index bits, one more and one less."""
    result = []
    n = rows * cols
    for dim in (2, 3, 4, 6):
        for index_bits in range(max(1, dim * bits - 2), min(13, dim * bits + 2)):
            if 2 ** index_bits > n / dim / 4:
                continue
            for scales in (0, 1):
                size = shape_bytes(rows, cols, dim, 0, index_bits, 1, scales)
                if 0.75 * target <= size <= 1.2 * target:
                    result.append((dim, 0, index_bits, 1, scales, size))
    return result


def label_of(shape):
    dim, down, bits, stages, scales, _ = shape
    return f"d{dim} K{2 ** bits}" + (f" x{stages}" if stages > 1 else "") + (" rows" if scales else "") + (
        " down" if down else "")


def measure_layer(tool, layer, bits, work, block):
    """Row of the table: uniform, vector quantization at the same bytes, the limit."""
    name, rows, cols, prefix = layer
    w = np.fromfile(prefix + ".W", np.float32).reshape(rows, cols)
    h = np.fromfile(prefix + ".H", np.float32).reshape(cols, cols)
    wide = w.astype(np.float64)
    reference = float(((wide @ h) * wide).sum())
    size, uniform = measure_uniform(tool, layer, w, h, reference, bits, block, work)
    points = []
    for shape in candidates(rows, cols, bits, size):
        dim, down, index_bits, stages, scales, shape_size = shape
        loss, _ = tool.ask("fit", rows, cols, 1, prefix + ".W", prefix + ".H", "-", dim, down, 2 ** index_bits, stages,
                           1, 1, scales, 2, "-", "-", 1, 1, "-")
        points.append((shape_size, 10 * np.log10(reference / loss), label_of(shape)))
    same, strict = at_bytes(points, size)
    best = max((p for p in points if p[0] <= size), key=lambda p: p[1], default=(0, 0, "-"))
    (w.astype(np.float64).var(1)).astype(np.float32).tofile(os.path.join(work, "variances"))
    limit, _ = tool.ask("waterfill", rows, cols, 1, prefix + ".H", os.path.join(work, "variances"),
                        8 * size / (rows * cols))
    return name, bits, 8 * size / (rows * cols), uniform, same, strict, best[2], 10 * np.log10(reference / limit)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--tool", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--bits", default="2,3")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--block", type=int, default=0, help="columns per scale of the uniform codes, 0: the row")
    parser.add_argument("--every", type=int, default=1, help="take every n-th layer")
    options = parser.parse_args()
    zoo = common.zoo_folder()
    if zoo is None:
        print("skipped: no zoo")
        return
    os.makedirs(options.work, exist_ok=True)
    tool = Tool(options.tool)
    layers = [layer for name in options.models.split(",") for layer in collect(name, zoo, options.work)]
    print("layer, bits per weight of uniform, dB: uniform, vq at the same bytes, vq not larger (shape), limit", flush=True)
    for bits in map(int, options.bits.split(",")):
        rows = []
        for layer in layers[::options.every]:
            row = measure_layer(tool, layer, bits, options.work, options.block)
            if np.isfinite(row[4]):
                rows.append(row)
                print(f"{row[0]:44s} {row[2]:5.2f} {row[3]:6.2f} {row[4]:6.2f} {row[5]:6.2f} ({row[6]}) {row[7]:6.2f}",
                      flush=True)
        if rows:
            gain = np.array([r[4] - r[3] for r in rows])
            strict = np.array([r[5] - r[3] for r in rows])
            gap = np.array([r[7] - r[4] for r in rows])
            print(f"{bits} bits, {len(rows)} layers: vq at the same bytes {gain.mean():+.2f} dB (not larger "
                  f"{strict.mean():+.2f}), least {gain.min():+.2f}; below the limit {gap.mean():.2f} dB", flush=True)


if __name__ == "__main__":
    main()
