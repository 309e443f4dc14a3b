"""The diagonal linear recurrence as one kernel for NVIDIA GPUs, written with Pallas.

A program of the kernel has one batch row and 128 channels, one for each of its threads. The state stays in
registers over all T steps, so every input is read once and every state written once. T is not split: where
B P / 128 is far below the number of multiprocessors, most of the GPU is idle.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas

from s5rl.compat import launch_gpu_kernel
from s5rl.cores.recurrence_solvers import ComplexPair
from s5rl.types import Array

CHANNELS = 128
"""Of a program: as many as threads, which makes whole cache lines of what they read together."""
STEPS_AT_ONCE = 32
"""Steps whose inputs a program asks for before it computes the first of them: they share one delay."""
STEPS_AT_ONCE_INTERPRETED = 4
"""Fewer: XLA would compile for many seconds."""


def solve_on_gpu(
    decay: ComplexPair,
    inputs: ComplexPair,
    should_reset: Array,
    *,
    reverse: bool = False,
    interpret: bool = False,
) -> ComplexPair:
    """Returns all states of the recurrence from the state zero; numbers are pairs (real, imaginary).

        x_t = b_t + a_t * (0 where should_reset_t, else x_{t-1}),    x_{-1} = 0
        x_t = b_t + a_t * (0 where should_reset_t, else x_{t+1}),    x_T = 0      if reverse

    It works under `jax.jit` and `jax.vmap`, but has no derivative. Unless `interpret`, it needs an NVIDIA GPU
    of compute capability 9.0 (Hopper) or newer and jax 0.9. NaN and inf in a state do not survive a reset.

    Args:
      decay: a, float32 [P] or [T, B, P] each.
      inputs: b, float32 [T, B, P] each, T and B of at least 1. Unless P is a multiple of 128 they are copied.
      should_reset: bool [T, B].
      reverse: whether time runs from T - 1 to 0.
      interpret: whether XLA runs the kernel as a loop over its programs, on any platform: slow, for tests.

    Returns:
      x, float32 [T, B, P] each.

    Raises:
      TypeError: a dtype is none of the above.
      ValueError: a shape is none of the above.
      NotImplementedError: jax or a local GPU is too old.
    """
    shape = inputs[0].shape
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"inputs[0] must have shape [T, B, P], each at least 1, got {list(shape)}.")
    for index in (0, 1):
        _check(f"decay[{index}]", decay[index], jnp.float32, shape[-1:], shape)
        _check(f"inputs[{index}]", inputs[index], jnp.float32, shape)
    _check("should_reset", should_reset, jnp.bool_, shape[:-1])
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


def _check(name: str, x: Array, dtype: Any, *shapes: tuple[int, ...]) -> None:
    """Raises an error that names the array unless it has the dtype and one of the shapes."""
    if x.dtype != dtype:
        raise TypeError(f"{name} must be {jnp.dtype(dtype)}, got {x.dtype}{list(x.shape)}.")
    if x.shape not in shapes:
        expected = " or ".join(str(list(shape)) for shape in shapes)
        raise ValueError(f"{name} must have shape {expected}, got {list(x.shape)}.")


def _program(row: Any, block: Any, *refs: Any, reverse: bool, steps_at_once: int) -> None:
    """Solves the recurrence of one row and one block of channels."""
    *decay, b_re_ref, b_im_ref, should_reset, x_re_ref, x_im_ref = refs
    num_steps = b_re_ref.shape[0]
    channels = pallas.ds(block * CHANNELS, CHANNELS)
    varies = len(decay[0].shape) > 1
    constant = None if varies else (decay[0][channels], decay[1][channels])

    def load(t: Any) -> tuple[Array, ...]:
        at = (t, row, channels)
        a_re, a_im = constant or (decay[0][at], decay[1][at])
        # The kernel language does not broadcast the flag by itself.
        flag = jnp.broadcast_to(should_reset[t, row] != 0, (CHANNELS,))
        return a_re, a_im, b_re_ref[at], b_im_ref[at], flag

    def advance(start: Any, count: int, state: ComplexPair | None) -> ComplexPair:
        steps = [start + k for k in range(count)]
        times = [num_steps - 1 - step for step in steps] if reverse else steps
        for t, (a_re, a_im, b_re, b_im, flag) in zip(times, [load(t) for t in times], strict=True):
            if state is None:
                state = b_re, b_im
            else:
                re, im = (jnp.where(flag, 0.0, part) for part in state)
                state = b_re + a_re * re - a_im * im, b_im + a_re * im + a_im * re
            x_re_ref[t, row, channels], x_im_ref[t, row, channels] = state
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
