# SPDX-License-Identifier: Apache-2.0
"""Independent NumPy versions of RTN, GPTQ, Wanda and SparseGPT, written from the papers, to hold quant/ against.

All in float64. W is [rows, cols] (out x in), H = X^T X over the rows of X (cols x cols), damping is relative to the mean
of H's diagonal. Scales are FP16 numbers times a power of two, as the packed formats store them.
"""
import numpy as np

BLOCK = 128  # columns between two lazy updates, SparseGPT's block


def code_range(bits):
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def tensor_factor(w, bits):
    """The power of two that FP16 scales of this tensor are multiplied by."""
    largest = np.abs(w).max()
    if largest == 0:
        return 1.0
    exponent = int(np.floor(np.log2(float(largest) / code_range(bits)[1]))) - 10
    return 2.0 ** min(max(exponent, -100), 100)


def to_step(scale, factor):
    return float(np.float16(np.clip(np.float32(scale / factor), -65504, 65504))) * factor


def nearest(w, step, bits):
    low, high = code_range(bits)
    quotient = np.divide(w, step, out=np.zeros_like(w), where=np.asarray(step) != 0)
    return np.rint(np.clip(quotient, low, high))


def rtn_steps(w, bits, group):
    """[rows, groups] steps that put the largest weight of a group at the largest code."""
    factor = tensor_factor(w, bits)
    return np.array([[to_step(np.abs(row[g:g + group]).max() / code_range(bits)[1], factor)
                      for g in range(0, w.shape[1], group)] for row in w])


def clip_step(w, h, bits, factor):
    """Best step of one group of one row: a grid of clipped scales, both orientations of the asymmetric code range, then
    the least-squares scale of the winner's codes, twice."""
    low, high = code_range(bits)
    if w.size == 0 or not np.any(w):
        return 0.0
    extreme = w[np.argmax(np.abs(w))]
    candidates = [abs(extreme) / high]
    for i in range(40):
        clip = 1.05 - i * (0.7 / 39)
        candidates += [clip * (abs(extreme) / high), clip * (extreme / low)]

    def measure(scale):
        step = to_step(scale, factor)
        codes = nearest(w, step, bits)
        below = np.sum(h * codes * codes)
        return np.sum(h * (w - codes * step) ** 2), step, (np.sum(h * w * codes) / below if below > 0 else step)

    best = measure(candidates[0])
    for scale in candidates[1:]:
        tried = measure(scale)
        best = tried if tried[0] < best[0] else best
    for _ in range(2):
        tried = measure(best[2])
        if not tried[0] < best[0]:
            break
        best = tried
    return best[1]


