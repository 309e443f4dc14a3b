"""A minimal gated unit: every feature decides at each step how much of its old value to keep."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from s5rl.cores import CheckedCore


@dataclasses.dataclass(frozen=True)
class MyCore(CheckedCore):
    """h_t = k_t h_{t-1} + (1 - k_t) tanh(W_h x_t + b_h),    k_t = sigmoid(W_k x_t + b_k)."""

    hidden_size: int = 64

    @property
    def output_size(self) -> int:
        """The F of the outputs [B, F]."""
        return self.hidden_size

    def init(self, key: Array, input_size: int) -> dict[str, Array]:
        """Returns random parameters."""
        weights = jax.random.normal(key, (input_size, 2 * self.hidden_size)) / jnp.sqrt(input_size)
        keep_bias = jnp.log(jnp.linspace(1.0, 100.0, self.hidden_size))  # to forget in 2 to 100 steps
        return {"weights": weights, "bias": jnp.concatenate([jnp.zeros(self.hidden_size), keep_bias])}

    def initial_state(self, batch_size: int | None = None) -> tuple[Array]:
        """Returns zeros [B, F], or [F] without a batch."""
        shape = (self.hidden_size,) if batch_size is None else (batch_size, self.hidden_size)
        return (jnp.zeros(shape),)

    def _step(self, params: dict[str, Array], inputs: Array, state: tuple[Array]) -> tuple[Array, tuple]:
        (hidden,) = state
        value, keep = jnp.split(inputs @ params["weights"] + params["bias"], 2, axis=-1)
        keep = jax.nn.sigmoid(keep)
        hidden = keep * hidden + (1 - keep) * jnp.tanh(value)
        return hidden, (hidden,)
