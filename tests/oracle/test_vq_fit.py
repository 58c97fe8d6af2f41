"""Vector quantization with second moments (core/vq/vq_fit.h) against NumPy.

Error feedback is done over in float64 as the papers write it: U = upper Cholesky factor of the inverse of the damped H,
nearest neighbours of x U_BB^-1, W[:, rest] -= z U_B,rest, with the codebook that vqc found. Indices must be the same but
for near ties, uniform codes likewise; coordinate descent ends where no exchange helps; adjusted targets and the
water-filling limit follow NumPy's solve and eigvalsh. Prints "N passed, N failed, N skipped"; exit code 1 when something
failed.
"""

import subprocess
import tempfile

import numpy as np

from common import Checks, MatrixCase, compile_tool, summary

rng = np.random.default_rng(20250402)
check = Checks()


class Case(MatrixCase):
    """With the damped H of a group of rows."""

    def __init__(self, *dims, **more):
        super().__init__(rng, *dims, **more)

    def damped(self, group):
        h = self.h[group].astype(np.float64)
        return h + 0.01 * np.mean(np.diag(h)) * np.eye(self.cols)

    def loss(self, decoded):
        e = (self.w - decoded).astype(np.float64).reshape(self.groups, -1, self.cols)
        return float(np.einsum("gri,gij,grj->", e, self.h.astype(np.float64), e, optimize=True))

    def group(self, row):
        return row * self.groups // self.rows


def ask(tool, *words):
    result = subprocess.run([tool], input=" ".join(map(str, words)) + "\n", capture_output=True, text=True, check=True)
    answer = result.stdout.split()
    if answer[:1] != ["ok"]:
        raise RuntimeError(result.stdout)
    return float(answer[1])


def inverse_factor(h):
    """U upper with H^-1 = U^T U."""
    return np.linalg.cholesky(np.linalg.inv(h)).T


