"""One layer of a diagonal state space model: what surrounds its recurrence.

    x_t = Lambda_bar x_{t-1} + B_bar u_t,    y_t = Re(C x_t) + D u_t,    output_t = u_t + gate(gelu(y_t))

Complex matrices are stored as real ones, their halves stacked, so that both products with them are one real
product each.

Source: Smith et al. 2022 (S5), sections 3 and 4, and appendix G for the gates.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from s5rl.cores import layers
from s5rl.cores.recurrence_solvers import ComplexPair
from s5rl.types import Array, Params, PRNGKey

ACTIVATIONS = ("full_glu", "half_glu", "gelu")
NORMS = ("none", "pre", "post")


class PreparedLayer(NamedTuple):
    """A layer ready to run: H features, P complex modes."""

    decay: ComplexPair
    """[P] each: Lambda_bar."""
    input_matrix: Array
    """[H, 2 P]: B_bar, real parts beside imaginary parts."""
    output_matrix: Array
    """[2 P, H]: Re(C) above -Im(C)."""
    skip: Array
    """[H]: the diagonal of D."""
    rest: dict[str, Any]
    """The parameters of the gates and of the norm."""
    continuous: tuple[ComplexPair, Array] | None = None
    """Where time steps come with the inputs: Lambda [P] each and dt [P]; the input matrix is then B."""


def init_surroundings(keys: Iterable[PRNGKey], model_size: int, activation: str, norm: str) -> Params:
    """Returns the parameters of a layer's gates and norm.

    Args:
      keys: two random keys.
      model_size: number H of features.
      activation: one of ACTIVATIONS.
      norm: one of NORMS.
    """
    key_gate, key_value = keys
    params: dict[str, Any] = {}
    if activation != "gelu":
        params["gate"] = layers.linear(key_gate, model_size, model_size)
    if activation == "full_glu":
        params["value"] = layers.linear(key_value, model_size, model_size)
    if norm != "none":
        params["norm"] = layers.layer_norm(model_size)
    return params


def surroundings(params: Params) -> dict[str, Any]:
    """Returns those of a layer's parameters that `init_surroundings` made."""
    return {name: params[name] for name in ("gate", "value", "norm") if name in params}


def layer_inputs(layer: PreparedLayer, inputs: Array, norm: str) -> ComplexPair:
    """Returns B_bar u, [..., P] each, for layer inputs [..., H]."""
    projected = _pre_norm(layer, inputs, norm) @ layer.input_matrix
    num_modes = projected.shape[-1] // 2
    return projected[..., :num_modes], projected[..., num_modes:]


def readout(layer: PreparedLayer, inputs: Array, states: ComplexPair) -> Array:
    """Returns y = Re(C x) + D u, [..., H], for inputs [..., H] and states [..., P] each."""
    return jnp.concatenate(states, axis=-1) @ layer.output_matrix + layer.skip * inputs


def layer_outputs(
    layer: PreparedLayer, inputs: Array, states: ComplexPair, activation: str, norm: str
) -> Array:
    """Returns the outputs [..., H] of a layer from its inputs [..., H] and its states [..., P] each."""
    outputs = jax.nn.gelu(readout(layer, _pre_norm(layer, inputs, norm), states))
    if activation != "gelu":
        gate = jax.nn.sigmoid(layers.apply_linear(layer.rest["gate"], outputs))
        if activation == "full_glu":
            outputs = layers.apply_linear(layer.rest["value"], outputs)
        outputs = outputs * gate
    outputs = inputs + outputs
    return layers.apply_layer_norm(layer.rest["norm"], outputs) if norm == "post" else outputs


def _pre_norm(layer: PreparedLayer, inputs: Array, norm: str) -> Array:
    return layers.apply_layer_norm(layer.rest["norm"], inputs) if norm == "pre" else inputs
