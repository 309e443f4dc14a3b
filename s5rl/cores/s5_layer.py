"""One S5 layer: a diagonal state space model, its discretisation, and the nonlinearity behind it.

    continuous:  x'(t) = Lambda x(t) + B u(t),         y = 2 Re(C x) + D u
    discrete:    x_t = Lambda_bar x_{t-1} + B_bar u_t

Lambda holds one of each pair of conjugate eigenvalues. Complex matrices are stored as real ones, their
halves stacked, so that both products with them are one real product each.

Source: Smith et al. 2022 (S5), sections 3 and 4; Lu et al. 2023, section 2.1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from s5rl.cores import layers
from s5rl.cores.hippo import diagonalise
from s5rl.cores.recurrence_solvers import ComplexPair
from s5rl.types import Array, Params, PRNGKey

DISCRETIZATIONS = ("zoh", "bilinear")
ACTIVATIONS = ("full_glu", "half_glu", "gelu")
NORMS = ("none", "pre", "post")


class PreparedLayer(NamedTuple):
    """A discretised layer: H features, P complex modes."""

    decay: ComplexPair
    """[P] each: Lambda_bar."""
    input_matrix: Array
    """[H, 2 P]: B_bar, real parts beside imaginary parts."""
    output_matrix: Array
    """[2 P, H]: 2 Re(C) above -2 Im(C)."""
    skip: Array
    """[H]: the diagonal of D."""
    rest: dict[str, Any]
    """The parameters of the gates and of the norm."""


def init_layer(
    key: PRNGKey,
    *,
    state_size: int,
    model_size: int,
    blocks: int,
    dt_min: float,
    dt_max: float,
    activation: str,
    norm: str,
) -> Params:
    """Returns the parameters of one layer.

    Args:
      key: a random key.
      state_size: number N of real states, P = N / 2 modes.
      model_size: number H of features.
      blocks: number of HiPPO-N blocks on the diagonal of the initial state matrix.
      dt_min: the smallest time step of the log-uniform draw.
      dt_max: the largest one.
      activation: one of ACTIVATIONS.
      norm: one of NORMS.
    """
    key_dt, key_b, key_c, key_d, key_gate, key_value = jax.random.split(key, 6)
    num_modes = state_size // 2
    frequencies, vectors = _block_diagonalise(state_size, blocks)
    # B and C are drawn for the real system and then turned into the basis of its modes.
    b = layers.lecun(key_b, model_size, state_size)
    c = layers.lecun(key_c, state_size, model_size)
    params: dict[str, Any] = {
        "log_decay": jnp.full(num_modes, np.log(0.5), float),
        "frequency": jnp.asarray(frequencies, float),
        "log_dt": jax.random.uniform(
            key_dt, (num_modes,), float, minval=np.log(dt_min), maxval=np.log(dt_max)
        ),
        "input_re": b @ jnp.asarray(vectors.real, float),
        "input_im": b @ jnp.asarray(-vectors.imag, float),
        "output_re": jnp.asarray(vectors.real.T, float) @ c,
        "output_im": jnp.asarray(vectors.imag.T, float) @ c,
        "skip": jax.random.normal(key_d, (model_size,), float),
    }
    if activation != "gelu":
        params["gate"] = layers.linear(key_gate, model_size, model_size)
    if activation == "full_glu":
        params["value"] = layers.linear(key_value, model_size, model_size)
    if norm != "none":
        params["norm"] = layers.layer_norm(model_size)
    return params


def prepare_layer(params: Params, discretization: str) -> PreparedLayer:
    """Discretises a layer.

        zoh:       Lambda_bar = exp(Lambda dt),          B_bar = (Lambda_bar - 1) / Lambda B
        bilinear:  Lambda_bar = (1 + h) / (1 - h),       B_bar = dt / (1 - h) B,     h = Lambda dt / 2

    The real part of Lambda is -exp(log_decay): the layer is stable whatever training does to it.

    Args:
      params: from `init_layer`.
      discretization: one of DISCRETIZATIONS.
    """
    dt = jnp.exp(params["log_dt"])
    rate = -jnp.exp(params["log_decay"]), params["frequency"]
    decay, gain = _zoh(rate, dt) if discretization == "zoh" else _bilinear(rate, dt)
    b_re, b_im = params["input_re"], params["input_im"]
    return PreparedLayer(
        decay=decay,
        input_matrix=jnp.concatenate(
            [gain[0] * b_re - gain[1] * b_im, gain[0] * b_im + gain[1] * b_re], axis=-1
        ),
        output_matrix=jnp.concatenate([2 * params["output_re"], -2 * params["output_im"]], axis=0),
        skip=params["skip"],
        rest={name: params[name] for name in ("gate", "value", "norm") if name in params},
    )


def layer_inputs(layer: PreparedLayer, inputs: Array, norm: str) -> ComplexPair:
    """Returns B_bar u, [..., P] each, for layer inputs [..., H]."""
    projected = _pre_norm(layer, inputs, norm) @ layer.input_matrix
    num_modes = projected.shape[-1] // 2
    return projected[..., :num_modes], projected[..., num_modes:]


def layer_outputs(
    layer: PreparedLayer, inputs: Array, states: ComplexPair, activation: str, norm: str
) -> Array:
    """Returns the outputs [..., H] of a layer from its inputs [..., H] and its states [..., P] each."""
    outputs = jnp.concatenate(states, axis=-1) @ layer.output_matrix
    outputs = jax.nn.gelu(outputs + layer.skip * _pre_norm(layer, inputs, norm))
    if activation != "gelu":
        gate = jax.nn.sigmoid(layers.apply_linear(layer.rest["gate"], outputs))
        if activation == "full_glu":
            outputs = layers.apply_linear(layer.rest["value"], outputs)
        outputs = outputs * gate
    outputs = inputs + outputs
    return layers.apply_layer_norm(layer.rest["norm"], outputs) if norm == "post" else outputs


def _pre_norm(layer: PreparedLayer, inputs: Array, norm: str) -> Array:
    return layers.apply_layer_norm(layer.rest["norm"], inputs) if norm == "pre" else inputs


def _block_diagonalise(state_size: int, blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns frequencies [P] and eigenvectors [N, P] of `blocks` copies of HiPPO-N on a diagonal."""
    frequencies, vectors = diagonalise(state_size // blocks)
    return np.tile(frequencies, blocks), np.kron(np.eye(blocks), vectors)


def _zoh(rate: ComplexPair, dt: Array) -> tuple[ComplexPair, ComplexPair]:
    re, im = rate[0] * dt, rate[1] * dt
    growth = jnp.exp(re)
    decay = growth * jnp.cos(im), growth * jnp.sin(im)
    # exp(z) - 1 without the cancellation of small z.
    difference = jnp.expm1(re) * jnp.cos(im) - 2 * jnp.square(jnp.sin(im / 2)), decay[1]
    return decay, _divide(difference, rate)


def _bilinear(rate: ComplexPair, dt: Array) -> tuple[ComplexPair, ComplexPair]:
    half = rate[0] * dt / 2, rate[1] * dt / 2
    below = 1 - half[0], -half[1]
    return _divide((1 + half[0], half[1]), below), _divide((dt, jnp.zeros_like(dt)), below)


def _divide(above: ComplexPair, below: ComplexPair) -> ComplexPair:
    # Both are scaled first, so that no square leaves the range of floats; the quotient does not feel it.
    scale = jax.lax.stop_gradient(jnp.maximum(jnp.abs(below[0]), jnp.abs(below[1])))
    above, below = (above[0] / scale, above[1] / scale), (below[0] / scale, below[1] / scale)
    norm = jnp.square(below[0]) + jnp.square(below[1])
    return (
        (above[0] * below[0] + above[1] * below[1]) / norm,
        (above[1] * below[0] - above[0] * below[1]) / norm,
    )
