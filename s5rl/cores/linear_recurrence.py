"""The resettable diagonal linear recurrence, in real arithmetic: one function, several implementations.

    x_t = a_t * x'_{t-1} + b_t,    x'_{t-1} = 0 where should_reset_t, else x_{t-1}

Complex numbers are pairs (real, imaginary) of arrays. A reset is a selection before the product, so that
NaN or inf in an old state reaches neither a value nor a gradient behind it.

The recurrence is the solution x of a linear system M x = b, and is given to JAX as one: its derivative solves
the same system, its transpose is a recurrence that runs backwards in time. So all implementations have the
same derivatives, of any order and in either mode, and save nothing for them but x.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from s5rl.compat import supports_gpu_kernels
from s5rl.cores.gpu_recurrence import solve_on_gpu
from s5rl.cores.recurrence_solvers import (
    ComplexPair,
    multiply,
    recurrence_step,
    solve_associatively,
    solve_in_chunks,
    solve_sequentially,
    unless,
)
from s5rl.types import Array
from s5rl.validation import check_choice

Solver = Callable[..., ComplexPair]


def linear_recurrence(
    decay: ComplexPair,
    inputs: ComplexPair,
    state: ComplexPair,
    should_reset: Array | None,
    implementation: str = "auto",
) -> ComplexPair:
    """Returns all states of the recurrence.

    Args:
      decay: a, [P] each, or [T, ..., P] each where it changes with time.
      inputs: b, [T, ..., P] each, T of at least 1, with any number of batch axes.
      state: the state before `inputs[0]`, [..., P] each.
      should_reset: bool [T, ...], or None for all False.
      implementation: "sequential" (a scan over T), "associative" (a parallel scan, logarithmic in T),
        "chunked" (about the root of T steps, in all chunks at once), or "auto": decided when the program is
        compiled for a platform, sequential on a CPU, else associative. "pallas" is "auto", but one kernel on
        NVIDIA GPUs, for float32 and where `s5rl.compat.supports_gpu_kernels()`; it has never run on one.

    Returns:
      x, [T, ..., P] each; the last one is the state after the sequence.

    Raises:
      ValueError: the implementation is unknown.

    Source: Lu et al. 2023, section 3.1, without the flag in the operator; Martin and Cundy 2018 for the
    derivative of a linear recurrence.
    """
    check_choice("implementation", implementation, IMPLEMENTATIONS)
    if should_reset is None:
        should_reset = jnp.zeros(inputs[0].shape[:-1], jnp.bool_)
    decay, inputs, state = jax.tree.map(jnp.asarray, (decay, inputs, state))
    solve = _SOLVERS[implementation]
    later_reset, first_decay, later_decay = _one_later(should_reset), decay, decay
    if decay[0].ndim > 1:
        first_decay = decay[0][0], decay[1][0]
        later_decay = _one_later(decay[0]), _one_later(decay[1])
    # The state before the sequence is a part of the first input, behind that step's own reset.
    first = recurrence_step(first_decay, (inputs[0][0], inputs[1][0]), unless(should_reset[0], state))
    inputs = inputs[0].at[0].set(first[0]), inputs[1].at[0].set(first[1])

    def inputs_of(states: ComplexPair) -> ComplexPair:
        """Returns M x = x_t - a_t * x'_{t-1}."""
        re, im = multiply(decay, unless(should_reset, _one_earlier(states)))
        return states[0] - re, states[1] - im

    states: ComplexPair = jax.lax.custom_linear_solve(
        inputs_of,
        inputs,
        solve=lambda _, b: solve(decay, b, should_reset, reverse=False),
        # The transpose of a product with a complex number is the one with its conjugate.
        transpose_solve=lambda _, b: solve((later_decay[0], -later_decay[1]), b, later_reset, reverse=True),
    )
    return states


def _solve_by_platform(
    decay: ComplexPair, inputs: ComplexPair, should_reset: Array, *, reverse: bool, has_kernel: bool
) -> ComplexPair:
    solvers: dict[str, Solver] = {"cpu": solve_sequentially, "default": solve_associatively}
    if has_kernel and supports_gpu_kernels() and inputs[0].dtype == jnp.float32:
        solvers["cuda"] = _solve_on_gpu
    states: ComplexPair = jax.lax.platform_dependent(
        decay,
        inputs,
        should_reset,
        **{name: functools.partial(solve, reverse=reverse) for name, solve in solvers.items()},
    )
    return states


def _solve_on_gpu(
    decay: ComplexPair, inputs: ComplexPair, should_reset: Array, *, reverse: bool
) -> ComplexPair:
    """Calls the kernel, which has one batch axis, with any number of them."""
    shape = inputs[0].shape

    def merge(x: Array) -> Array:
        return x.reshape(shape[0], -1, shape[-1])

    if decay[0].ndim > 1:
        decay = merge(decay[0]), merge(decay[1])
    inputs = merge(inputs[0]), merge(inputs[1])
    re, im = solve_on_gpu(decay, inputs, should_reset.reshape(shape[0], -1), reverse=reverse)
    return re.reshape(shape), im.reshape(shape)


_SOLVERS: dict[str, Solver] = {
    "auto": functools.partial(_solve_by_platform, has_kernel=False),
    "sequential": solve_sequentially,
    "associative": solve_associatively,
    "chunked": solve_in_chunks,
    "pallas": functools.partial(_solve_by_platform, has_kernel=True),
}
IMPLEMENTATIONS = tuple(_SOLVERS)


def _one_earlier(states: ComplexPair) -> ComplexPair:
    """Returns x_{t-1} at t, and zeros at 0."""
    re, im = (jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]]) for x in states)
    return re, im


def _one_later(values: Array) -> Array:
    """Returns what belongs to t + 1 at t, and zeros at the end."""
    return jnp.concatenate([values[1:], jnp.zeros_like(values[:1])])
