"""The resettable diagonal linear recurrence, in real arithmetic: one function, several implementations.

    x_t = a * x'_{t-1} + b_t,    x'_{t-1} = 0 where should_reset_t, else x_{t-1}

Complex numbers are pairs (real, imaginary) of arrays. A reset is a selection before the product, so that
NaN or inf in an old state reaches neither a value nor a gradient behind it.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from s5rl.types import Array
from s5rl.validation import check_choice

ComplexPair = tuple[Array, Array]
Element = tuple[ComplexPair, ComplexPair, Array]
"""e_k of the paper, equation 9: a [..., P], b [..., P] and the flag [...]."""

IMPLEMENTATIONS = ("auto", "sequential", "associative")


def linear_recurrence(
    decay: ComplexPair,
    inputs: ComplexPair,
    state: ComplexPair,
    should_reset: Array | None,
    implementation: str = "auto",
) -> ComplexPair:
    """Returns all states of the recurrence.

    Args:
      decay: a, [P] each.
      inputs: b, [T, B, P] each.
      state: the state before `inputs[0]`, [B, P] each.
      should_reset: bool [T, B], or None for all False.
      implementation: "sequential" (a scan over T), "associative" (a parallel scan, logarithmic in T), or
        "auto": decided when the program is compiled for a platform, sequential on a CPU, else associative.

    Returns:
      x, [T, B, P] each; the last one is the state after the sequence.

    Raises:
      ValueError: the implementation is unknown.
    """
    check_choice("implementation", implementation, IMPLEMENTATIONS)
    if should_reset is None:
        should_reset = jnp.zeros(inputs[0].shape[:-1], jnp.bool_)
    arguments = jax.tree.map(jnp.asarray, (decay, inputs, state, should_reset))
    if implementation == "auto":
        return jax.lax.platform_dependent(*arguments, cpu=_sequential, default=_associative)
    run: Callable[..., ComplexPair] = _sequential if implementation == "sequential" else _associative
    return run(*arguments)


def recurrence_step(decay: ComplexPair, inputs: ComplexPair, state: ComplexPair) -> ComplexPair:
    """Returns a * x + b, the next state; all [..., P]."""
    (a_re, a_im), (b_re, b_im), (x_re, x_im) = decay, inputs, state
    return a_re * x_re - a_im * x_im + b_re, a_re * x_im + a_im * x_re + b_im


def reset_operator(earlier: Element, later: Element) -> Element:
    """Returns earlier (+) later, the paper's associative operator with a reset flag.

        e_i (+) e_j = (a_j a_i, a_j b_i + b_j, c_i)  if c_j = 0,  else  e_j

    Source: Lu et al. 2023, section 3.1, with the condition as in appendix A.
    """
    (a_i, b_i, c_i), (a_j, b_j, c_j) = earlier, later
    a_i = _where(c_j, (1.0, 0.0), a_i)
    b_i = _where(c_j, (0.0, 0.0), b_i)
    zero = (jnp.zeros_like(b_j[0]), jnp.zeros_like(b_j[1]))
    return recurrence_step(a_j, zero, a_i), recurrence_step(a_j, b_j, b_i), c_i | c_j


def _where(flags: Array, if_reset: tuple[float, float], pair: ComplexPair) -> ComplexPair:
    flags = flags[..., None]
    return jnp.where(flags, if_reset[0], pair[0]), jnp.where(flags, if_reset[1], pair[1])


def _sequential(
    decay: ComplexPair, inputs: ComplexPair, state: ComplexPair, should_reset: Array
) -> ComplexPair:
    def body(state: ComplexPair, slot: tuple[ComplexPair, Array]) -> tuple[ComplexPair, ComplexPair]:
        b, flags = slot
        state = recurrence_step(decay, b, _where(flags, (0.0, 0.0), state))
        return state, state

    return jax.lax.scan(body, state, (inputs, should_reset))[1]


def _associative(
    decay: ComplexPair, inputs: ComplexPair, state: ComplexPair, should_reset: Array
) -> ComplexPair:
    # The incoming state joins the first element, behind that element's own reset.
    first = recurrence_step(decay, (inputs[0][0], inputs[1][0]), _where(should_reset[0], (0.0, 0.0), state))
    inputs = inputs[0].at[0].set(first[0]), inputs[1].at[0].set(first[1])
    shape = inputs[0].shape
    elements = (
        (jnp.broadcast_to(decay[0], shape), jnp.broadcast_to(decay[1], shape)),
        inputs,
        should_reset,
    )
    # lax wants one time axis in all leaves, which flags and pairs share.
    return jax.lax.associative_scan(reset_operator, elements)[1]
