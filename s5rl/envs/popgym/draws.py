"""The random numbers that single steps draw: the one place where they come into an environment.

The bandit and the environments with noise have a field `draw`. Another function in its place scripts them:

    scripted = jnp.asarray([0.3, 0.9, ...])
    environment = MultiarmedBandit(draw=lambda key, time, shape: scripted[time])

Card games draw the next card with `bits`, unless their state says that the order of the deck is decided.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from s5rl.types import Array, PRNGKey

Draw = Callable[[PRNGKey, Array, tuple[int, ...]], Array]
"""From the key of an episode, the number of steps taken so far, and a shape to that many random numbers."""


def uniform(key: PRNGKey, time: Array, shape: tuple[int, ...]) -> Array:
    """Returns numbers from U[0, 1), float32."""
    return jax.random.uniform(jax.random.fold_in(key, time), shape, "float32")


def normal(key: PRNGKey, time: Array, shape: tuple[int, ...]) -> Array:
    """Returns numbers from N(0, 1), float32."""
    return jax.random.normal(jax.random.fold_in(key, time), shape, "float32")


def bits(key: PRNGKey, time: Array, shape: tuple[int, ...]) -> Array:
    """Returns uniform uint32."""
    return jax.random.bits(jax.random.fold_in(key, time), shape, "uint32")


def below(limit: Array | np.ndarray | int, bits: Array) -> Array:
    """Returns integers from 0 to limit - 1, int32.

    Args:
      limit: [...] at most some hundreds, so that the remainder favours small numbers by less than 1e-6.
      bits: [...] uniform uint32.
    """
    return (bits % jnp.asarray(limit, jnp.uint32)).astype(jnp.int32)
