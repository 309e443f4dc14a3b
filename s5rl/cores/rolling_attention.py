"""Attention of a window of queries over a rolling memory: causal, banded, and closed at resets.

A query at time t sees the keys of ages 0 (itself) to window - 1 that lie behind the last reset.

    score(i, j) = q_i . k_j / sqrt(D) + bias[age(i, j)]

Source: Vaswani et al. 2017; Raffel et al. 2020 for a learned bias for each relative position.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from s5rl.types import Array


def attend(queries: Array, keys: Array, values: Array, age_bias: Array, visible: Array) -> Array:
    """Returns the attended values of Q consecutive queries over W older keys and their own.

    Args:
      queries: [B, Q, N, D], N heads of D features.
      keys: [B, W + Q, N, D]; key W + i belongs to query i.
      values: [B, W + Q, N, D].
      age_bias: [N, W], by head and age.
      visible: bool [B, Q, W + Q], from `visibility`.

    Returns:
      [B, Q, N, D].
    """
    num_queries, window = queries.shape[1], age_bias.shape[-1]
    # A hidden slot may hold NaN or inf from before a reset, and 0 * inf is NaN: such slots are zeroed before
    # any product, and a query that really sees one is answered by NaN (a constant: no gradient passes).
    broken = ~(jnp.isfinite(keys) & jnp.isfinite(values)).all(axis=(-2, -1))
    keys, values = (jnp.where(broken[..., None, None], 0.0, x) for x in (keys, values))
    scores = jnp.einsum("bqnd,bknd->bnqk", queries, keys) / jnp.sqrt(queries.shape[-1])
    ages = jnp.clip(_ages(num_queries, window), 0, window - 1)
    scores = scores + age_bias[:, ages]
    weights = jax.nn.softmax(jnp.where(visible[:, None], scores, -jnp.inf), axis=-1)
    attended = jnp.einsum("bnqk,bknd->bqnd", weights, values)
    sees_broken = (visible & broken[:, None, :]).any(axis=-1)
    return jnp.where(sees_broken[..., None, None], jnp.nan, attended)


def attend_ring(
    queries: Array, keys: Array, values: Array, age_bias: Array, ages: Array, visible: Array
) -> Array:
    """Returns the attended values of one query over a ring of W slots, its own among them.

    Args:
      queries: [B, N, D], N heads of D features.
      keys: [B, N, W, D], finite in slots that are not visible.
      values: [B, N, W, D], finite in slots that are not visible.
      age_bias: [N, W], by head and age.
      ages: int32 [B, W], the age of each slot.
      visible: bool [B, W].

    Returns:
      [B, N, D].
    """
    scores = jnp.einsum("bnd,bnwd->bnw", queries, keys) / jnp.sqrt(queries.shape[-1])
    scores = scores + age_bias[:, ages].swapaxes(0, 1)
    weights = jax.nn.softmax(jnp.where(visible[:, None], scores, -jnp.inf), axis=-1)
    attended = jnp.einsum("bnw,bnwd->bnd", weights, values)
    # As in `attend`, a query that sees NaN or inf is answered by NaN, also where a score of -inf hides it.
    # It shows in the products, so that keys and values need not be read once more.
    is_finite = (jnp.isfinite(scores) | ~visible[:, None]).all(axis=(1, 2))
    is_finite &= jnp.isfinite(attended).all(axis=(1, 2))
    return jnp.where(is_finite[:, None, None], attended, jnp.nan)


def visibility(query_segments: Array, key_segments: Array, window: int) -> Array:
    """Returns which keys the queries see, bool [B, Q, W + Q].

    Args:
      query_segments: int32 [B, Q], number of resets up to and with each query.
      key_segments: int32 [B, W + Q], the same for the keys, -1 where a slot is empty.
      window: W, number of ages.
    """
    ages = _ages(query_segments.shape[1], window)
    in_band = (ages >= 0) & (ages < window)
    return in_band & (query_segments[:, :, None] == key_segments[:, None, :])


def _ages(num_queries: int, window: int) -> Array:
    """Returns the age [Q, W + Q] of each key as each query sees it; negative in the future."""
    return jnp.arange(num_queries)[:, None] + window - jnp.arange(window + num_queries)[None, :]
