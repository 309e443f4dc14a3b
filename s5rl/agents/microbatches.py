"""Learning from a few rows at a time: what is computed for the others is not in memory meanwhile."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from s5rl.types import Array, PyTree

Output = TypeVar("Output")


def in_microbatches(
    function: Callable[..., Output], size: int | None, in_axes: tuple[PyTree, ...], out_axes: PyTree
) -> Callable[..., Output]:
    """Returns a function that computes the same for a few rows at a time, one microbatch after the other.

    For gradients each microbatch is computed again, so that the peak of the memory falls with its size. The
    results are those of all rows: losses and means over them are no affair of the microbatches.

    Microbatch j of n holds the rows j, j + n, j + 2 n, ... Where contiguous rows lie on several devices, each
    of them has its part in every microbatch.

    Args:
      function: of arrays with rows, computed for each row by itself; what else it needs it closes over.
      size: number of rows of a microbatch; the largest divisor of the number of rows that is not above it is
        taken. None for all rows at once.
      in_axes: for each argument the axis of its rows, or a tree of such, as in `jax.vmap`.
      out_axes: the axes of the rows of what it returns.
    """
    if size is None:
        return function

    def call(*arguments: Any) -> Output:
        num_rows = _num_rows(in_axes, arguments)
        num_blocks = num_rows // largest_divisor(num_rows, size)
        if num_blocks == 1:
            return function(*arguments)
        blocks = _map(functools.partial(_deal, num_blocks), in_axes, arguments)
        outputs = jax.lax.map(jax.checkpoint(lambda block: function(*block)), blocks)
        return _map(_collect, out_axes, outputs)

    return call


def largest_divisor(number: int, limit: int) -> int:
    """Returns the largest divisor of a number that is not above the limit."""
    return next(divisor for divisor in range(min(number, limit), 0, -1) if number % divisor == 0)


def _num_rows(axes: tuple[PyTree, ...], arguments: tuple[PyTree, ...]) -> int:
    return jax.tree.leaves(_map(lambda axis, leaf: leaf.shape[axis], axes, arguments))[0]


def _map(function: Callable[[int, Array], Any], axes: PyTree, tree: PyTree) -> Any:
    """Applies a function to leaves and their axes, which stand at the leaves or above them."""
    return jax.tree.map(lambda axis, part: jax.tree.map(functools.partial(function, axis), part), axes, tree)


def _deal(num_blocks: int, axis: int, leaf: Array) -> Array:
    """Returns [blocks, ..., rows of a block, ...] of rows along an axis."""
    shape = (*leaf.shape[:axis], -1, num_blocks, *leaf.shape[axis + 1 :])
    return jnp.moveaxis(leaf.reshape(shape), axis + 1, 0)


def _collect(axis: int, leaf: Array) -> Array:
    """Returns all rows along an axis of what `_deal` made."""
    dealt = jnp.moveaxis(leaf, 0, axis + 1)
    return dealt.reshape(*dealt.shape[:axis], -1, *dealt.shape[axis + 2 :])
