"""What stands in the place of numbers that must have no effect."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from s5rl.conformance.subject import is_float
from s5rl.key_data import is_key
from s5rl.types import PyTree

Fill = Callable[[tuple[int, ...]], np.ndarray]
"""From a shape to floats."""


def fills(seed: int) -> list[tuple[str, Fill]]:
    """Returns fills by name: other numbers first, then NaN and the infinities."""
    random = np.random.default_rng(seed + 1)
    return [
        ("other numbers", lambda shape: random.standard_normal(shape).astype(np.float32)),
        ("NaN", functools.partial(np.full, fill_value=np.float32(np.nan))),
        ("inf", functools.partial(np.full, fill_value=np.float32(np.inf))),
        ("-inf", functools.partial(np.full, fill_value=np.float32(-np.inf))),
    ]


def fill_floats(tree: PyTree, where: np.ndarray, fill: Fill) -> PyTree:
    """Returns a nest with its floats replaced where the mask, of the leading axes, is True."""

    def replace(leaf: Any) -> Any:
        return _select(where, fill(leaf.shape), leaf) if is_float(leaf) else leaf

    return jax.tree.map(replace, tree)


def fill_all(tree: PyTree, where: np.ndarray, fill: Fill) -> PyTree:
    """Returns a nest with everything but typed random keys replaced where the mask [T, B] or [B] is True.

    Integers and flags are replaced by those of the next slot or row: they stay in their range.
    """

    def replace(leaf: Any) -> Any:
        if is_float(leaf) or is_key(leaf):
            return leaf
        flat = leaf.reshape(where.size, *leaf.shape[where.ndim :])
        return _select(where, np.roll(flat, 1, axis=0).reshape(leaf.shape), leaf)

    return jax.tree.map(replace, fill_floats(tree, where, fill))


def rows(mask: np.ndarray, leaf: np.ndarray) -> np.ndarray:
    """Returns a mask of leading axes in a shape that selects from a leaf."""
    return mask.reshape(mask.shape + (1,) * (leaf.ndim - mask.ndim))


def _select(where: np.ndarray, new: np.ndarray, old: np.ndarray) -> np.ndarray:
    return np.where(rows(where, old), new, old).astype(old.dtype)