def feedback(case, dim, codebook, scales, down):
    """Indices [rows, blocks] or [cols, blocks] of error feedback, blocks in the order of decreasing power."""
    rows, cols = case.rows, case.cols
    width = 1 if down else dim
    starts = np.arange(0, cols, width)
    power = np.diagonal(case.h, axis1=1, axis2=2).astype(np.float64).sum(0)
    order = np.argsort([-power[s:s + width].mean() for s in starts], kind="stable")
    columns = np.concatenate([np.arange(s, min(s + width, cols)) for s in starts[order]])
    factors = [inverse_factor(case.damped(g)[np.ix_(columns, columns)]) for g in range(case.groups)]
    w = case.w.astype(np.float64)[:, columns]
    indices = np.zeros((cols, -(-rows // dim)) if down else (rows, len(starts)), int)
    margins = np.ones(indices.shape)
    at = 0
    for step in order:
        n = min(width, cols - starts[step])
        block = slice(at, at + n)
        z = np.zeros((rows, n))
        if down:
            for b in range(indices.shape[1]):
                r = np.arange(b * dim, min(b * dim + dim, rows))
                u = np.array([factors[case.group(i)][at, at] for i in r])
                error = (w[r, at] - scales[r] * codebook[:, :len(r)]) / u
                choose(indices, margins, (step, b), (error ** 2).sum(1))
                z[r, 0] = error[indices[step, b]]
        else:
            for i in range(rows):
                inverse = np.linalg.inv(factors[case.group(i)][block, block])
                error = (w[i, block] - scales[i] * codebook[:, :n]) @ inverse
                choose(indices, margins, (i, step), (error ** 2).sum(1))
                z[i] = error[indices[i, step]]
        for i in range(rows):
            w[i, at + n:] -= z[i] @ factors[case.group(i)][block, at + n:]
        at += n
    return indices, margins


def choose(indices, margins, where, distances):
    two = np.partition(distances, 1)[:2]
    indices[where] = int(np.argmin(distances))
    margins[where] = (two[1] - two[0]) / max(two[1], 1e-30)


def lines_before_a_tie(got, want, margins, down):
    """Lines (rows, or blocks of rows when down) that agree up to their first near tie."""
    if down:
        got, want, margins = got.T, want.T, margins.T
    good = 0
    for a, b, m in zip(got, want, margins):
        wrong = a != b
        good += not wrong.any() or m[wrong].min() < 1e-2
    return good == len(got)


def check_feedback(tool, folder):
    for rows, cols, dim, count, groups, down, scaled in ((24, 61, 4, 16, 1, 0, 0), (20, 40, 3, 11, 2, 0, 1),
                                                        (26, 33, 4, 16, 1, 1, 0), (24, 30, 5, 9, 3, 1, 1),
                                                        (16, 300, 8, 32, 1, 0, 0), (9, 27, 1, 4, 1, 0, 1)):
        case = Case(folder, rows, cols, groups)
        name = f"feedback {rows}x{cols} dim {dim} K {count} groups {groups} down {down} scales {scaled}"
        for sweeps in (0, 5):
            loss = ask(tool, "fit", rows, cols, groups, case.path("w"), case.path("h"), "-", dim, down, count, 1, 1, 1,
                       scaled, 0, sweeps, 20, 1, 2, case.path("out"))
            decoded = np.fromfile(case.path("out"), np.float32).reshape(rows, cols)
            codebook = np.fromfile(case.path("out.codebooks"), np.float32).reshape(count, dim).astype(np.float64)
            shape = (cols, -(-rows // dim)) if down else (rows, -(-cols // dim))
            indices = np.fromfile(case.path("out.indices"), np.uint16).reshape(shape)
            scales = np.ones(rows)
            if scaled:
                scales = np.fromfile(case.path("out.scales"), np.float32).astype(np.float64)
                check((scales == scales.astype(np.float16)).all(), name + ": scales are float16")
            check(abs(loss / case.loss(decoded) - 1) < 1e-4, name + ": loss")
            if sweeps == 0:
                want, margins = feedback(case, dim, codebook, scales, down)
                check(lines_before_a_tie(indices, want, margins, down), f"{name}: {(indices != want).mean():.3%} differ")
                first = loss
            else:
                check(loss < 0.98 * first, f"{name}: {first} -> {loss}")


def gptq(case, scales, lo, hi):
    codes = np.zeros((case.rows, case.cols), int)
    for g in range(case.groups):
        rows = np.arange(case.rows // case.groups) + g * (case.rows // case.groups)
        u = inverse_factor(case.damped(g))
        w = case.w[rows].astype(np.float64)
        for j in range(case.cols):
            codes[rows, j] = np.clip(np.rint(w[:, j] / scales[rows]), lo, hi)
            z = (w[:, j] - scales[rows] * codes[rows, j]) / u[j, j]
            w[:, j:] -= np.outer(z, u[j, j:])
    return codes


def check_uniform(tool, folder):
    for rows, cols, groups in ((30, 150, 1), (12, 40, 3)):
        case = Case(folder, rows, cols, groups)
        scales = np.full(rows, 0.08, np.float32)
        scales.tofile(case.path("s"))
        words = ["uniform", rows, cols, groups, case.path("w"), case.path("h"), case.path("s"), "-", 0, -2, 1]
        loss = ask(tool, *words, 0, 1, case.path("q"))
        codes = np.fromfile(case.path("q"), np.int32).reshape(rows, cols)
        want = gptq(case, scales.astype(np.float64), -2, 1)
        check(abs(loss / case.loss(codes * scales[:, None]) - 1) < 1e-4, "uniform: loss")
        check((codes == want).all(1).mean() > 0.9, f"uniform {rows}x{cols}: {(codes != want).mean():.3%} differ")
        check(ask(tool, *words, 5, 1, case.path("q")) < 0.99 * loss, "uniform: descent")


def check_adjust_and_limit(tool, folder):
    case = Case(folder, 12, 50, 2)
    cross = rng.normal(0, 0.1, case.h.shape).astype(np.float32)
    cross.tofile(case.path("c"))
    ask(tool, "adjust", 12, 50, 2, case.path("w"), case.path("h"), case.path("c"), 0.01, 2, case.path("a"))
    got = np.fromfile(case.path("a"), np.float32).reshape(2, 6, 50)
    w = case.w.reshape(2, 6, 50).astype(np.float64)
    want = np.stack([w[g] + np.linalg.solve(case.damped(g), (w[g] @ cross[g].astype(np.float64)).T).T for g in (0, 1)])
    check(np.abs(got - want).max() < 1e-3 * np.abs(want).max(), "adjusted target")
    variances = rng.uniform(0.5, 2, 12).astype(np.float32)
    variances.tofile(case.path("v"))
    for bits in (0.3, 1.0, 2.5):
        got = ask(tool, "waterfill", 12, 50, 2, case.path("h"), case.path("v"), bits)
        parts = np.concatenate([np.outer(variances[6 * g:6 * g + 6], np.linalg.eigvalsh(case.h[g].astype(np.float64)))
                                for g in (0, 1)]).ravel()
        low, high = 1e-12, parts.max()
        for _ in range(200):
            level = np.sqrt(low * high)
            rate = 0.5 * np.log2(np.maximum(parts / level, 1)).mean()
            low, high = (level, high) if rate > bits else (low, level)
        check(abs(got / np.minimum(parts, level).sum() - 1) < 1e-4, f"water-filling at {bits} bits: {got}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        tool = compile_tool("vq_fit_tool", folder)
        check_feedback(tool, folder)
        check_uniform(tool, folder)
        check_adjust_and_limit(tool, folder)
    summary(check.passed, check.failed, 0)


if __name__ == "__main__":
    main()
