"""One S5 layer: a diagonal state space model in continuous time, its start and its discretisation.

    continuous:  x'(t) = Lambda x(t) + B u(t),         y = 2 Re(C x) + D u
    discrete:    x_t = Lambda_bar x_{t-1} + B_bar u_t

Lambda holds one of each pair of conjugate eigenvalues.

Source: Smith et al. 2022 (S5), sections 3 and 4; Lu et al. 2023, section 2.1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from s5rl.cores import layers
from s5rl.cores.diagonal_layer import PreparedLayer, init_surroundings, surroundings
from s5rl.cores.hippo import diagonalise
from s5rl.cores.recurrence_solvers import ComplexPair, multiply
from s5rl.types import Array, Params, PRNGKey

DISCRETIZATIONS = ("zoh", "bilinear")


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
    key_dt, key_b, key_c, key_d, *gate_keys = jax.random.split(key, 6)
    num_modes = state_size // 2
    frequencies, vectors = _block_diagonalise(state_size, blocks)
    # B and C are drawn for the real system and then turned into the basis of its modes.
    b = layers.lecun(key_b, model_size, state_size)
    c = layers.lecun(key_c, state_size, model_size)
    return {
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
        **init_surroundings(gate_keys, model_size, activation, norm),
    }


def prepare_layer(params: Params, discretization: str) -> PreparedLayer:
    """Returns a layer with its own time steps, discretised; see `discretise`.

    Args:
      params: from `init_layer`.
      discretization: one of DISCRETIZATIONS.
    """
    decay, gain = discretise(*_continuous(params), discretization)
    return _prepared(params, decay, multiply(gain, (params["input_re"], params["input_im"])))


def prepare_timed_layer(params: Params, discretization: str) -> PreparedLayer:
    """Returns a layer that is discretised step by step, since its time steps come with the inputs.

    Args:
      params: from `init_layer`.
      discretization: one of DISCRETIZATIONS; of the `decay` over a time of 1.
    """
    rate, dt = _continuous(params)
    decay, _ = discretise(rate, dt, discretization)
    layer = _prepared(params, decay, (params["input_re"], params["input_im"]))
    return layer._replace(continuous=(rate, dt))


def discretise(rate: ComplexPair, dt: Array, discretization: str) -> tuple[ComplexPair, ComplexPair]:
    """Returns Lambda_bar, and what B is multiplied by to be B_bar; all [..., P].

        zoh:       Lambda_bar = exp(Lambda dt),          B_bar = (Lambda_bar - 1) / Lambda B
        bilinear:  Lambda_bar = (1 + h) / (1 - h),       B_bar = dt / (1 - h) B,     h = Lambda dt / 2

    Args:
      rate: Lambda, [P] each.
      dt: time steps, [..., P].
      discretization: one of DISCRETIZATIONS.
    """
    return _zoh(rate, dt) if discretization == "zoh" else _bilinear(rate, dt)


def _continuous(params: Params) -> tuple[ComplexPair, Array]:
    """Returns Lambda and dt; the real part of Lambda is negative whatever training does to it: stable."""
    return (-jnp.exp(params["log_decay"]), params["frequency"]), jnp.exp(params["log_dt"])


def _prepared(params: Params, decay: ComplexPair, input_matrix: ComplexPair) -> PreparedLayer:
    return PreparedLayer(
        decay=decay,
        input_matrix=jnp.concatenate(input_matrix, axis=-1),
        # Half of the modes stand for both halves of the conjugate pairs.
        output_matrix=jnp.concatenate([2 * params["output_re"], -2 * params["output_im"]], axis=0),
        skip=params["skip"],
        rest=surroundings(params),
    )


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
