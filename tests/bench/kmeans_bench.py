"""k-means beside faiss and scikit-learn, and beside theory: kmeans_bench.py [--threads N] [--rounds N] [--cpu-time]
[--large] [--strict] [--limits-only | --peers-only].

Peers: the same unit normal points for all, all of them trained on; faiss with 25 iterations, scikit-learn with at most
25 and one start, vqc with its defaults. Measurements alternate and the best time of all rounds counts; errors are
measured by faiss on the codebooks that came out (faiss: the mean over its seeds). Limits: SQNR of held-out unit normal points beside published figures for vector
quantization and beside 6.02 dB per bit (rate-distortion theory); --large adds 65536 codewords, which take minutes.
--cpu-time: processor time instead of elapsed time, with one thread, so that a machine that others use does not decide.
Needs faiss-cpu and scikit-learn (skipped when they are not there) and a built libvqc.a (make B=...). --strict: exit
code 1 when a mark is missed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("B", "build")
# dim, codewords, points, whether scikit-learn takes part
CASES = ((1, 16, 1 << 19, True), (2, 16, 1 << 19, True), (2, 256, 1 << 19, True), (4, 256, 1 << 18, True),
         (8, 256, 1 << 17, True), (4, 4096, 1 << 18, False), (8, 4096, 1 << 18, False))
# dim, codewords, training points per codeword, published SQNR in dB
LIMITS = ((1, 2, 256, 4.40), (1, 4, 256, 9.30), (1, 8, 256, 14.62), (1, 16, 256, 20.22),
          (2, 4, 256, 4.40), (2, 16, 256, 9.68), (2, 64, 256, 15.25), (2, 256, 2048, 21.11),
          (4, 16, 256, 4.67), (4, 256, 2048, 10.15), (4, 4096, 256, 15.91), (8, 256, 2048, 4.93))
LARGE = ((4, 65536, 64, 21.70), (8, 65536, 64, 10.50))
HELD_OUT = 1 << 20


def build_tool(folder):
    tool = os.path.join(folder, "kmeans_time")
    subprocess.run([os.environ.get("CC", "cc"), "-std=c17", "-D_GNU_SOURCE", "-O2", "-I.", f"-I{BUILD}/gen",
                    "tests/bench/kmeans_time.c", f"{BUILD}/libvqc.a", "-o", tool, "-fopenmp", "-lprotobuf-c", "-lyaml",
                    "-lcjson", "-lz", "-lm"], cwd=ROOT, check=True)
    return tool


def run_tool(tool, *arguments):
    return [float(x) for x in subprocess.run([tool, *map(str, arguments)], check=True, capture_output=True,
                                             text=True).stdout.split()]


def bench_limits(tool, args):
    """Held-out SQNR of trained codebooks; returns the number of missed marks."""
    missed = 0
    print("| dim | codewords | bits | held out dB | published | limit 6.02 R | training |\n|---|---|---|---|---|---|---|")
    for dim, count, per_codeword, published in LIMITS + (LARGE if args.large else ()):
        seconds, _, held_out, _ = run_tool(tool, "gauss", dim, count, per_codeword, HELD_OUT, args.threads, 1)
        bits = (count - 1).bit_length() / dim
        met = held_out >= published - 0.1
        missed += not met
        print(f"| {dim} | {count} | {bits:g} | {held_out:.2f}{'' if met else ' MISSED'} | {published:.2f} "
              f"| {6.0206 * bits:.2f} | {seconds:.1f} s |", flush=True)
    return missed


def timed(function, clock):
    start = clock()
    result = function()
    return clock() - start, result


def decibels(points, codebook, faiss):
    """SQNR of points coded with a codebook."""
    index = faiss.IndexFlatL2(points.shape[1])
    index.add(codebook)
    distances, _ = index.search(points, 1)
    import numpy as np
    return 10 * np.log10(np.square(points, dtype=np.float64).sum() / distances.sum(dtype=np.float64))


def run_faiss(points, count, seed, clock, faiss):
    means = faiss.Kmeans(points.shape[1], count, niter=25, max_points_per_centroid=1 << 30, seed=seed)
    train, _ = timed(lambda: means.train(points), clock)
    assign, _ = timed(lambda: means.index.search(points, 1), clock)
    return train, assign, means.centroids.copy()


def run_sklearn(points, count, seed, clock):
    from sklearn.cluster import KMeans
    means = KMeans(count, n_init=1, max_iter=25, random_state=seed)
    train, _ = timed(lambda: means.fit(points), clock)
    assign, _ = timed(lambda: means.predict(points), clock)
    return train, assign, means.cluster_centers_


def bench_case(tool, folder, case, args, faiss):
    """One line of the table; returns the number of missed marks."""
    import numpy as np
    dim, count, n, with_sklearn = case
    clock = time.process_time if args.cpu_time else time.perf_counter
    points = np.random.default_rng(1).standard_normal((n, dim), dtype=np.float32)
    path, out = os.path.join(folder, "points"), os.path.join(folder, "codebook")
    points.tofile(path)
    best = {}
    for seed in range(1, args.rounds + 1):
        train, assign, _, _ = run_tool(tool, "train", path, dim, count, args.threads, 1, 0, -1, 0, out)
        runs = [("vqc", (train, assign, np.fromfile(out, np.float32).reshape(count, dim))),
                ("faiss", run_faiss(points, count, seed, clock, faiss))]
        if with_sklearn and seed == 1:
            runs.append(("scikit-learn", run_sklearn(points, count, seed, clock)))
        for name, (train, assign, codebook) in runs:
            old = best.get(name, (float("inf"), float("inf"), 0.0))
            best[name] = (min(old[0], train), min(old[1], assign), old[2] + decibels(points, codebook, faiss) / (1 if name == "scikit-learn" else args.rounds))
    ours, theirs = best["vqc"], best["faiss"]
    factor = 2 if count <= 256 else 1
    marks = (theirs[0] / ours[0] >= factor, theirs[1] / ours[1] >= factor, ours[2] >= theirs[2] - 1e-3)
    cells = [f"{best[name][0]:.3f} / {best[name][1]:.4f} / {best[name][2]:.2f}" if name in best else "–"
             for name in ("vqc", "faiss", "scikit-learn")]
    print(f"| {dim} | {count} | {n} | {' | '.join(cells)} | {theirs[0] / ours[0]:.1f}× | {theirs[1] / ours[1]:.1f}× "
          f"| {'met' if all(marks) else 'MISSED'} |", flush=True)
    return sum(not m for m in marks)


def bench_peers(tool, folder, args):
    try:
        import faiss
        import sklearn
    except ImportError as error:
        print(f"skipped: beside faiss and scikit-learn ({error})")
        return 0
    faiss.omp_set_num_threads(args.threads)
    print(f"faiss {faiss.__version__}, scikit-learn {sklearn.__version__}, {args.threads} threads, seconds of "
          f"{'processor' if args.cpu_time else 'elapsed'} time: training / assignment / SQNR dB")
    print("| dim | codewords | points | vqc | faiss | scikit-learn | training | assignment | marks |\n" + "|---" * 9 + "|")
    return sum(bench_case(tool, folder, case, args, faiss) for case in CASES)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--limits-only", action="store_true")
    parser.add_argument("--peers-only", action="store_true")
    args = parser.parse_args()
    if args.cpu_time:
        args.threads = 1
        os.environ["KMEANS_TIME_CPU"] = "1"
    # Before faiss, NumPy and scikit-learn are loaded, whose BLAS reads them once.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(args.threads)
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        tool = build_tool(folder)
        if not args.limits_only:
            missed += bench_peers(tool, folder, args)
        if not args.peers_only:
            missed += bench_limits(tool, args)
    print(f"{missed} marks missed")
    sys.exit(1 if missed and args.strict else 0)


if __name__ == "__main__":
    main()
