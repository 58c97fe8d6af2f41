"""Pruning of one matrix (core/prune/prune.h) against NumPy.

Everything is done over in float64 as the papers write it. Masks of magnitude, Wanda (Sun et al. 2023: |w| sqrt(E[x^2]))
and optimal brain surgeon (Hassibi and Stork 1993: w^2 / [H^-1]_jj) scores, unstructured, N:M and by blocks: exactly the
asked number goes, and nothing that goes scores higher than what stays. Compensation by SparseGPT (Frantar and Alistarh
2023, algorithm 1): U = upper Cholesky factor of the inverse of the damped H, column after column the error
w_j / U_jj of what is pruned is taken from the columns behind it; where the mask is chosen on the way, each choice is
checked against the weights as they are by then. The least-squares steps end at NumPy's solution for the kept entries.
Prints "N passed, N failed, N skipped"; exit code 1 when something failed.
"""

import subprocess
import tempfile

import numpy as np

from common import Checks, MatrixCase, compile_tool, summary

rng = np.random.default_rng(20231102)
check = Checks()
PANEL = 128
DAMPING = 0.01


class Case(MatrixCase):
    """Fewer samples than columns: H is singular."""

    def __init__(self, folder, rows, cols, groups=1, samples=None, dead=0):
        super().__init__(rng, folder, rows, cols, groups, samples, dead)
        h = self.h.astype(np.float64)
        means = np.trace(h, axis1=1, axis2=2) / cols
        self.damped = h + DAMPING * means[:, None, None] * np.eye(cols)
        self.inverse = np.linalg.inv(self.damped)
        self.factor = [np.linalg.cholesky(inverse).T for inverse in self.inverse]  # H^-1 = U^T U

    def per_row(self, of_groups):
        """[groups, ...] -> [rows, ...]"""
        return np.repeat(np.asarray(of_groups), self.rows // self.groups, axis=0)

    def loss(self, errors):
        e = errors.astype(np.float64).reshape(self.groups, -1, self.cols)
        return float(np.einsum("gri,gij,grj->", e, self.damped, e, optimize=True))

    def prune(self, tool, score, pattern, sparsity, per_row=0, compensate=0, steps=0, threads=2):
        words = [self.rows, self.cols, self.groups, self.path("w"), self.path("h"), score, pattern, sparsity, per_row,
                 compensate, steps, threads, self.path("out")]
        answer = subprocess.run([tool, *map(str, words)], capture_output=True, text=True, check=True).stdout.split()
        if answer[:1] != ["ok"]:
            raise RuntimeError(" ".join(answer))
        out = np.fromfile(self.path("out"), np.float32).reshape(self.rows, self.cols)
        mask = np.fromfile(self.path("out.mask"), np.uint8).reshape(self.rows, self.cols)
        return out, mask, float(answer[1])


def count_of(sparsity, n):
    return int(np.floor(sparsity * n + 0.5))


def lowest_go(scores, kept, count):
    """Whether `count` entries go and none of them scores higher than one that stays (but for rounding to float32)."""
    gone = scores[~kept]
    if len(gone) != count:
        return False
    return count == 0 or not kept.any() or gone.max() <= scores[kept].min() * (1 + 1e-4) + 1e-30


def block_scores(scores, kept, down, across):
    """Mean squares of blocks, and which are kept; None when a block is cut."""
    rows, cols = scores.shape
    values, stays = [], []
    for r in range(0, rows, down):
        for c in range(0, cols, across):
            block = kept[r:r + down, c:c + across]
            if block.any() != block.all():
                return None
            values.append(np.mean(scores[r:r + down, c:c + across] ** 2))
            stays.append(block.all())
    return np.array(values), np.array(stays)


def groups_right(scores, kept, keep, of):
    good = True
    for c in range(0, scores.shape[1], of):
        part = kept[:, c:c + of]
        n = part.shape[1]
        for s, k in zip(scores[:, c:c + of], part):
            good = good and lowest_go(s, k, n - -(-keep * n // of))
    return good


def mask_right(scores, kept, pattern, sparsity, per_row):
    if ":" in pattern:
        return groups_right(scores, kept, *map(int, pattern.split(":")))
    if "x" in pattern:
        blocks = block_scores(scores, kept, *map(int, pattern.split("x")))
        return blocks is not None and lowest_go(*blocks, count_of(sparsity, len(blocks[0])))
    if per_row:
        ends = [count_of(sparsity, (r + 1) * scores.shape[1]) for r in range(len(scores))]
        return all(lowest_go(s, k, n) for s, k, n in zip(scores, kept, np.diff([0, *ends])))
    return lowest_go(scores.ravel(), kept.ravel(), count_of(sparsity, scores.size))


def static_scores(case, score):
    w = np.abs(case.w.astype(np.float64))
    if score == "wanda":
        return w * np.sqrt(case.per_row(np.diagonal(case.h, axis1=1, axis2=2).astype(np.float64)))
    if score == "obs":
        return w / np.sqrt(case.per_row(np.diagonal(case.inverse, axis1=1, axis2=2)))
    return w


def panel_width(case, pattern):
    unit = int(pattern.replace("x", ":").split(":")[1]) if pattern != "any" else 1
    return min(PANEL // unit * unit, case.cols)


def panel_counts_right(case, kept, pattern, sparsity):
    """As many of each panel go as by |w_j| / U_jj of the weights as they are, over the whole matrix; and how many."""
    diagonal = case.per_row([np.diag(u) for u in case.factor])
    scores = np.abs(case.w.astype(np.float64)) / diagonal
    width = panel_width(case, pattern)
    down, across = map(int, pattern.split("x")) if "x" in pattern else (1, 1)
    panels = []
    for a in range(0, case.cols, width):
        values, stays = block_scores(scores[:, a:a + width], kept[:, a:a + width], down, across)
        panels.append((values, np.count_nonzero(~stays)))
    values = np.sort(np.concatenate([v for v, _ in panels]))
    count = count_of(sparsity, len(values))
    if count == 0 or count == len(values):
        return all(n == (len(v) if count else 0) for v, n in panels)
    at = values[count - 1]
    near = np.count_nonzero(np.abs(values - at) <= 1e-4 * at)
    return (sum(n for _, n in panels) == count and
            all(abs(np.count_nonzero(v <= at) - n) < near for v, n in panels))


def sparsegpt(case, kept, pattern, adaptive):
    """Weights after the pass over the columns with vqc's mask, and whether each choice of the mask was right."""
    w = case.w.astype(np.float64)
    good = True
    group_rows = case.rows // case.groups
    width = panel_width(case, pattern)
    diagonal = case.per_row([np.diag(u) for u in case.factor])
    for a in range(0, case.cols, width):
        b = min(a + width, case.cols)
        if adaptive and ":" not in pattern:
            scores = np.abs(w[:, a:b]) / diagonal[:, a:b]
            if "x" in pattern:
                values, stays = block_scores(scores, kept[:, a:b], *map(int, pattern.split("x")))
            else:
                values, stays = scores.ravel(), kept[:, a:b].ravel()
            good = good and lowest_go(values, stays, np.count_nonzero(~stays))
        for j in range(a, b):
            if adaptive and ":" in pattern:
                keep, of = map(int, pattern.split(":"))
                if (j - a) % of == 0:
                    end = min(j + of, b)
                    scores = np.abs(w[:, j:end]) / diagonal[:, j:end]
                    good = good and groups_right(scores, kept[:, j:end], keep, of)
            for g, u in enumerate(case.factor):
                rows = slice(g * group_rows, (g + 1) * group_rows)
                error = np.where(kept[rows, j], 0, w[rows, j]) / u[j, j]
                w[rows, j:] -= np.outer(error, u[j, j:])
    return np.where(kept, w, 0), good


def least_squares(case, kept):
    """Loss of the best kept entries of every row."""
    w = case.w.astype(np.float64)
    errors = np.where(kept, 0, w)
    for r in range(case.rows):
        h = case.damped[r * case.groups // case.rows]
        k = np.flatnonzero(kept[r])
        gone = np.flatnonzero(~kept[r])
        if len(k) and len(gone):
            errors[r, k] = -np.linalg.solve(h[np.ix_(k, k)], h[np.ix_(k, gone)] @ w[r, gone])
    return case.loss(errors)


def zeros_exact(out, mask):
    bits = out.view(np.uint32)
    return (bits[mask == 0] == 0).all() and np.isin(mask, (0, 1)).all()


PATTERNS = (("any", 0.5), ("any", 0.83), ("2:4", 0.5), ("1:4", 0.5), ("4:8", 0.5), ("3:5", 0.5), ("4x1", 0.6),
            ("3x8", 0.4), ("any", 0.0), ("any", 1.0))


def check_masks(tool, case, name):
    for score in ("magnitude", "wanda", "obs"):
        scores = static_scores(case, score)
        for pattern, sparsity in PATTERNS:
            for per_row in (0, 1) if pattern == "any" else (0,):
                text = f"{name}, {score}, {pattern} {sparsity} per row {per_row}"
                out, mask, loss = case.prune(tool, score, pattern, sparsity, per_row)
                check(mask_right(scores, mask != 0, pattern, sparsity, per_row), f"{text}: mask")
                check(zeros_exact(out, mask) and (out[mask != 0] == case.w[mask != 0]).all(), f"{text}: weights")
                want = case.loss(np.where(mask, 0, case.w)) / case.loss(case.w)
                check(abs(loss - want) <= 1e-4 * want, f"{text}: loss {loss}, {want}")
    if case.rows * case.cols > 100:  # would a wrong mask be seen?
        out, mask, _ = case.prune(tool, "magnitude", "any", 0.5)
        check(not mask_right(static_scores(case, "obs"), mask != 0, "any", 0.5, 0), f"{name}: another score's mask passes")


def check_compensation(tool, case, name):
    scale = np.abs(case.w).max()
    for score in ("magnitude", "wanda", "obs"):
        for pattern, sparsity in PATTERNS:
            text = f"{name}, compensated, {score}, {pattern} {sparsity}"
            out, mask, loss = case.prune(tool, score, pattern, sparsity, compensate=1)
            kept = mask != 0
            want, chosen = sparsegpt(case, kept, pattern, score == "obs")
            if score != "obs":
                check(mask_right(static_scores(case, score), kept, pattern, sparsity, 0), f"{text}: mask")
            else:
                check(chosen, f"{text}: mask")
                check(":" in pattern or panel_counts_right(case, kept, pattern, sparsity), f"{text}: shares")
            worst = np.abs(out - want).max()
            check(zeros_exact(out, mask) and worst < 1e-3 * scale, f"{text}: weights differ by {worst / scale:.2g}")
            ratio = case.loss(case.w - out) / case.loss(case.w)
            check(abs(loss - ratio) <= 1e-4 * max(ratio, 1e-3), f"{text}: loss {loss}, {ratio}")
            if pattern == "any" and 0 < sparsity < 1 and case.cols > 8:
                plain = case.loss(np.where(kept, 0, case.w)) / case.loss(case.w)
                check(loss < plain, f"{text}: compensation made {plain} {loss}")
                check(np.abs(np.where(kept, case.w, 0) - want).max() > 1e-2 * scale, f"{text}: nothing to see")


def check_refinement(tool, case, name):
    for pattern, sparsity in (("any", 0.6), ("2:4", 0.5), ("4x1", 0.5)):
        first, tried = None, None
        for steps in (0, 10, 400):
            out, mask, loss = case.prune(tool, "wanda", pattern, sparsity, compensate=1, steps=steps)
            check(tried is None or loss <= tried * (1 + 1e-6), f"{name}, {pattern}: {steps} steps, {tried} -> {loss}")
            check(zeros_exact(out, mask), f"{name}, {pattern}: {steps} steps: zeros")
            check(first is None or (mask == first).all(), f"{name}, {pattern}: {steps} steps change the mask")
            first, tried = mask, loss
        best = least_squares(case, first != 0) / case.loss(case.w)
        check(best * (1 - 1e-4) <= loss <= best * 1.002, f"{name}, {pattern}: loss {loss}, least squares {best}")


def check_zero_input(tool, folder):
    """Inputs that are always zero: the number of zeros is right, and everything is finite."""
    case = Case(folder, 6, 20)
    np.zeros_like(case.h).tofile(case.path("h"))
    for compensate in (0, 1):
        for pattern, count in (("any", 60), ("2:4", 60)):
            out, mask, loss = case.prune(tool, "obs", pattern, 0.5, compensate=compensate, steps=10)
            check(np.isfinite(out).all() and np.isfinite(loss) and zeros_exact(out, mask) and
                  np.count_nonzero(mask == 0) == count, f"zero input, {pattern}, compensate {compensate}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        tool = compile_tool("prune_fit_tool", folder)
        for rows, cols, groups, samples, dead in ((1, 1, 1, 4, 0), (5, 7, 1, None, 0), (24, 60, 1, None, 0),
                                                  (18, 37, 3, None, 0), (16, 150, 2, None, 0), (12, 290, 1, None, 5),
                                                  (20, 80, 1, 30, 0), (16, 140, 1, 60, 20)):
            case = Case(folder, rows, cols, groups, samples, dead)
            name = f"{rows}x{cols}, {groups} groups, {samples or 3 * cols} samples, {dead} dead"
            check_masks(tool, case, name)
            check_compensation(tool, case, name)
            if cols > 8:
                check_refinement(tool, case, name)
        check_zero_input(tool, folder)
    summary(check.passed, check.failed, 0)


if __name__ == "__main__":
    main()
