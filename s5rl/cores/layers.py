"""Parameterised layers that several cores share: a pair of init and apply each."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from s5rl.types import Array, PRNGKey


def lecun(key: PRNGKey, num_inputs: int, num_outputs: int, fan_in: int | None = None) -> Array:
    """Returns a matrix [num_inputs, num_outputs], truncated normal, of variance 1 / fan_in.

    Args:
      key: a random key.
      num_inputs: rows.
      num_outputs: columns.
      fan_in: number of summands of an output, by default the rows. More where several matrices feed one.
    """
    normal = jax.random.truncated_normal(key, -2.0, 2.0, (num_inputs, num_outputs), float)
    # 0.8796 is the standard deviation of a normal cut at two.
    return normal / (0.87962566 * jnp.sqrt(fan_in or num_inputs))


def linear(key: PRNGKey, num_inputs: int, num_outputs: int) -> dict[str, Array]:
    """Returns the parameters of `apply_linear`: a LeCun matrix and a bias of zeros."""
    return {"weights": lecun(key, num_inputs, num_outputs), "bias": jnp.zeros(num_outputs, float)}


def apply_linear(params: dict[str, Array], inputs: Array) -> Array:
    """Returns inputs [..., num_inputs] @ weights + bias, [..., num_outputs]."""
    return inputs @ params["weights"] + params["bias"]


def layer_norm(size: int) -> dict[str, Array]:
    """Returns the parameters of `apply_layer_norm` for `size` features."""
    return {"scale": jnp.ones(size, float), "offset": jnp.zeros(size, float)}


def apply_layer_norm(params: dict[str, Array], inputs: Array) -> Array:
    """Returns inputs [..., F] with mean 0 and variance 1 over the features, scaled and shifted."""
    centred = inputs - jnp.mean(inputs, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + 1e-6) * params["scale"] + params["offset"]
