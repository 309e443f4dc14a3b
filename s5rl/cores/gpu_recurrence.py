"""The diagonal linear recurrence as one kernel for NVIDIA GPUs, written with Pallas.

A program of the kernel has one batch row and 128 channels, one for each of its threads. State and decay stay in
registers over all T steps, so every input is read once and every state written once. T is not split: where
B P / 128 is far below the number of multiprocessors, most of the GPU is idle.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas

from s5rl.compat import launch_gpu_kernel
from s5rl.types import Array

if TYPE_CHECKING:  # linear_recurrence imports this module
    from s5rl.cores.linear_recurrence import ComplexPair

CHANNELS = 128
"""Of a program: as many as threads, which makes whole cache lines of what they read together."""
STEPS_AT_ONCE = 16
"""Steps whose inputs a program asks for before it computes the first of them, so that they share one delay."""
STEPS_AT_ONCE_INTERPRETED = 4
"""Fewer, for what XLA needs seconds to compile."""


def solve_on_gpu(
    decay: ComplexPair,
    inputs: ComplexPair,
    should_reset: Array,
    *,
    reverse: bool = False,
    interpret: bool = False,
) -> ComplexPair:
    """Returns all states of the recurrence from the state zero, in complex numbers as pairs (real, imaginary).

        x_t = b_t + a_t * (0 where should_reset_t, else x_{t-1}),    x_{-1} = 0
        x_t = b_t + a_t * (0 where should_reset_t, else x_{t+1}),    x_T = 0      if reverse

    It works under `jax.jit` and `jax.vmap`, but has no derivative. It needs an NVIDIA GPU, unless `interpret`.

    Args:
      decay: a, float32 [P] or [T, B, P] each.
      inputs: b, float32 [T, B, P] each, T and B of at least 1. Unless P is a multiple of 128 they are copied.
      should_reset: bool [T, B].
      reverse: whether time runs from T - 1 to 0.
      interpret: whether XLA runs the kernel as a loop over its programs, on any platform: slow, for tests.

    Returns:
      x, float32 [T, B, P] each.

    Raises:
      ValueError: a shape or dtype is none of the above.
    """
    shape = _check(decay, inputs, should_reset)
    _, num_rows, num_channels = shape
    num_blocks = -(-num_channels // CHANNELS)
    missing = num_blocks * CHANNELS - num_channels

    def pad(x: Array) -> Array:
        return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)]) if missing else x

    operands = (*map(pad, (*decay, *inputs)), should_reset.astype(jnp.int32))
    state = jax.ShapeDtypeStruct((*shape[:-1], num_blocks * CHANNELS), jnp.float32)
    steps_at_once = STEPS_AT_ONCE_INTERPRETED if interpret else STEPS_AT_ONCE
    program = functools.partial(_program, reverse=reverse, steps_at_once=steps_at_once)
    launch = _interpret if interpret else launch_gpu_kernel
    x_re, x_im = launch(program, (num_rows, num_blocks), (state, state), operands)
    return x_re[..., :num_channels], x_im[..., :num_channels]


def _check(decay: ComplexPair, inputs: ComplexPair, should_reset: Array) -> tuple[int, int, int]:
    """Returns T, B, P, or raises the errors of `solve_on_gpu`."""
    shape = jnp.shape(inputs[0])
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"inputs must be [T, B, P], each at least 1, got {shape}.")
    names = ("decay[0]", "decay[1]", "inputs[0]", "inputs[1]")
    for name, x in zip(names, (*decay, *inputs), strict=True):
        shapes = [shape] if name.startswith("inputs") else [shape[-1:], shape]
        if x.dtype != jnp.float32 or x.shape not in shapes:
            expected = " or ".join(map(str, shapes))
            raise ValueError(f"{name} must be float32 {expected}, got {x.dtype} {x.shape}.")
    if should_reset.dtype != jnp.bool_ or should_reset.shape != shape[:2]:
        given = f"{should_reset.dtype} {should_reset.shape}"
        raise ValueError(f"should_reset must be bool {shape[:2]}, got {given}.")
    return shape


def _program(row: Any, block: Any, *refs: Any, reverse: bool, steps_at_once: int) -> None:
    """Solves the recurrence of one row and one block of channels."""
    a_re, a_im, b_re, b_im, should_reset, x_re, x_im = refs
    num_steps = b_re.shape[0]
    channels = pallas.ds(block * CHANNELS, CHANNELS)
    is_constant = len(a_re.shape) == 1
    constant = (a_re[channels], a_im[channels]) if is_constant else None

    def load(t: Any) -> tuple[Array, ...]:
        at = (t, row, channels)
        decay = constant or (a_re[at], a_im[at])
        # Every thread gets the flag: the kernel language multiplies and selects only arrays of equal shape.
        flag = jnp.broadcast_to(should_reset[t, row] != 0, (CHANNELS,))
        return *decay, b_re[at], b_im[at], flag

    def advance(start: Any, count: int, state: ComplexPair | None) -> ComplexPair:
        steps = [start + k for k in range(count)]
        times = [num_steps - 1 - step for step in steps] if reverse else steps
        for t, (a_re, a_im, b_re, b_im, flag) in zip(times, [load(t) for t in times], strict=True):
            if state is None:
                state = b_re, b_im
            else:
                re, im = (jnp.where(flag, 0.0, part) for part in state)
                state = b_re + a_re * re - a_im * im, b_im + a_re * im + a_im * re
            x_re[t, row, channels], x_im[t, row, channels] = state
        assert state is not None, "count is at least 1"
        return state

    # The odd steps come first; with the first of all, which has no state to read, they are at least one.
    first = (num_steps - 1) % steps_at_once + 1
    jax.lax.fori_loop(
        0,
        (num_steps - first) // steps_at_once,
        lambda n, state: advance(first + n * steps_at_once, steps_at_once, state),
        advance(0, first, None),
    )


def _interpret(program: Any, grid: tuple[int, int], out_shape: Any, operands: Any) -> Any:
    def kernel(*refs: Any) -> None:
        program(pallas.program_id(0), pallas.program_id(1), *refs)

    return pallas.pallas_call(kernel, out_shape=out_shape, grid=grid, interpret=True)(*operands)
