"""Parameterised layers that several cores share: a pair of init and apply each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from s5rl.types import Array, Params, PRNGKey
from s5rl.validation import check_positive


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


def stack(
    key: PRNGKey,
    init_layer: Callable[[PRNGKey], Params],
    *,
    num_layers: int,
    input_size: int,
    model_size: int,
) -> Params:
    """Returns the parameters of equal layers, `layer_0` and so on, and of a `projection` where it takes one.

    Args:
      key: a random key.
      init_layer: returns the parameters of one layer.
      num_layers: number of layers.
      input_size: number of features of the inputs; projected unless it is `model_size`.
      model_size: number of features of the first layer's inputs.
    """
    check_positive(input_size=input_size)
    key_projection, *layer_keys = jax.random.split(key, num_layers + 1)
    params: dict[str, Any] = {f"layer_{index}": init_layer(each) for index, each in enumerate(layer_keys)}
    if input_size != model_size:
        params["projection"] = linear(key_projection, input_size, model_size)
    return params


def layer_norm(size: int) -> dict[str, Array]:
    """Returns the parameters of `apply_layer_norm` for `size` features."""
    return {"scale": jnp.ones(size, float), "offset": jnp.zeros(size, float)}


def apply_layer_norm(params: dict[str, Array], inputs: Array) -> Array:
    """Returns inputs [..., F] with mean 0 and variance 1 over the features, scaled and shifted."""
    centred = inputs - jnp.mean(inputs, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + 1e-6) * params["scale"] + params["offset"]
