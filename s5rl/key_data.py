"""Random keys as numbers and back: files and other processes know only arrays of numbers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from s5rl.types import PyTree


def is_key(leaf: Any) -> bool:
    """Returns whether an array, or the shape of one, holds typed random keys."""
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def keys_to_numbers(tree: PyTree) -> PyTree:
    """Returns a nest of arrays with its typed random keys as uint32 arrays."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, tree)


def numbers_to_keys(tree: PyTree, like: PyTree) -> PyTree:
    """Returns what `keys_to_numbers` was given.

    Args:
      tree: a nest of arrays.
      like: the same nest with keys, or with their shapes.
    """
    return jax.tree.map(lambda leaf, x: jax.random.wrap_key_data(x) if is_key(leaf) else x, like, tree)
