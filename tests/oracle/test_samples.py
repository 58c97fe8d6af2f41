"""Samples, `vqc run` and `vqc eval` against NumPy, Pillow and ONNX Runtime.

Models of one Identity node give back what the samples are, so pictures, arrays and test data sets can be compared value
by value; small models with known outputs check the figures of `vqc eval`. Prints "N passed, N failed"; exit code 1
when something failed.
"""

import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper, numpy_helper
from PIL import Image

from common import ROOT

ort.set_default_logger_severity(4)
VQC = os.path.join(ROOT, os.environ.get("B", "build"), "vqc")
rng = np.random.default_rng(20261122)


class Checks:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    def expect(self, good, what):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print("FAIL", what)


checks = Checks()


def vqc(*arguments, code=0):
    done = subprocess.run([VQC, *map(str, arguments)], capture_output=True, timeout=300, check=False)
    checks.expect(done.returncode == code,
                  f"vqc {' '.join(map(str, arguments))}: exit code {done.returncode}: {done.stderr.decode()}")
    return done.stdout.decode(), done.stderr.decode()


def save(path, nodes, inputs, outputs, initializers=(), opset=17):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return path


def identity(path, dtype, *shapes, names=None):
    """y0 = x0, y1 = x1, ..."""
    names = names or [f"x{i}" for i in range(len(shapes))]
    nodes = [helper.make_node("Identity", [name], [f"y{i}"]) for i, name in enumerate(names)]
    inputs = [helper.make_tensor_value_info(name, dtype, shape) for name, shape in zip(names, shapes)]
    outputs = [helper.make_tensor_value_info(f"y{i}", dtype, shape) for i, shape in enumerate(shapes)]
    return save(path, nodes, inputs, outputs)


def run(model, data, *options):
    """The outputs of `vqc run` as a dict of arrays."""
    target = os.path.join(os.path.dirname(model), "out.npz")
    vqc("run", model, "-i", data, "-o", target, "--force", *options)
    return dict(np.load(target)) if os.path.exists(target) else {}


# ---- pictures ----


