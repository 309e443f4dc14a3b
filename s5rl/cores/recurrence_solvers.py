"""Ways to solve the resettable linear recurrence from a zero state, forwards or backwards in time.

    x_t = a_t * x'_{t-1} + b_t,    x'_{t-1} = 0 where should_reset_t, else x_{t-1},    x_{-1} = 0
    in reverse:  the same with t + 1 for t - 1 and x_T = 0

Every solver takes the decay a as [P] each, or as [T, ..., P] each where it changes with time, the inputs b
[T, ..., P] each and flags [T, ...], with any number of batch axes, and returns the states x [T, ..., P] each.
None needs a derivative of its own: `linear_recurrence` differentiates the system that they solve.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from s5rl.types import Array

ComplexPair = tuple[Array, Array]
Element = tuple[ComplexPair, ComplexPair, Array]
"""e_k of the paper, equation 9: a [..., P], b [..., P] and the flag [...]."""


def multiply(a: ComplexPair, x: ComplexPair) -> ComplexPair:
    """Returns the product of complex numbers."""
    (a_re, a_im), (x_re, x_im) = a, x
    return a_re * x_re - a_im * x_im, a_re * x_im + a_im * x_re


def recurrence_step(decay: ComplexPair, inputs: ComplexPair, state: ComplexPair) -> ComplexPair:
    """Returns a * x + b, the next state; all [..., P]."""
    (b_re, b_im), (re, im) = inputs, multiply(decay, state)
    return re + b_re, im + b_im


def unless(flags: Array, pair: ComplexPair, otherwise: tuple[float, float] = (0.0, 0.0)) -> ComplexPair:
    """Returns the pair [..., P] where no flag [...] is set, elsewhere the complex number `otherwise`."""
    flags = flags[..., None]
    return jnp.where(flags, otherwise[0], pair[0]), jnp.where(flags, otherwise[1], pair[1])


def reset_operator(earlier: Element, later: Element) -> Element:
    """Returns earlier (+) later, the paper's associative operator with a reset flag.

        e_i (+) e_j = (a_j a_i, a_j b_i + b_j, c_i)  if c_j = 0,  else  e_j

    Source: Lu et al. 2023, section 3.1, with the condition as in appendix A.
    """
    (a_i, b_i, c_i), (a_j, b_j, c_j) = earlier, later
    a_i, b_i = unless(c_j, a_i, (1.0, 0.0)), unless(c_j, b_i)
    return multiply(a_j, a_i), recurrence_step(a_j, b_j, b_i), c_i | c_j


def solve_sequentially(
    decay: ComplexPair, inputs: ComplexPair, should_reset: Array, *, reverse: bool
) -> ComplexPair:
    """Returns the states by a scan over T: the fastest on a CPU."""
    changes = decay[0].ndim > 1

    def body(
        state: ComplexPair, slot: tuple[ComplexPair | None, ComplexPair, Array]
    ) -> tuple[ComplexPair, ComplexPair]:
        a, b, flags = slot
        state = recurrence_step(decay if a is None else a, b, unless(flags, state))
        return state, state

    start = jnp.zeros_like(inputs[0][0]), jnp.zeros_like(inputs[1][0])
    slots = (decay if changes else None, inputs, should_reset)
    return jax.lax.scan(body, start, slots, reverse=reverse)[1]


def solve_associatively(
    decay: ComplexPair, inputs: ComplexPair, should_reset: Array, *, reverse: bool
) -> ComplexPair:
    """Returns the states by a parallel scan, of a depth logarithmic in T."""
    shape = inputs[0].shape
    decays = jnp.broadcast_to(decay[0], shape), jnp.broadcast_to(decay[1], shape)
    elements = decays, inputs, should_reset
    _, states, _ = jax.lax.associative_scan(reset_operator, elements, reverse=reverse)
    return states


def solve_in_chunks(
    decay: ComplexPair, inputs: ComplexPair, should_reset: Array, *, reverse: bool
) -> ComplexPair:
    """Returns the states by a scan over the steps of all chunks at once, then one over the chunks.

    Each chunk of about sqrt(T) steps starts from zero; then the true state before it, decayed, is added to
    every one of its states up to the first reset.
    """
    num_steps, *rest = inputs[0].shape
    length = math.isqrt(num_steps)
    num_chunks = -(-num_steps // length)
    padding = num_chunks * length - num_steps

    def cut(x: Array) -> Array:
        """Returns [length, num_chunks, ...] of [T, ...], padded where the scan ends."""
        pad = (padding, 0) if reverse else (0, padding)
        x = jnp.pad(x, (pad, *((0, 0),) * (x.ndim - 1)))
        return x.reshape(num_chunks, length, *x.shape[1:]).swapaxes(0, 1)

    decay = jax.tree.map(lambda a: jnp.broadcast_to(a, inputs[0].shape), decay)
    steps = jax.tree.map(cut, (decay, inputs, should_reset))

    def within(carry: Element, slot: Element) -> tuple[Element, Element]:
        carry = reset_operator(carry, slot)
        return carry, carry

    shape = (num_chunks, *rest)
    zeros, ones = jnp.zeros(shape, inputs[0].dtype), jnp.ones(shape, inputs[0].dtype)
    start = ((ones, zeros), (zeros, zeros), jnp.zeros(shape[:-1], jnp.bool_))
    products, states, is_reset = jax.lax.scan(within, start, steps, reverse=reverse)[1]
    end = 0 if reverse else -1

    def across(state: ComplexPair, chunk: Element) -> tuple[ComplexPair, ComplexPair]:
        a, b, flags = chunk
        return recurrence_step(a, b, unless(flags, state)), state

    ends = jax.tree.map(lambda x: x[end], (products, states, is_reset))
    before = jax.lax.scan(across, (zeros[0], zeros[0]), ends, reverse=reverse)[1]
    spread = jax.tree.map(lambda x: jnp.broadcast_to(x, products[0].shape), before)
    states = recurrence_step(products, states, unless(is_reset, spread))

    def join(x: Array) -> Array:
        x = x.swapaxes(0, 1).reshape(num_chunks * length, *rest)
        return x[padding:] if reverse else x[:num_steps]

    return join(states[0]), join(states[1])
