"""Replacing the few rows of a batch that need it, without computing the replacement for all of them.

Under `jax.vmap` a `lax.cond` becomes a select, which computes both branches for every row: a reset that
takes as long as a thousand steps would be computed at each step. Here the replacement stands in the body of
a `lax.while_loop`, and a rule for vmap gathers the rows to replace, so that the work grows with their number.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap

from s5rl.types import Array, PyTree

Row = TypeVar("Row", bound=PyTree)

ROWS_TOGETHER = 32
"""So many rows are replaced in one go, since on a CPU they take little longer than one."""
FEW = 16
"""A batch is replaced as a whole when more than one in so many rows need it: cheaper than to gather them."""


def replace_where(replace: Callable[[Row], Row], is_needed: Array, row: Row) -> Row:
    """Returns `replace(row)` where it is needed, else `row`.

    Args:
      replace: a pure function of one row that changes something of it on which its result depends, such as a
        counter; else a compiler may move it out of the loop and compute it always. It must not close over
        values that `jax.vmap` maps over: what differs between rows belongs into the row.
      is_needed: bool [].
      row: a nest of arrays; `jax.vmap`, once or more often, makes a batch of it.
    """
    # The functions of a batch are made here since they close over `replace`.
    one = custom_vmap(functools.partial(_replace_one, replace))
    rows = custom_vmap(functools.partial(_replace_rows, replace))

    @one.def_vmap
    def _(size: int, in_batched: PyTree, is_needed: Array, row: Row) -> tuple[Row, PyTree]:
        result = rows(*_broadcast(size, in_batched, (is_needed, row)))
        return result, jax.tree.map(lambda _: True, result)

    @rows.def_vmap
    def _(size: int, in_batched: PyTree, is_needed: Array, row: Row) -> tuple[Row, PyTree]:
        batches = _broadcast(size, in_batched, (is_needed, row))
        result = rows(*jax.tree.map(_merge_axes, batches))
        result = jax.tree.map(lambda new, like: new.reshape(like.shape), result, batches[1])
        return result, jax.tree.map(lambda _: True, result)

    return one(is_needed, row)


def _merge_axes(leaf: Array) -> Array:
    return leaf.reshape(leaf.shape[0] * leaf.shape[1], *leaf.shape[2:])


def _broadcast(size: int, in_batched: PyTree, tree: PyTree) -> PyTree:
    def broadcast(is_batched: bool, leaf: Array) -> Array:
        return leaf if is_batched else jnp.broadcast_to(leaf, (size, *leaf.shape))

    return jax.tree.map(broadcast, tuple(in_batched), tree)


def _replace_one(replace: Callable[[Row], Row], is_needed: Array, row: Row) -> Row:
    def body(carry: tuple[Array, Row]) -> tuple[Array, Row]:
        is_needed, row = carry
        return ~is_needed, replace(row)

    return jax.lax.while_loop(lambda carry: carry[0], body, (is_needed, row))[1]


def _first_indices(flags: Array, count: int) -> Array:
    """Returns int32 [count], where the first flags [N] are set; N where there are no more of them."""
    indices = np.arange(len(flags), dtype=np.int32)

    def following(last: Array, _: None) -> tuple[Array, Array]:
        index = jnp.min(jnp.where(flags & (indices > last), indices, len(flags)))
        return index, index

    return jax.lax.scan(following, jnp.int32(-1), None, count)[1]


def _replace_rows(replace: Callable[[Row], Row], is_needed: Array, rows: Row) -> Row:
    """Replaces rows [B]: all at once while many need it, then several, then the last one alone."""
    num_rows = is_needed.shape[0]

    def all_at_once(carry: tuple[Array, Row]) -> tuple[Array, Row]:
        is_needed, rows = carry

        def select(new: Array, old: Array) -> Array:
            return jnp.where(is_needed.reshape(-1, *[1] * (old.ndim - 1)), new, old)

        return jnp.zeros_like(is_needed), jax.tree.map(select, jax.vmap(replace)(rows), rows)

    def several(carry: tuple[Array, Row]) -> tuple[Array, Row]:
        is_needed, rows = carry
        index = _first_indices(is_needed, ROWS_TOGETHER)
        return scatter(
            index, jax.vmap(replace)(jax.tree.map(lambda leaf: leaf[index], rows)), is_needed, rows
        )

    def the_last(carry: tuple[Array, Row]) -> tuple[Array, Row]:
        is_needed, rows = carry
        index = jnp.argmax(is_needed)
        return scatter(index, replace(jax.tree.map(lambda leaf: leaf[index], rows)), is_needed, rows)

    def scatter(index: Array, new: Row, is_needed: Array, rows: Row) -> tuple[Array, Row]:
        rows = jax.tree.map(lambda old, new: old.at[index].set(new, mode="drop"), rows, new)
        return is_needed.at[index].set(False, mode="drop"), rows

    def more_than(limit: int) -> Callable[[tuple[Array, Row]], Array]:
        return lambda carry: jnp.sum(carry[0], dtype=jnp.int32) > limit

    carry = (is_needed, rows)
    if num_rows <= ROWS_TOGETHER:
        return jax.lax.while_loop(more_than(0), all_at_once, carry)[1]
    carry = jax.lax.while_loop(more_than(max(ROWS_TOGETHER, num_rows // FEW)), all_at_once, carry)
    carry = jax.lax.while_loop(more_than(1), several, carry)
    return jax.lax.while_loop(more_than(0), the_last, carry)[1]
