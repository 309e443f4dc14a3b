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


def take_minibatch(sequences: AnySequences, places: Array) -> AnySequences:
    """Returns one sequence of each group of neighbours, [L, G, ...] and its memory [G, ...].

    Args:
      sequences: G * M of them, in groups of M neighbours.
      places: [G] which of its group, from 0 to M - 1; a row of `minibatch_places`.
    """

    def take(leaf: Array, axis: int) -> Array:
        groups = leaf.reshape(*leaf.shape[:axis], len(places), -1, *leaf.shape[axis + 1 :])
        index = places.reshape(*[1] * axis, len(places), *[1] * (groups.ndim - axis - 1))
        return jnp.take_along_axis(groups, index, axis + 1).squeeze(axis + 1)

    by_time = jax.tree.map(lambda leaf: take(leaf, 1), sequences._replace(core_state=()))
    return by_time._replace(core_state=jax.tree.map(lambda leaf: take(leaf, 0), sequences.core_state))


def cut(tree: PyTree, length: int) -> PyTree:
    """Returns leaves [L, B * C, ...]: those [C * L, B, ...] of a trajectory in sequences of L slots.

    First come all sequences of the first row, then those of the second one, and so on: rows that lie on
    different devices stay there.
    """
    return jax.tree.map(lambda leaf: _merge(jnp.moveaxis(split(leaf, length), 0, 2), axis=1), tree)


def join(tree: PyTree, num_rows: int) -> PyTree:
    """Returns leaves [C * L, B, ...]: those [L, B * C, ...] that `cut` made of them."""

    def join_leaf(leaf: Array) -> Array:
        length, _, *rest = leaf.shape
        return _merge(jnp.moveaxis(leaf.reshape(length, num_rows, -1, *rest), 2, 0), axis=0)

    return jax.tree.map(join_leaf, tree)


def split(tree: PyTree, length: int) -> PyTree:
    """Returns leaves [C, L, B, ...] of leaves [C * L, B, ...]."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, length, *leaf.shape[1:]), tree)


def minibatch_places(key: PRNGKey, num_rows: int, num_minibatches: int) -> Array:
    """Deals the sequences of an epoch to minibatches: all of them once.

    Of M minibatches, each gets one of every M neighbouring sequences. So a device that holds a share of the
    sequences holds the same share of each minibatch: nothing has to be sent, and the minibatches do not
    depend on the number of devices.

    Args:
      key: a random key.
      num_rows: number G * M of sequences of the trajectory.
      num_minibatches: number M of minibatches.

    Returns:
      int32 [M, G] which sequence of each group, for `take_minibatch`.

    Raises:
      ValueError: num_minibatches does not divide num_rows.
    """
    if num_rows % num_minibatches:
        raise ValueError(
            "num_minibatches must divide the number of sequences, got a trajectory of "
            f"{num_rows} sequences and num_minibatches={num_minibatches}."
        )
    places = jnp.broadcast_to(jnp.arange(num_minibatches), (num_rows // num_minibatches, num_minibatches))
    return jax.random.permutation(key, places, axis=1, independent=True).T


def _merge(leaf: Array, axis: int) -> Array:
    """Makes one axis of two."""
    return leaf.reshape(*leaf.shape[:axis], -1, *leaf.shape[axis + 2 :])
