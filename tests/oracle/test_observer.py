"""The observers (core/calibrate) against NumPy: test_observer.py.

Samples of several distributions are observed by tests/oracle/observer_tool.c. Counts, bins and moments must be those of
NumPy, percentiles lie within a bin's width of np.percentile, Kullback-Leibler divergences equal a plain implementation
and that of the range found is within 10% of the least of all clip points, and the range of least squared error is as
good as a search by quantizing the values themselves. Prints "N passed, N failed, N skipped"; exit code 1 when something
failed.
"""

import os
import subprocess
import tempfile

import numpy as np

from common import Checks, compile_tool, summary

HALF = 4096
rng = np.random.default_rng(20250310)
check = Checks()


def distributions():
    gauss = rng.normal(0, 1, (8, 8000))
    yield "gauss", gauss
    yield "relu", np.maximum(gauss, 0)
    yield "relu6 with zeros", np.clip(gauss * 3, 0, 6)
    yield "shifted", gauss * 0.5 + 3
    yield "negative", -np.abs(gauss)
    yield "silu", gauss * 4 / (1 + np.exp(-gauss * 4))
    yield "laplace", rng.laplace(0, 0.01, (8, 8000))
    yield "heavy tails", rng.standard_t(3, (4, 16000)) * 100
    yield "growing", gauss * 2.0 ** np.arange(-3, 5)[:, None]
    yield "uniform", rng.uniform(-1, 3, (3, 30000))
    yield "few levels", np.round(gauss * 4) / 4
    yield "lopsided", np.concatenate([gauss[:4] * 0.05 - 0.1, np.abs(gauss[4:] * 8)])
    outlier = gauss[:2].copy()
    outlier[1, 7] = 500
    yield "outlier", outlier
    bad = gauss[:2].copy()
    bad[0, :3] = np.nan, np.inf, -np.inf
    yield "not finite", bad


def histogram(x, limit):
    """Bins about zero; float32 times a power of two is exact."""
    x = x[x != 0].astype(np.float64)
    t = np.minimum(np.floor(np.abs(x) * (HALF / limit)), HALF - 1).astype(int)
    return np.bincount(np.where(x > 0, HALF + t, HALF - 1 - t), minlength=2 * HALF)


def divergence(counts, lo, hi, levels):
    """KL of the clipped values against their levels spread over the occupied bins, bin by bin."""
    n = hi - lo
    if n < levels:
        return np.inf
    inside = counts[lo:hi].astype(np.float64)
    p = inside.copy()
    p[0] += counts[:lo].sum()
    p[-1] += counts[hi:].sum()
    q = np.zeros(n)
    for g in range(levels):
        a, b = g * n // levels, (g + 1) * n // levels
        occupied = p[a:b] > 0
        if occupied.any():
            mass = inside[a:b].sum()
            q[a:b][occupied] = (mass if mass > 0 else 1e-4) / occupied.sum()
    p, q = p / p.sum(), q / q.sum()
    used = p > 0
    return float(np.sum(p[used] * np.log(p[used] / q[used])))


def divergence_at(counts, bins, symmetric):
    if symmetric:
        folded = counts[HALF:] + counts[:HALF][::-1]
        top = np.flatnonzero(folded)[-1] + 1
        return divergence(folded, 0, min(bins, top), 128)
    used = np.flatnonzero(counts)
    lo = min(max(HALF - bins, used[0]), HALF)
    hi = max(min(HALF + bins, used[-1] + 1), HALF)
    return divergence(counts, lo, hi, 256)


def quantization_error(x, lo, hi, bits, symmetric):
    if symmetric:
        steps = 2 ** (bits - 1) - 1
        scale = max(-lo, hi) / steps
        return np.mean((x - np.clip(np.rint(x / scale), -steps, steps) * scale) ** 2)
    codes = 2 ** bits - 1
    scale = (hi - lo) / codes
    zero = np.rint(-lo / scale)
    return np.mean((x - (np.clip(np.rint(x / scale) + zero, 0, codes) - zero) * scale) ** 2)


def least_error(x, bits, symmetric):
    """Over all pairs of clip points of a fine grid, for as many values as are quick."""
    low, high = min(x.min(), 0), max(x.max(), 0)
    row = 2.0 ** (-np.arange(0, 40 if symmetric else 28) / (8 if symmetric else 4))
    if symmetric:
        r = max(-low, high)
        return min(quantization_error(x, -r * f, r * f, bits, True) for f in row)
    lows = [low * f for f in row] if low < 0 else [0.0]
    highs = [high * f for f in row] if high > 0 else [0.0]
    return min(quantization_error(x, a, b, bits, False) for a in lows for b in highs)


def run_tool(tool, folder, samples):
    paths = []
    for i, sample in enumerate(samples):
        paths.append(os.path.join(folder, f"{i}.raw"))
        sample.tofile(paths[-1])
    lines = subprocess.run([tool] + paths, check=True, capture_output=True, text=True).stdout.splitlines()
    counts, ranges, kl, stats = np.zeros(2 * HALF, dtype=int), {}, {}, None
    for line in lines:
        word, *rest = line.split()
        if word == "stats":
            stats = [float(v) for v in rest]
        elif word == "bin":
            counts[int(rest[0])] = int(rest[1])
        elif word == "range":
            ranges[rest[0], int(rest[1]), int(rest[2])] = [float(v) for v in rest[3:]]
        else:
            kl[int(rest[0]), int(rest[1])] = float(rest[2])
    return stats, counts, ranges, kl


