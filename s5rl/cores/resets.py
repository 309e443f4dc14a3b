"""Replacing a state by the initial one, exactly where a flag says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from s5rl.types import Array, CoreState

if TYPE_CHECKING:
    from s5rl.cores.base import RecurrentCore


def reset_state(core: RecurrentCore, state: CoreState, should_reset: Array | None) -> CoreState:
    """Returns the state with the rows of `should_reset` replaced by the core's initial state.

    A selection, never a product with a mask: NaN and inf in the old state reach neither the new state nor
    a gradient.

    Args:
      core: whose initial state it is.
      state: leaves [B, ...].
      should_reset: bool [B], or None for all False.
    """
    if should_reset is None:
        return state

    def select(initial: Array, leaf: Array) -> Array:
        flags = should_reset.reshape(should_reset.shape + (1,) * (leaf.ndim - 1))
        return jnp.where(flags, initial, leaf)

    return jax.tree.map(select, core.initial_state(should_reset.shape[0]), state)
