"""Unrolling in chunks of time, each of which is computed again when gradients pass through it.

A chunk's rows stay in the caches of a CPU through all layers, and of the forward pass only the state between
chunks is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from s5rl.types import Array

State = TypeVar("State")
Unroll = Callable[[Array, State, Array], tuple[Array, State]]

NUM_ROWS = 256
"""Rows, time steps times batch, with which a CPU multiplies matrices at full speed within its caches."""


def default_chunk_length(batch_size: int) -> int:
    """Returns a number of time steps of about NUM_ROWS rows, between 8 and 128."""
    return min(max(NUM_ROWS // max(batch_size, 1), 8), 128)


def unroll_in_chunks(
    unroll: Unroll[State], inputs: Array, state: State, should_reset: Array, chunk_length: int
) -> tuple[Array, State]:
    """Returns what `unroll` does, computed chunk by chunk.

    Args:
      unroll: takes inputs [t, B, F], a state and flags [t, B] for any t; returns outputs and the next state.
      inputs: [T, B, F].
      state: the state before `inputs[0]`.
      should_reset: bool [T, B].
      chunk_length: number of time steps of a chunk; the last may be shorter.

    Returns:
      The outputs [T, B, ...] and the final state.
    """
    num_steps = inputs.shape[0]
    num_chunks = num_steps // chunk_length
    if num_chunks < 2:
        return unroll(inputs, state, should_reset)

    # Inside a scan nothing is shared between the two computations of a chunk anyway.
    @jax.checkpoint
    def chunk(state: State, slots: tuple[Array, Array]) -> tuple[State, Array]:
        outputs, state = unroll(slots[0], state, slots[1])
        return state, outputs

    whole = num_chunks * chunk_length
    slots = jax.tree.map(
        lambda x: x[:whole].reshape(num_chunks, chunk_length, *x.shape[1:]), (inputs, should_reset)
    )
    state, outputs = jax.lax.scan(chunk, state, slots)
    outputs = outputs.reshape(whole, *outputs.shape[2:])
    if whole == num_steps:
        return outputs, state
    rest, state = chunk(state, (inputs[whole:], should_reset[whole:]))[::-1]
    return jnp.concatenate([outputs, rest]), state
