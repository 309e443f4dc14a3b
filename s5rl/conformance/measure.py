"""How far two results are apart: max|a - b| / max|b| for each array."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from s5rl.types import PyTree

VALUES = 1e-5
"""What float32 values may deviate by."""
GRADIENTS = 1e-4
"""What float32 gradients may deviate by."""
X64 = 1e-10
"""What float64 values and gradients may deviate by."""
BFLOAT16 = 1e-2
"""What values may deviate by where a core computes in bfloat16."""

NOISE = 1e-3
"""Gradients are measured against at least this share of the largest array beside them: some are zero but
for rounding, as that of a bias before a softmax, and have no scale of their own."""


class Deviation(NamedTuple):
    """One comparison that a law makes."""

    what: str
    """What is compared, in words."""
    size: float
    """The deviation; inf where the two cannot be compared."""
    limit: float
    """The largest deviation under which the law holds."""

    @property
    def fails(self) -> bool:
        """Whether the deviation is over its limit; NaN is."""
        return not self.size <= self.limit

    @property
    def severity(self) -> float:
        """The deviation in units of its limit."""
        if self.size == 0:
            return 0.0
        return self.size / self.limit if self.limit else float("inf")

    def __str__(self) -> str:
        return f"{self.what}: {self.size:.1e} (limit {self.limit:.0e})"


def relative_deviation(got: Any, want: Any, floor: float = 0.0) -> float:
    """Returns max|got - want| / max(max|want|, floor).

    NaN or inf at the same places are equal; anywhere else, and where shapes differ, the deviation is inf.
    Integers and flags are equal (0) or not (inf).

    Args:
      got: an array.
      want: an array, the reference.
      floor: the least scale.
    """
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        return float("inf")
    if not (_is_float(got) and _is_float(want)):
        return 0.0 if np.array_equal(got, want) else float("inf")
    got, want = got.astype(np.float64), want.astype(np.float64)
    finite = np.isfinite(want)
    if not np.array_equal(got[~finite], want[~finite], equal_nan=True) or not np.isfinite(got[finite]).all():
        return float("inf")
    difference = np.abs(got[finite] - want[finite]).max(initial=0.0)
    scale = max(largest(want[finite]), floor)
    if difference == 0:
        return 0.0
    return float(difference / scale) if scale else float("inf")


def largest(tree: PyTree) -> float:
    """Returns max|x| over the finite entries of all leaves, 0 where there are none."""
    leaves = [np.abs(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(tree)]
    return max((float(leaf[np.isfinite(leaf)].max(initial=0.0)) for leaf in leaves), default=0.0)


def compare(what: str, got: PyTree, want: PyTree, limit: float, noise: float = 0.0) -> Deviation:
    """Compares two nests array by array.

    Args:
      what: the nests in words.
      got: a nest of arrays.
      want: a nest of arrays, the reference.
      limit: the largest deviation of an array that passes.
      noise: the least scale of an array as a share of the largest in the nest; NOISE for gradients.

    Returns:
      The worst of the arrays.
    """
    if not same_structure(got, want):
        words = f"{jax.tree.structure(got)} in the place of {jax.tree.structure(want)}"
        return Deviation(f"structure of {what}, {words}", float("inf"), limit)
    floor = noise * largest(want) if noise else 0.0
    sizes = jax.tree.map(lambda a, b: relative_deviation(a, b, floor), got, want)
    named = [(size, jax.tree_util.keystr(path)) for path, size in jax.tree_util.tree_leaves_with_path(sizes)]
    size, path = max(named, default=(0.0, ""), key=lambda pair: pair[0])
    return Deviation(f"{what}{path}" if size else what, size, limit)


def same_structure(got: PyTree, want: PyTree) -> bool:
    """Returns whether two nests have their leaves at the same places of the same containers."""
    return len({jax.tree.structure(got), jax.tree.structure(want)}) == 1


def vanishes(what: str, tree: PyTree) -> Deviation:
    """Compares a nest of arrays with zero, exactly."""
    broken = any(not np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(tree))
    return Deviation(what, float("inf") if broken else largest(tree), 0.0)


def demand(what: str, holds: bool) -> Deviation:
    """Returns a comparison that is either right (0) or wrong (inf)."""
    return Deviation(what, 0.0 if holds else float("inf"), 0.0)


def is_finite(tree: PyTree) -> bool:
    """Returns whether no leaf holds NaN or inf."""
    return all(bool(np.isfinite(np.asarray(leaf, np.float64)).all()) for leaf in jax.tree.leaves(tree))


def _is_float(array: np.ndarray) -> bool:
    return bool(jax.numpy.issubdtype(array.dtype, jax.numpy.floating))
