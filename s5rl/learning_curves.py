"""Learning curves: what several seeds reached, over environment steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from s5rl.plots import Curve

NUM_BINS = 100
CONFIDENCE = 0.95


def learning_curve(
    steps: Sequence[np.ndarray], values: Sequence[np.ndarray], weights: Sequence[np.ndarray]
) -> Curve:
    """Returns the mean over seeds, and its confidence interval.

    Each seed is first averaged in `NUM_BINS` bins of equal width; between bins the line is straight. The
    curve covers the steps for which all seeds have values. With n seeds of mean m and standard deviation s
    the interval is that of Student's t,

        m +- t(n - 1) s / sqrt(n)

    with probability `CONFIDENCE`; for one seed it has no width.

    Args:
      steps: [rows] of each seed, ascending.
      values: [rows] of each seed; NaN where nothing was measured.
      weights: [rows] of each seed, such as the number of episodes behind a value.

    Raises:
      ValueError: a seed has no value.
    """
    edges = np.linspace(0, max(each.max() for each in steps), NUM_BINS + 1)[1:-1]
    binned = [_binned(*seed, edges) for seed in zip(steps, values, weights, strict=True)]
    start, end = max(x[0] for x, _ in binned), min(x[-1] for x, _ in binned)
    grid = np.linspace(start, end, max(len(x) for x, _ in binned))
    curves = np.stack([np.interp(grid, x, y) for x, y in binned])
    num_seeds, middle = len(curves), curves.mean(axis=0)
    half = np.zeros_like(middle)
    if num_seeds > 1:
        quantile = stdtrit(num_seeds - 1, (1 + CONFIDENCE) / 2)
        half = quantile * curves.std(axis=0, ddof=1) / np.sqrt(num_seeds)
    return Curve(*(column.tolist() for column in (grid, middle, middle - half, middle + half)))


def _binned(
    steps: np.ndarray, values: np.ndarray, weights: np.ndarray, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean step and the mean value of each bin that holds a value."""
    kept = np.isfinite(values) & (weights > 0)
    if not kept.any():
        raise ValueError("a seed has no value yet: no episode has ended.")
    steps, values, weights = steps[kept], values[kept], weights[kept]
    bins = np.searchsorted(edges, steps)
    total = np.bincount(bins, weights)
    filled = total > 0
    return tuple(np.bincount(bins, weights * each)[filled] / total[filled] for each in (steps, values))  # type: ignore[return-value]
