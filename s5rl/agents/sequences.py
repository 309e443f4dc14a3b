"""What PPO learns from: trajectories cut into sequences, which are dealt to minibatches."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import dm_env
import jax
import jax.numpy as jnp

from s5rl.types import Array, CoreState, PRNGKey, PyTree

AnySequences = TypeVar("AnySequences", bound=Any)
"""A named tuple of `core_state` [N, ...] and other leaves [L, N, ...]."""


class Sequences(NamedTuple):
    """N sequences of L slots, and what stays fixed while an update learns from them."""

    core_state: CoreState
    """[N, ...] the memory before the first slot."""
    seen: dm_env.TimeStep
    """[L, N, ...] what the network saw."""
    live: Array
    """[L, N] 0 in dead slots, else 1."""
    raw_action: Array
    """[L, N, D]."""
    log_prob: Array
    """[L, N] of the action when it was taken."""
    value: Array
    """[L, N] before the first gradient step."""
    advantage: Array
    """[L, N] GAE(lambda) before the first gradient step."""


def take_rows(sequences: AnySequences, indices: Array) -> AnySequences:
    """Returns the sequences of the given rows."""
    by_time = jax.tree.map(lambda leaf: leaf[:, indices], sequences._replace(core_state=()))
    return by_time._replace(core_state=jax.tree.map(lambda leaf: leaf[indices], sequences.core_state))


def cut(tree: PyTree, length: int) -> PyTree:
    """Returns leaves [L, C * B, ...]: those [C * L, B, ...] of a trajectory in sequences of L slots.

    First come the first sequences of all rows, then their second ones, and so on.
    """
    return jax.tree.map(lambda leaf: _merge(jnp.swapaxes(split(leaf, length), 0, 1), axis=1), tree)


def join(tree: PyTree, num_rows: int) -> PyTree:
    """Returns leaves [C * L, B, ...]: those [L, C * B, ...] that `cut` made of them."""

    def join_leaf(leaf: Array) -> Array:
        length, _, *rest = leaf.shape
        return _merge(jnp.swapaxes(leaf.reshape(length, -1, num_rows, *rest), 0, 1), axis=0)

    return jax.tree.map(join_leaf, tree)


def split(tree: PyTree, length: int) -> PyTree:
    """Returns leaves [C, L, B, ...] of leaves [C * L, B, ...]."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, length, *leaf.shape[1:]), tree)


def minibatch_rows(key: PRNGKey, num_rows: int, num_minibatches: int) -> Array:
    """Returns which sequences each minibatch of an epoch holds, [num_minibatches, rows]: all of them once.

    Args:
      key: a random key.
      num_rows: number of sequences of the trajectory.
      num_minibatches: number of minibatches.

    Raises:
      ValueError: num_minibatches does not divide num_rows.
    """
    if num_rows % num_minibatches:
        raise ValueError(
            "num_minibatches must divide the number of sequences, got a trajectory of "
            f"{num_rows} sequences and num_minibatches={num_minibatches}."
        )
    return jax.random.permutation(key, num_rows).reshape(num_minibatches, -1)


def _merge(leaf: Array, axis: int) -> Array:
    """Makes one axis of two."""
    return leaf.reshape(*leaf.shape[:axis], -1, *leaf.shape[axis + 2 :])