def noise(height, width, channels):
    """Smooth and sharp parts, so that filters show."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [127 + 90 * np.sin(x / (5.0 + c)) * np.cos(y / (4.0 + c)) for c in range(channels)]
    base = np.stack(planes, -1) + rng.normal(0, 20, (height, width, channels))
    return np.clip(base, 0, 255).astype(np.uint8)


def write_pictures(folder):
    """Pictures of every kind; the names sort in the order of writing."""
    os.makedirs(folder)
    made = []

    def add(name, image, **options):
        path = os.path.join(folder, f"{len(made):02d}_{name}")
        image.save(path, **options)
        made.append(path)

    add("rgb.png", Image.fromarray(noise(90, 121, 3)))
    add("rgba.png", Image.fromarray(noise(90, 121, 4), "RGBA"))
    add("grey.png", Image.fromarray(noise(121, 90, 1)[..., 0]))
    add("grey_alpha.png", Image.fromarray(noise(90, 95, 2), "LA"))
    add("palette.png", Image.fromarray(noise(90, 121, 3)).quantize(61))
    add("bits.png", Image.fromarray(noise(97, 90, 1)[..., 0] > 127))
    add("rgb.jpg", Image.fromarray(noise(100, 131, 3)), quality=92)
    add("grey.jpeg", Image.fromarray(noise(100, 90, 1)[..., 0]), quality=80)
    add("progressive.JPG", Image.fromarray(noise(110, 90, 3)), quality=75, progressive=True)
    add("cmyk.jpg", Image.fromarray(noise(91, 92, 3)).convert("CMYK"), quality=95)
    return made


def pillow(path, resize=None, crop=None, nearest=False, mode="RGB"):
    image = Image.open(path).convert(mode)
    if isinstance(resize, int):
        w, h = image.size
        resize = (resize, h * resize // w) if w <= h else (w * resize // h, resize)
        resize = (resize[1], resize[0])
    if nearest:  # Pillow adds rounding errors up where a pixel falls between two
        array = np.asarray(image)
        rows, columns = ((2 * np.arange(n) + 1) * side // (2 * n) for n, side in zip(resize, array.shape))
        return array[rows][:, columns]
    if resize:
        image = image.resize((resize[1], resize[0]), Image.BILINEAR)
    if crop:
        w, h = image.size
        left, top = (w - crop[1]) // 2, (h - crop[0]) // 2
        image = image.crop((left, top, left + crop[1], top + crop[0]))
    array = np.asarray(image)
    return array if array.ndim == 3 else array[..., None]


def test_pictures(work):
    folder = os.path.join(work, "pictures")
    paths = write_pictures(folder)
    cases = [
        ("resize=64,crop=48x56", {"resize": 64, "crop": (48, 56)}),
        ("resize=70x33", {"resize": (70, 33)}),
        ("resize=300x200,crop=100", {"resize": (300, 200), "crop": (100, 100)}),
        ("resize=40x250", {"resize": (40, 250)}),
        ("resize=61x77,filter=nearest", {"resize": (61, 77), "nearest": True}),
        ("crop=80", {"crop": (80, 80)}),
    ]
    model = identity(os.path.join(work, "nchw.onnx"), T.FLOAT, ["n", 3, "h", "w"])
    for options, arguments in cases:
        got = run(model, folder, "--image", options).get("y0", np.zeros((0,)))
        wanted = np.stack([pillow(p, **arguments).transpose(2, 0, 1)[None] for p in paths]).astype(np.float32)
        checks.expect(got.shape == wanted.shape, f"{options}: shape {got.shape}, expected {wanted.shape}")
        if got.shape != wanted.shape:
            continue
        for i, path in enumerate(paths):
            difference = np.abs(got[i] - wanted[i])
            if path.endswith(".png") and options != "resize=40x250":
                checks.expect(difference.max() == 0, f"{options} {path}: off by {difference.max()}")
            else:  # releases of the JPEG library round in their own way, and of Pillow in the order of the directions
                checks.expect(difference.max() <= 2 and difference.mean() < 0.3,
                              f"{options} {path}: off by {difference.max()}, mean {difference.mean()}")
    base = np.stack([pillow(p, crop=(80, 80))[None] for p in paths]).astype(np.float32)
    mean, std = np.array([104, 117, 123], np.float32), np.array([58.4, 57.1, 57.4])
    got = run(model, folder, "--image", "crop=80,order=bgr,mean=104:117:123,std=58.4:57.1:57.4")["y0"]
    wanted = ((base[..., ::-1] - mean) * (1 / std).astype(np.float32)).transpose(0, 1, 4, 2, 3)
    checks.expect(np.array_equal(got[:6], wanted[:6]), "bgr with mean and std")
    nhwc = identity(os.path.join(work, "nhwc.onnx"), T.FLOAT, [1, 80, 80, 3])
    got = run(nhwc, folder, "--image", "crop=80,mean=127.5,std=127.5")["y0"]
    checks.expect(np.array_equal(got[:6], ((base - np.float32(127.5)) * np.float32(1 / 127.5))[:6]), "nhwc")
    raw = identity(os.path.join(work, "raw.onnx"), T.UINT8, [3, 80, 80])
    got = run(raw, folder, "--image", "crop=80")["y0"]
    checks.expect(got.dtype == np.uint8 and np.array_equal(got[:6], base[:6, 0].transpose(0, 3, 1, 2)), "uint8, rank 3")
    grey = identity(os.path.join(work, "grey.onnx"), T.FLOAT16, ["n", 1, 80, 80])
    got = run(grey, folder, "--image", "crop=80,scale=0.25")["y0"]
    wanted = np.stack([pillow(p, crop=(80, 80), mode="L").transpose(2, 0, 1)[None] for p in paths[:3]]) * 0.25
    checks.expect(got.dtype == np.float16 and np.array_equal(got[[0, 2]], wanted[[0, 2]]), "grey, float16")
    test_bad_pictures(work, model, paths)


def test_bad_pictures(work, model, paths):
    """Broken and hostile files give an error that names them."""
    folder = os.path.join(work, "bad")
    os.makedirs(folder)
    target = os.path.join(folder, "a.png")
    good = open(paths[0], "rb").read()
    jpeg = open(paths[6], "rb").read()
    huge = bytearray(good)
    huge[16:24] = (60000).to_bytes(4, "big") * 2
    wide = bytearray(jpeg)
    at = wide.index(b"\xff\xc0")
    wide[at + 5:at + 9] = b"\xff\xdc\xff\xdc"
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 255
    cases = [good[:len(good) // 2], jpeg[:len(jpeg) // 2], good[:8], jpeg[:4], b"", b"GIF89a", bytes(huge), bytes(wide),
             bytes(flipped)]
    for number, data in enumerate(cases):
        with open(target, "wb") as file:
            file.write(data)
        _, problems = vqc("run", model, "-i", folder, "--image", "crop=8", code=3)
        checks.expect("a.png" in problems and problems.count("\n") == 1, f"bad picture {number}: {problems}")
    with open(target, "wb") as file:
        file.write(good)
    _, problems = vqc("run", model, "-i", folder, "--image", "crop=100", code=3)
    checks.expect("smaller than the crop" in problems, problems)
    _, problems = vqc("run", os.path.join(work, "nhwc.onnx"), "-i", folder, code=3)
    checks.expect("set resize or crop" in problems, problems)
    _, problems = vqc("run", os.path.join(work, "nhwc.onnx"), "-i", folder, "--image", "crop=64", code=2)
    checks.expect("crop makes pictures of 64x64" in problems, problems)


# ---- arrays ----


def test_arrays(work):
    model = identity(os.path.join(work, "two.onnx"), T.FLOAT, ["batch", 3, 4], ["batch", 2])
    a = rng.normal(size=(37, 3, 4))
    b = rng.integers(-100, 100, (37, 2))
    wanted = (a[:, None].astype(np.float32), b[:, None].astype(np.float32))
    path = os.path.join(work, "data.npz")
    forms = [
        ("batch axis", np.savez, {"x0": a, "x1": b}),
        ("deflated", np.savez_compressed, {"x0": a, "x1": b.astype(np.int8)}),
        ("leading axis", np.savez, {"x0": a[:, None].astype(np.float32), "x1": b[:, None].astype(np.float16)}),
        ("mixed axes", np.savez_compressed, {"x0": a, "x1": b[:, None]}),
        ("Fortran order", np.savez, {"x0": np.asfortranarray(a), "x1": np.asfortranarray(b)}),
        ("Fortran order, deflated", np.savez_compressed, {"x0": np.asfortranarray(a), "x1": b}),
        ("big-endian", np.savez, {"x0": a.astype(">f8"), "x1": b.astype(">i2")}),
    ]
    for name, writer, arrays in forms:
        writer(path, **arrays)
        for threads in (1, 3):
            got = run(model, path, "-j", threads)
            checks.expect(got.keys() == {"y0", "y1"} and np.array_equal(got["y0"], wanted[0]) and
                          np.array_equal(got["y1"], wanted[1]), f"{name}, {threads} threads")
    np.savez(path, x0=a, x1=b)
    got = run(model, path, "--samples", 5)
    checks.expect(np.array_equal(got["y0"], wanted[0][:5]), "--samples")
    single = identity(os.path.join(work, "one.onnx"), T.INT64, [2, 3])
    values = rng.integers(0, 1000, (10, 3)).astype(np.uint16)
    np.save(os.path.join(work, "one.npy"), values)
    got = run(single, os.path.join(work, "one.npy"))
    checks.expect(np.array_equal(got.get("y0"), values.reshape(5, 2, 3)), "npy in groups of a fixed batch")
    folder = os.path.join(work, "arrays")
    os.makedirs(folder)
    flexible = identity(os.path.join(work, "flexible.onnx"), T.FLOAT, ["n", "m"])
    for i in range(3):
        np.save(os.path.join(folder, f"{i}.npy"), np.full((2, 5), i, np.float32))
    got = run(flexible, folder)
    checks.expect(np.array_equal(got.get("y0"), np.arange(3.0)[:, None, None] * np.ones((1, 2, 5))), "folder of npy")


def write_tensor(path, array, name=""):
    with open(path, "wb") as file:
        file.write(numpy_helper.from_array(array, name).SerializeToString())


def test_tensors(work):
    model = identity(os.path.join(work, "pb.onnx"), T.FLOAT, ["n", 3], ["n", 2], names=["a", "b"])
    sets = os.path.join(work, "sets")
    wanted = []
    for i in range(3):
        folder = os.path.join(sets, f"test_data_set_{i}")
        os.makedirs(folder)
        a, b = rng.normal(size=(i + 1, 3)).astype(np.float32), rng.normal(size=(i + 1, 2)).astype(np.float32)
        wanted.append((a, b))
        write_tensor(os.path.join(folder, "input_0.pb"), a if i != 1 else b, "" if i != 1 else "b")
        write_tensor(os.path.join(folder, "input_1.pb"), b if i != 1 else a, "" if i != 1 else "a")
        write_tensor(os.path.join(folder, "output_0.pb"), a + np.float32(0.5))
        got = run(model, folder)
        checks.expect(np.array_equal(got.get("y0"), a) and np.array_equal(got.get("y1"), b), f"test_data_set_{i}")
    out, _ = vqc("eval", model, "-d", sets, "--json")
    result = json.loads(out)["accuracy"]
    checks.expect(result["samples"] == 3 and result["target_values"] == 18 and abs(result["mse"] - 0.25) < 1e-6,
                  f"targets of test data sets: {result}")
    _, problems = vqc("run", model, "-i", sets, "-o", os.path.join(work, "never.npz"), code=3)
    checks.expect("the shapes of samples 0 and 1 differ" in problems, problems)
    a, b = wanted[2]
    np.save(os.path.join(work, "b.npy"), b)
    one = identity(os.path.join(work, "pb1.onnx"), T.FLOAT, ["n", 3], names=["a"])
    target = os.path.join(work, "y.pb")
    source = os.path.join(sets, "test_data_set_2", "input_0.pb")
    vqc("run", one, "-i", source, "-o", target)
    tensor = onnx.load_tensor(target) if os.path.exists(target) else T()
    checks.expect(tensor.name == "y0" and np.array_equal(numpy_helper.to_array(tensor), a), "pb to pb")
    out = os.path.join(work, "named.npz")
    vqc("run", model, "-i", f"b={work}/b.npy", "-i", f"a={source}", "-o", out)
    got = np.load(out)
    checks.expect(np.array_equal(got["y0"], a) and np.array_equal(got["y1"], b), "inputs by name")


# ---- evaluation ----


def top_k(scores, labels, k):
    order = np.argsort(-scores, axis=-1, kind="stable")[:, :k]
    return int((order == labels[:, None]).any(-1).sum())


def test_accuracy(work):
    model = identity(os.path.join(work, "scores.onnx"), T.FLOAT, ["n", 12], names=["x0"])
    scores = np.round(rng.normal(size=(200, 12)), 1).astype(np.float32)  # rounded: ties
    labels = rng.integers(0, 12, 200)
    target = rng.normal(size=(200, 12)).astype(np.float32)
    path = os.path.join(work, "scores.npz")
    results = []
    for form in range(3):
        if form == 0:
            np.savez(path, x0=scores, labels=labels, target=target)
        elif form == 1:
            np.savez_compressed(path, x0=scores[:, None], labels=labels.astype(np.int32) + 1, targets=target)
        else:
            np.savez_compressed(path, x0=scores, labels=labels.astype(np.uint8), target=target)
        for threads in (1, 4):
            out, _ = vqc("eval", model, "-d", path, "--json", "-j", threads, "--label-offset", -int(form == 1))
            results.append(json.loads(out)["accuracy"])
    checks.expect(all(r == results[0] for r in results), "the same at every thread count and form")
    got = results[0]
    checks.expect(got["labelled"] == 200 and got["top1_hits"] == top_k(scores, labels, 1) and
                  abs(got["top5"] - top_k(scores, labels, 5) / 200) < 1e-9, f"top-1, top-5: {got}")
    mse = ((scores.astype(np.float64) - target) ** 2).mean()
    checks.expect(abs(got["mse"] - mse) < 1e-8 * mse, f"MSE: {got['mse']}, expected {mse}")
    labels[77] = 12
    np.savez(path, x0=scores, labels=labels)
    _, problems = vqc("eval", model, "-d", path, code=3)
    checks.expect("sample 77: label 12 is none of the output's 12 classes" in problems, problems)
    np.savez(path, x0=scores)
    _, problems = vqc("eval", model, "-d", path, code=2)
    checks.expect("has no labels" in problems, problems)


def test_perplexity(work):
    vocabulary, length = 40, 17
    table = rng.normal(size=(vocabulary, vocabulary)).astype(np.float32)
    model = save(os.path.join(work, "bigram.onnx"), [helper.make_node("Gather", ["table", "input_ids"], ["logits"])],
                 [helper.make_tensor_value_info("input_ids", T.INT64, ["batch", "seq"])],
                 [helper.make_tensor_value_info("logits", T.FLOAT, ["batch", "seq", vocabulary])],
                 [numpy_helper.from_array(table, "table")])
    ids = rng.integers(0, vocabulary, (9, length))
    path = os.path.join(work, "ids.npz")
    np.savez_compressed(path, input_ids=ids.astype(np.int32))
    out, _ = vqc("eval", model, "-d", path, "--json")
    got = json.loads(out)["accuracy"]
    logits = table.astype(np.float64)[ids[:, :-1]]
    log_sum = np.log(np.exp(logits).sum(-1))
    picked = np.take_along_axis(logits, ids[:, 1:, None], -1)[..., 0]
    wanted = float((log_sum - picked).mean())
    checks.expect(got["tokens"] == 9 * (length - 1) and abs(got["cross_entropy"] - wanted) < 1e-7,
                  f"cross entropy: {got}, expected {wanted}")
    checks.expect(abs(got["perplexity"] - np.exp(wanted)) < 1e-6 * np.exp(wanted), "perplexity")


def test_compare(work):
    """--ref: the same two nodes, one of them with a change."""
    info = helper.make_tensor_value_info

    def build(name, factor, dtype=T.FLOAT):
        constant = numpy_helper.from_array(np.array(factor, helper.tensor_dtype_to_np_dtype(dtype)), "f")
        nodes = [helper.make_node("Mul", ["x0", "f"], ["y"]),
                 helper.make_node("Cast", ["x0"], ["z"], to=T.INT32)]
        return save(os.path.join(work, name), nodes, [info("x0", dtype, ["n", 10])],
                    [info("y", dtype, ["n", 10]), info("z", T.INT32, ["n", 10])], [constant])

    x = rng.normal(size=(50, 10)).astype(np.float16).astype(np.float32)
    factor = (1 + 0.3 * rng.normal(size=10)).astype(np.float32)
    reference = build("ref.onnx", np.ones(10, np.float32))
    model = build("model.onnx", factor)
    path = os.path.join(work, "compare.npz")
    np.savez(path, x0=x)
    texts = []
    for threads in (1, 3):
        out, _ = vqc("eval", model, "--ref", reference, "-d", path, "--json", "-j", threads)
        texts.append({k: v for k, v in json.loads(out).items() if k != "time_ns"})
    checks.expect(texts[0] == texts[1], "comparison at 1 and 3 threads")
    y, z = texts[0]["outputs"]
    got = (x * factor).astype(np.float64)
    ref = x.astype(np.float64)
    sqnr = 10 * np.log10((ref ** 2).sum() / ((ref - got) ** 2).sum())
    cosine = (ref * got).sum() / np.sqrt((ref ** 2).sum() * (got ** 2).sum())
    checks.expect(abs(y["sqnr_db"] - sqnr) < 1e-4 and abs(y["cosine"] - cosine) < 1e-6, f"{y}: {sqnr}, {cosine}")
    checks.expect(abs(y["max_abs_error"] - np.abs(ref - got).max()) < 1e-6, "max error")
    checks.expect(y["rows"] == 50 and y["top1_equal"] == int((ref.argmax(-1) == got.argmax(-1)).sum()), "same top-1")
    checks.expect(z == {"name": "z", "dtype": "int32", "nonfinite": 0, "nonfinite_ref": 0, "values": 500, "equal": 500},
                  f"integers: {z}")
    half = build("half.onnx", np.ones(10), T.FLOAT16)
    out, _ = vqc("eval", half, "--ref", reference, "-d", path, "--json")
    y = json.loads(out)["outputs"][0]
    checks.expect(y["sqnr_db"] == "inf" and y["cosine"] == 1, f"float16 model of exact values: {y}")
    x[3, 4] = np.nan
    x[5, 6] = np.inf
    np.savez(path, x0=x)
    out, _ = vqc("eval", reference, "--ref", reference, "-d", path, "--json")
    y = json.loads(out)["outputs"][0]
    checks.expect(y["nonfinite"] == 2 and y["values"] == 498 and y["sqnr_db"] == "inf", f"the same NaN: {y}")
    factor[6] = 0  # inf * 0 = NaN: differs from the reference
    out, _ = vqc("eval", build("zero.onnx", factor), "--ref", reference, "-d", path, "--json")
    y = json.loads(out)["outputs"][0]
    checks.expect(y["sqnr_db"] is None and y["nonfinite"] == 2, f"a NaN of its own: {y}")


def main():
    with tempfile.TemporaryDirectory() as work:
        for test in (test_pictures, test_arrays, test_tensors, test_accuracy, test_perplexity, test_compare):
            folder = os.path.join(work, test.__name__)
            os.makedirs(folder)
            test(folder)
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
