"""What the oracle tests share: the model zoo, its data, ONNX Runtime sessions, and error measures."""

import csv
import hashlib
import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))

ort.set_default_logger_severity(4)

# Sample limits: enough to see an error, few enough for a test that runs on every change.
FEW_SAMPLES = 6
SLOW_MODELS = {"fns_mosaic": 1, "ppocr_v3_det": 1, "ppocr_v2_det_prune": 1, "yolox_nano": 2, "super_resolution_10": 1,
               "yolox_nano_extdata": 2, "basic_pitch": 2, "dnsmos_sig_bak_ovr": 1, "ultraface_rfb_320": 3}
LABELLED_SAMPLES = 500
# Preprocessing of the pictures: size, offset of the output class against the label.
PICTURE_MODELS = {
    "squeezenet1.0_fp32": ("caffe", 224, 0),
    "squeezenet1.0_fp16": ("caffe", 224, 0),
    "mobilenetv2_fp32_dithered": ("tf", 224, 1),
    "mobilenetv1_025_128_qdq_u8": ("tf", 128, 1),
    "mnv4s_qat_int8": ("raw", 224, None),
}


class Model:
    """One model of the zoo or of examples/, with its evaluation data."""

    def __init__(self, name, path, data=None, zoo=None):
        self.name = name
        self.path = path
        self.data = data
        self.zoo = zoo

    def graph_inputs(self):
        """Inputs that are not initializers: name -> list of int (fixed) or None."""
        model = onnx.load(self.path, load_external_data=False)
        constants = {tensor.name for tensor in model.graph.initializer}
        result = {}
        for value in model.graph.input:
            if value.name not in constants:
                dims = value.type.tensor_type.shape.dim
                result[value.name] = [d.dim_value if d.dim_value > 0 else None for d in dims]
        return result

    def size_bytes(self):
        return model_size(self.path)

    def feeds(self, full):
        """(list of input dicts, labels or None, class offset). full: all labelled samples, otherwise a few."""
        if self.name in PICTURE_MODELS and self.zoo:
            return self._picture_feeds(full)
        if not self.data or not os.path.exists(self.data):
            return [], None, 0
        arrays = dict(np.load(self.data))
        labels = arrays.pop("labels", None)
        inputs = self.graph_inputs()
        unknown = set(arrays) - set(inputs)
        if unknown:
            raise ValueError(f"{self.data}: arrays {sorted(unknown)} are not inputs of {self.path}")
        count = len(next(iter(arrays.values())))
        if full and labels is not None:
            count = min(count, LABELLED_SAMPLES)
        else:
            count = min(count, SLOW_MODELS.get(self.name, FEW_SAMPLES))
        leading = all(arrays[key].ndim == len(inputs[key]) + 1 for key in arrays)
        if leading:
            feeds = [{key: np.asarray(arrays[key][i]) for key in arrays} for i in range(count)]
        elif all(inputs[key][0] is None for key in arrays):
            step = 100
            feeds = [{key: arrays[key][i:min(i + step, count)] for key in arrays} for i in range(0, count, step)]
        else:
            feeds = [{key: arrays[key][i:i + 1] for key in arrays} for i in range(count)]
        return feeds, None if labels is None else labels[:count], 0

    def _picture_feeds(self, full):
        from PIL import Image
        kind, size, offset = PICTURE_MODELS[self.name]
        folder = os.path.join(self.zoo, "data", "imagenet")
        rows = [line.rstrip("\n").split("\t") for line in open(os.path.join(folder, "labels.tsv"), encoding="utf-8")]
        rows = [row for row in rows if row[1].isdigit()]
        count = LABELLED_SAMPLES if full and offset is not None else FEW_SAMPLES
        # Spread over the list, which may be sorted by class.
        rows = rows[::max(1, len(rows) // count)][:count]
        name = next(iter(self.graph_inputs()))
        dtype = np.float16 if self.name.endswith("fp16") else np.float32
        feeds = []
        for row in rows:
            picture = Image.open(os.path.join(folder, row[0])).convert("RGB")
            left, top = (picture.width - 224) // 2, (picture.height - 224) // 2
            picture = picture.crop((left, top, left + 224, top + 224))
            if size != 224:
                picture = picture.resize((size, size), Image.BILINEAR)
            pixels = np.asarray(picture)
            if kind == "caffe":
                pixels = pixels[:, :, ::-1].astype(np.float32) - np.array([104, 117, 123], np.float32)
            elif kind == "tf":
                pixels = pixels.astype(np.float32) / 127.5 - 1
            pixels = pixels.transpose(2, 0, 1)[None]
            feeds.append({name: np.ascontiguousarray(pixels.astype(np.uint8 if kind == "raw" else dtype))})
        labels = np.array([int(row[1]) for row in rows]) if offset is not None else None
        return feeds, labels, offset or 0


def zoo_folder():
    """$VQC_ZOO, or ../shared/zoo beside the project; None when there is no zoo."""
    folder = os.environ.get("VQC_ZOO") or os.path.join(ROOT, "..", "shared", "zoo")
    return os.path.abspath(folder) if os.path.isdir(os.path.join(folder, "models")) else None


def all_models():
    """The shipped example and, where it is there, the zoo."""
    models = []
    example = os.path.join(ROOT, "examples", "lenet5.onnx")
    if os.path.exists(example):
        data = os.path.join(ROOT, "examples", "lenet5.eval.npz")
        models.append(Model("lenet5", example, data if os.path.exists(data) else None))
    zoo = zoo_folder()
    for part in ("models", "edge") if zoo else ():
        for file in sorted(os.listdir(os.path.join(zoo, part))):
            if file.endswith(".onnx"):
                name = file[:-5]
                models.append(Model(name, os.path.join(zoo, part, file),
                                    os.path.join(zoo, "data", name + ".eval.npz"), zoo))
    return models


def tensors_of(model):
    """Every tensor of a loaded model, with a name that says where it is: main graph, subgraphs, functions."""
    def of_nodes(nodes, scope):
        for number, node in enumerate(nodes):
            for attribute in node.attribute:
                where = f"{scope}/{node.name or node.op_type}#{number}.{attribute.name}"
                if attribute.HasField("t"):
                    yield where, attribute.t
                for i, tensor in enumerate(attribute.tensors):
                    yield f"{where}[{i}]", tensor
                if attribute.HasField("g"):
                    yield from of_graph(attribute.g, where)
                for i, graph in enumerate(attribute.graphs):
                    yield from of_graph(graph, f"{where}[{i}]")

    def of_graph(graph, scope):
        for tensor in graph.initializer:
            yield f"{scope}:{tensor.name}", tensor
        yield from of_nodes(graph.node, scope)

    yield from of_graph(model.graph, "")
    for function in model.functions:
        yield from of_nodes(function.node, f"function {function.name}")


def tensor_bits(tensor):
    """Data type, dims and the payload in raw little-endian form."""
    if tensor.data_type == onnx.TensorProto.STRING:
        return tensor.data_type, tuple(tensor.dims), tuple(tensor.string_data)
    if tensor.HasField("raw_data"):
        return tensor.data_type, tuple(tensor.dims), tensor.raw_data
    array = onnx.numpy_helper.to_array(tensor)
    packed = onnx.numpy_helper.from_array(array, tensor.name)
    return tensor.data_type, tuple(tensor.dims), packed.raw_data


def external_files(path):
    """External data files that a model refers to, as absolute paths."""
    model = onnx.load(path, load_external_data=False)
    files = set()
    for _, tensor in tensors_of(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            for entry in tensor.external_data:
                if entry.key == "location":
                    files.add(os.path.join(os.path.dirname(os.path.abspath(path)), entry.value))
    return sorted(files)


def model_size(path):
    """Bytes on disk: the model file and its external data."""
    return os.path.getsize(path) + sum(os.path.getsize(file) for file in external_files(path))


def sha256(path):
    """Of the model file and its external data, in order."""
    digest = hashlib.sha256()
    for file in [path] + external_files(path):
        with open(file, "rb") as stream:
            digest.update(stream.read())
    return digest.hexdigest()


def build_tool(name):
    """Path of a program of tests/oracle, built in $B."""
    build = os.environ.get("B", "build")
    subprocess.run([os.environ.get("MAKE", "make"), "-s", f"B={build}", f"{build}/{name}"], cwd=ROOT, check=True)
    return os.path.join(ROOT, build, name)


def session(path, optimize=True):
    """A single-threaded CPU session; raises what ONNX Runtime raises."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(path, feeds):
    """Outputs as a list over feeds of lists over outputs."""
    runner = session(path)
    return [runner.run(None, feed) for feed in feeds]


def checker_level(path):
    """2: passes the full check with shape inference, 1: passes the plain check, 0: neither."""
    try:
        onnx.checker.check_model(path)
    except Exception:  # the checker raises many types, all of which mean "does not pass"
        return 0
    try:
        onnx.checker.check_model(path, full_check=True)
    except Exception:
        return 1
    return 2


def sqnr_db(reference, measured):
    """10 log10(sum ref^2 / sum (ref - measured)^2); infinite when equal, NaN-safe."""
    ref = np.asarray(reference, dtype=np.float64).ravel()
    got = np.asarray(measured, dtype=np.float64).ravel()
    if ref.shape != got.shape:
        return -np.inf
    # Where the source gives NaN or infinity the output must give the same.
    special = ~np.isfinite(ref)
    if not np.array_equal(ref[special], got[special], equal_nan=True) or not np.isfinite(got[~special]).all():
        return -np.inf
    ref, got = ref[~special], got[~special]
    noise = float(np.sum((ref - got) ** 2))
    if noise == 0:
        return np.inf
    signal = float(np.sum(ref ** 2))
    return -np.inf if signal == 0 else 10 * np.log10(signal / noise)


def worst_output_sqnr(reference, measured):
    """The smallest SQNR over the outputs, each over all samples together."""
    worst = np.inf
    for index in range(len(reference[0]) if reference else 0):
        if not np.issubdtype(np.asarray(reference[0][index]).dtype, np.number):
            continue
        refs = [np.asarray(sample[index], dtype=np.float64).ravel() for sample in reference]
        gots = [np.asarray(sample[index], dtype=np.float64).ravel() for sample in measured]
        worst = min(worst, sqnr_db(np.concatenate(refs), np.concatenate(gots)))
    return worst


def accuracy(outputs, labels, offset):
    """Top-1 in percent from the first output."""
    scores = np.concatenate([sample[0].reshape(-1, sample[0].size // sample[0].shape[0]) for sample in outputs])
    return 100.0 * float(np.mean(scores.argmax(axis=1) - offset == labels))


def read_csv(path):
    if not os.path.exists(path):
        return []
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(line for line in stream if not line.startswith("#")))


def write_csv(path, header, rows, comment):
    with open(path, "w", newline="", encoding="utf-8") as stream:
        stream.write(f"# {comment}\n")
        writer = csv.DictWriter(stream, header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def print_table(rows, header):
    widths = [max(len(str(row[i])) for row in [header] + rows) for i in range(len(header))]
    for row in [header] + rows:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip())


def compile_tool(name, folder):
    """The program of tests/oracle/NAME.c with the library in $B, compiled into the folder: its path."""
    build = os.environ.get("B", os.path.join(ROOT, "build"))
    tool = os.path.join(folder, name)
    subprocess.run([os.environ.get("CC", "gcc"), "-std=c17", "-O2", "-D_GNU_SOURCE", "-I", ROOT,
                    os.path.join(ROOT, "tests", "oracle", name + ".c"), f"{build}/libvqc.a", "-o", tool, "-fopenmp",
                    "-lm"], check=True)
    return tool


class MatrixCase:
    """A matrix of weights w and second moments h of correlated inputs, `dead` of which are 0, and files of both."""

    def __init__(self, rng, folder, rows, cols, groups=1, samples=None, dead=None):
        self.rows, self.cols, self.groups, self.folder = rows, cols, groups, folder
        self.w = rng.normal(0, 0.1, (rows, cols)).astype(np.float32)
        mix = np.eye(cols) + rng.normal(0, 1, (groups, cols, cols)) / np.sqrt(cols)
        x = rng.normal(0, 1, (groups, samples or 3 * cols, cols)) @ mix * np.exp(rng.normal(0, 0.6, cols))
        if dead is not None:
            x[:, :, rng.permutation(cols)[:dead]] = 0
        self.h = (x.transpose(0, 2, 1) @ x / x.shape[1]).astype(np.float32)
        self.w.tofile(self.path("w"))
        self.h.tofile(self.path("h"))

    def path(self, name):
        return os.path.join(self.folder, name)


class Checks:
    """Counts what holds, and prints what does not."""

    def __init__(self):
        self.passed = self.failed = 0

    def __call__(self, good, text):
        self.passed += bool(good)
        self.failed += not good
        if not good:
            print("FAILED", text)


def summary(passed, failed, skipped):
    """Prints the closing line and ends the program."""
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.stdout.flush()
    sys.exit(1 if failed else 0)