def clip_steps(w, h, bits, group, mask=None, factor=None):
    factor = tensor_factor(w, bits) if factor is None else factor
    mask = np.ones(w.shape, bool) if mask is None else mask
    steps = np.zeros((w.shape[0], -(-w.shape[1] // group)))
    for r in range(w.shape[0]):
        for g in range(steps.shape[1]):
            at = np.arange(g * group, min((g + 1) * group, w.shape[1]))
            at = at[mask[r, at]]
            steps[r, g] = clip_step(w[r, at], h[at], bits, factor)
    return steps


def spread(steps, group, cols):
    return np.repeat(steps, group, axis=1)[:, :cols]


def wanda_mask(w, h, density=None, pattern=None):
    """|w| * ||x||: within each row by density, or N:M."""
    score = np.abs(w) * np.sqrt(h)
    return pattern_mask(score, *pattern) if pattern else row_mask(score, density)


def magnitude_mask(w, density):
    return row_mask(np.abs(w).reshape(1, -1), density).reshape(w.shape)


def row_mask(score, density):
    mask = np.ones(score.shape, bool)
    drop = int(np.rint((1 - density) * score.shape[1]))
    for r, row in enumerate(score):
        mask[r, np.lexsort((-np.arange(row.size), row))[:drop]] = False  # among equals the higher column goes first
    return mask


def pattern_mask(score, keep, of):
    mask = np.zeros(score.shape, bool)
    for r in range(score.shape[0]):
        for k in range(0, score.shape[1], of):
            part = score[r, k:k + of]
            mask[r, k + np.argsort(-part, kind="stable")[:keep]] = True
    return mask


def column_order(h, in_order, unit):
    """Columns in the order they are fixed; N:M units stay together, a part of a unit comes last."""
    n, units = len(h), len(h) // unit
    keys = h[:units * unit].reshape(units, unit).sum(axis=1)
    ranked = np.arange(units) if in_order else np.argsort(-keys, kind="stable")
    return np.concatenate([(ranked[:, None] * unit + np.arange(unit)).ravel(), np.arange(units * unit, n)])


def drops_of_blocks(score, density, in_order):
    """Weights to drop in each block: the same share of each as in the paper, or what lies under one threshold."""
    edges = np.append(np.arange(0, score.shape[1], BLOCK), score.shape[1])
    if in_order:
        return np.diff(np.rint((1 - density) * score.shape[0] * edges)).astype(int)
    dropped = np.argsort(score, axis=None, kind="stable")[:int(np.rint((1 - density) * score.size))] % score.shape[1]
    return np.histogram(dropped, bins=edges)[0]


def second_order(w, hessian, damping=0.01, in_order=False, bits=None, group=None, density=None, pattern=None):
    """GPTQ (bits), SparseGPT (density or pattern) or both at once. Returns values, mask, codes, steps."""
    rows, n = w.shape
    h = np.diag(hessian).copy()
    pruning = density is not None or pattern is not None
    order = column_order(h, in_order, pattern[1] if pattern else 1)
    damped = hessian + damping * h.mean() * np.eye(n)
    upper = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T  # inverse = upper^T upper
    work, values, codes = w[:, order].astype(np.float64), np.zeros((rows, n)), np.zeros((rows, n))
    mask, factor, steps = np.ones((rows, n), bool), tensor_factor(w, bits) if bits else 1.0, None
    if bits and pruning:
        steps = clip_steps(w, h, bits, group, wanda_mask(w, h, density, pattern), factor)
    elif bits and not in_order:
        steps = clip_steps(w, h, bits, group)
    elif bits:
        steps = np.zeros((rows, -(-n // group)))
    if density is not None:
        drops = drops_of_blocks((work / np.diag(upper)) ** 2, density, in_order)
    for begin in range(0, n, BLOCK):
        end = min(begin + BLOCK, n)
        if density is not None:
            score = (work[:, begin:end] / np.diag(upper)[begin:end]) ** 2
            flat = np.argsort(score, axis=None, kind="stable")[:drops[begin // BLOCK]]
            mask[flat // (end - begin), begin + flat % (end - begin)] = False
        misses = np.zeros((rows, end - begin))
        for p in range(begin, end):
            k = order[p]
            if bits and in_order and not pruning and k % group == 0:
                top = min(k + group, n)
                steps[:, k // group:k // group + 1] = clip_steps(work[:, p:p + top - k], h[k:top], bits, group,
                                                                 factor=factor)
            if pattern and k % pattern[1] == 0:
                top = min(p + pattern[1], n)
                mask[:, p:top] = pattern_mask((work[:, p:top] / np.diag(upper)[p:top]) ** 2, *pattern)
            column = work[:, p] * mask[:, p]
            if bits:
                codes[:, p] = nearest(column, steps[:, k // group], bits)
                column = codes[:, p] * steps[:, k // group]
            values[:, p] = column
            misses[:, p - begin] = (work[:, p] - column) / upper[p, p]
            work[:, p + 1:end] -= np.outer(misses[:, p - begin], upper[p, p + 1:end])
        work[:, end:] -= misses @ upper[begin:end, end:]
    back = np.argsort(order)
    return values[:, back], mask[:, back], codes[:, back], steps