def check_stats(name, samples, stats, counts):
    x = np.concatenate(samples)
    finite = x[np.isfinite(x)]
    limit = 2.0 ** np.frexp(np.abs(finite).max())[1]
    wide = finite.astype(np.float64)
    check(stats[0] == limit, f"{name}: limit {stats[0]}, wanted {limit}")
    wanted = [len(finite), (finite == 0).sum(), np.isnan(x).sum(), np.isinf(x).sum()]
    check(stats[1:5] == wanted, f"{name}: counts {stats}")
    check(stats[5] == finite.min() and stats[6] == finite.max(), f"{name}: extremes {stats}")
    check(abs(stats[7] - wide.sum()) < 1e-6 * np.abs(wide).sum(), f"{name}: sum {stats[7]} {wide.sum()}")
    check(abs(stats[8] / (wide ** 2).sum() - 1) < 1e-6, f"{name}: sum of squares {stats[8]}")
    lows = [s[np.isfinite(s)].min() for s in samples]
    average = float(lows[0])
    for low in lows[1:]:
        average = 0.99 * average + 0.01 * float(low)
    check(abs(stats[9] - average) < 1e-9 * (abs(average) + 1), f"{name}: moving average {stats[9]} {average}")
    check((counts == histogram(finite, limit)).all(), f"{name}: bins")
    return finite, limit / HALF


def check_quantile(name, got, x, share, width):
    """Between the neighbours of the quantile in order, as far as bins tell."""
    ordered = np.sort(x)
    place = share * (len(x) - 1)
    low = min(ordered[max(int(np.floor(place)) - 1, 0)], np.percentile(x, 100 * share)) - width
    high = max(ordered[min(int(np.ceil(place)) + 1, len(x) - 1)], np.percentile(x, 100 * share)) + width
    check(low <= got <= high, f"{name}: quantile {share} {got}, wanted {low} .. {high}")


def check_percentile(name, x, width, ranges):
    got = ranges["percentile", 8, 0]
    for share, value, side in ((0.0005, got[0], np.minimum), (0.9995, got[1], np.maximum)):
        check_quantile(name, value, side(x, 0), share, width)
    got = ranges["percentile", 8, 1]
    check_quantile(name, got[1], np.abs(x), 0.999, width)


def check_entropy(name, counts, width, ranges, kl):
    for symmetric in (0, 1):
        best = min(kl[symmetric, bins] for bins in range(1, HALF + 1))
        for bins in list(range(1, HALF + 1, 331)) + [HALF]:
            want, got = divergence_at(counts, bins, symmetric), kl[symmetric, bins]
            check(got == want or abs(got - want) < 1e-9 + 1e-9 * want,
                  f"{name}: KL at {bins} {symmetric}: {got} {want}")
        low, high, _ = ranges["entropy", 8, symmetric]
        if np.isinf(best):
            check([low, high] == ranges["minmax", 8, symmetric][:2], f"{name}: entropy without a choice: {low} {high}")
            continue
        bins = min(int(np.ceil(max(-low, high) / width - 1e-6)), HALF)
        if max(-low, high) == max(np.abs(ranges["minmax", 8, symmetric][:2])):
            bins = HALF  # nothing is clipped
        check(kl[symmetric, bins] <= 1.1 * best + 1e-6, f"{name}: KL {kl[symmetric, bins]} at {bins}, best {best}")


def check_mse(name, x, ranges):
    wide = x.astype(np.float64)
    for bits in (8, 16):
        for symmetric in (0, 1):
            low, high, estimate = ranges["mse", bits, symmetric]
            got = quantization_error(wide, low, high, bits, symmetric)
            if name != "few levels":  # where values are not spread evenly in the bins
                check(abs(estimate / got - 1) < 0.1, f"{name}: {bits} bits: estimate {estimate}, true {got}")
            full = ranges["minmax", bits, symmetric]
            check(estimate <= full[2] * 1.000001, f"{name}: {bits} bits: {estimate} above that of minmax {full[2]}")
            if bits == 8 and name not in ("few levels", "outlier"):
                best = least_error(wide, bits, symmetric)
                check(got <= 1.02 * best, f"{name}: {bits} {symmetric}: mse {got} in [{low}, {high}], best {best}")


def main():
    folder = tempfile.TemporaryDirectory(prefix="vqc-observer-")
    tool = compile_tool("observer_tool", folder.name)
    for name, rows in distributions():
        samples = [row.astype(np.float32) for row in rows]
        stats, counts, ranges, kl = run_tool(tool, folder.name, samples)
        x, width = check_stats(name, samples, stats, counts)
        check_percentile(name, x, width, ranges)
        check_entropy(name, counts, width, ranges, kl)
        check_mse(name, x, ranges)
        for key, (low, high, _) in ranges.items():
            check(low <= 0 <= high and (not key[2] or low == -high), f"{name}: {key} {low} {high}")
    folder.cleanup()
    summary(check.passed, check.failed, 0)


if __name__ == "__main__":
    main()
