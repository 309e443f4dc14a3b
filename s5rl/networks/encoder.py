"""From any observation to one vector of numbers that a network can read."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from s5rl.types import Array, Observation, Specs

MAX_CATEGORIES = 64
"""Bounded integers with more values than this are quantities; a `DiscreteArray` never is."""


def flatten_observation(observation_spec: Specs, observation: Observation) -> Array:
    """Returns an observation as one vector: the leaves of its nest, encoded and put side by side.

    A `DiscreteArray` is one-hot. An integer `BoundedArray` is multi-discrete where no element has more than
    MAX_CATEGORIES values: each element is one-hot, from its own minimum to its own maximum. Not so uint8, the
    dtype of pixels. Everything else is flat numbers. gymnasium, and so popgym, encodes Discrete,
    MultiDiscrete, floating Box, and nests of them in the same way.

    Args:
      observation_spec: spec of one observation, possibly nested.
      observation: leaves [N, ...].

    Returns:
      Floats [N, F].
    """
    encoded = jax.tree.map(_encode, observation_spec, observation)
    return jnp.concatenate(jax.tree.leaves(encoded), axis=-1)


def _encode(spec: specs.Array, leaf: Array) -> Array:
    """Returns the floats [N, F] of one leaf [N, ...]."""
    flat = jnp.reshape(leaf, (leaf.shape[0], -1))
    categories = _categories(spec)
    if not categories:
        return flat.astype(float)
    # One gather and one comparison, however many elements there are and however many values each has.
    elements = np.repeat(np.arange(len(categories)), [len(values) for values in categories])
    values = np.concatenate([np.array(values, spec.dtype) for values in categories])
    return (flat[:, elements] == values.astype(flat.dtype)).astype(float)


def _categories(spec: specs.Array) -> list[range]:
    """Returns the values that each element may take; none where they are quantities."""
    if not isinstance(spec, specs.BoundedArray) or not np.issubdtype(spec.dtype, np.integer):
        return []
    lows, highs = (
        np.broadcast_to(bound, spec.shape).reshape(-1).tolist() for bound in (spec.minimum, spec.maximum)
    )
    is_small = all(high - low < MAX_CATEGORIES for low, high in zip(lows, highs, strict=True))
    if isinstance(spec, specs.DiscreteArray) or (is_small and spec.dtype != np.uint8):
        return [range(low, high + 1) for low, high in zip(lows, highs, strict=True)]
    return []
