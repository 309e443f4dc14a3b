"""The gated recurrent networks: LSTM and GRU."""

from __future__ import annotations

import abc
import dataclasses
import functools
from typing import Any, final

import jax
import jax.numpy as jnp

from s5rl.cores import checks, layers
from s5rl.cores.base import CheckedCore
from s5rl.types import Array, CoreState, Params, PRNGKey
from s5rl.validation import check_positive


class _GatedCore(CheckedCore):
    """A core that sees its inputs only through W_i x_t + b, which does not wait for the state."""

    @abc.abstractmethod
    def _cell(self, prepared: Params, from_inputs: Array, state: Any) -> tuple[Array, Any]:
        """Consumes W_i x_t + b with a state, and returns an output and the next state."""

    @final
    def _step(self, prepared: Params, inputs: Array, state: CoreState) -> tuple[Array, CoreState]:
        return self._cell(prepared, _from_inputs(prepared, inputs), state)

    @final
    def _unroll(
        self, prepared: Params, inputs: Array, state: CoreState, should_reset: Array | None
    ) -> tuple[Array, CoreState]:
        # One large product for all steps costs less than many small ones, its gradient too.
        from_inputs = _from_inputs(prepared, inputs)
        return self._scan(functools.partial(self._cell, prepared), from_inputs, state, should_reset)


@final
@dataclasses.dataclass(frozen=True)
class LSTMCore(_GatedCore):
    """Long short-term memory with a forget bias of 1, the same function as `hk.LSTM`.

        i, g, f, o = W_i x_t + W_h h_{t-1} + b
        c_t = sigmoid(f + 1) c_{t-1} + sigmoid(i) tanh(g)
        h_t = sigmoid(o) tanh(c_t)

    Attributes:
      hidden_size: number of features of the hidden state and of the output.

    Raises:
      ValueError: the size is not positive.

    Source: Hochreiter and Schmidhuber 1997; Jozefowicz et al. 2015 for the forget bias.
    """

    hidden_size: int = 256

    def __post_init__(self) -> None:
        check_positive(hidden_size=self.hidden_size)

    @classmethod
    def bsuite(cls) -> LSTMCore:
        """Returns the size of the paper's bsuite experiment: Table 3."""
        return cls(hidden_size=256)

    @classmethod
    def popgym(cls) -> LSTMCore:
        """Returns the size of the paper's POPGym experiment: Table 4."""
        return cls(hidden_size=256)

    @classmethod
    def projected_dm_control(cls) -> LSTMCore:
        """Returns the size of the paper's meta-RL experiment: Table 5."""
        return cls(hidden_size=512)

    @property
    def output_size(self) -> int:
        """Number of features of an output: `hidden_size`."""
        return self.hidden_size

    def init(self, key: PRNGKey, input_size: int) -> Params:
        """Returns fresh parameters for inputs of `input_size` features."""
        return _init_gates(key, input_size, self.hidden_size, num_gates=4)

    def initial_state(self, batch_size: int | None = None) -> dict[str, Array]:
        """Returns zeros: `hidden` and `cell`, [B, hidden_size] or [hidden_size]."""
        shape = (self.hidden_size,) if batch_size is None else (batch_size, self.hidden_size)
        return {"hidden": jnp.zeros(shape, float), "cell": jnp.zeros(shape, float)}

    def _cell(
        self, prepared: Params, from_inputs: Array, state: dict[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        gates = from_inputs + state["hidden"] @ prepared["hidden_weights"]
        i, g, f, o = jnp.split(gates, 4, axis=-1)
        cell = jax.nn.sigmoid(f + 1) * state["cell"] + jax.nn.sigmoid(i) * jnp.tanh(g)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return hidden, {"hidden": hidden, "cell": cell}


@final
@dataclasses.dataclass(frozen=True)
class GRUCore(_GatedCore):
    """Gated recurrent unit, the same function as `hk.GRU`.

        z, r = sigmoid(W_i x_t + W_h h_{t-1} + b)
        a = tanh(W_i x_t + W_h (r h_{t-1}) + b)
        h_t = (1 - z) h_{t-1} + z a

    Attributes:
      hidden_size: number of features of the state and of the output.

    Raises:
      ValueError: the size is not positive.

    Source: Cho et al. 2014; Chung et al. 2014.
    """

    hidden_size: int = 256

    def __post_init__(self) -> None:
        check_positive(hidden_size=self.hidden_size)

    @classmethod
    def bsuite(cls) -> GRUCore:
        """Returns the size of the paper's bsuite experiment: Table 3."""
        return cls(hidden_size=256)

    @classmethod
    def popgym(cls) -> GRUCore:
        """Returns the size of the paper's POPGym experiment: Table 4."""
        return cls(hidden_size=256)

    @classmethod
    def projected_dm_control(cls) -> GRUCore:
        """Returns the size that the paper gives its LSTM in the meta-RL experiment: Table 5."""
        return cls(hidden_size=512)

    @property
    def output_size(self) -> int:
        """Number of features of an output: `hidden_size`."""
        return self.hidden_size

    def init(self, key: PRNGKey, input_size: int) -> Params:
        """Returns fresh parameters for inputs of `input_size` features."""
        return _init_gates(key, input_size, self.hidden_size, num_gates=3)

    def initial_state(self, batch_size: int | None = None) -> tuple[Array]:
        """Returns zeros: a tuple of one array, [B, hidden_size] or [hidden_size]."""
        shape = (self.hidden_size,) if batch_size is None else (batch_size, self.hidden_size)
        return (jnp.zeros(shape, float),)

    def prepare(self, params: Params) -> Params:
        """Returns the hidden weights cut in two, since to cut them at every step would copy them."""
        if "hidden_weights" not in params:
            return params
        kept = {name: leaf for name, leaf in params.items() if name != "hidden_weights"}
        gates, candidate = jnp.split(params["hidden_weights"], [2 * self.hidden_size], axis=-1)
        return {**kept, "gate_weights": gates, "candidate_weights": candidate}

    def _cell(self, prepared: Params, from_inputs: Array, state: tuple[Array]) -> tuple[Array, tuple[Array]]:
        (hidden,) = state
        inputs_zr, inputs_a = jnp.split(from_inputs, [2 * self.hidden_size], axis=-1)
        z, r = jnp.split(jax.nn.sigmoid(inputs_zr + hidden @ prepared["gate_weights"]), 2, axis=-1)
        a = jnp.tanh(inputs_a + (r * hidden) @ prepared["candidate_weights"])
        hidden = (1 - z) * hidden + z * a
        return hidden, (hidden,)


def _from_inputs(prepared: Params, inputs: Array) -> Array:
    """Returns inputs [..., F] @ input_weights + bias."""
    checks.check_input_size(inputs, prepared["input_weights"].shape[0])
    return inputs @ prepared["input_weights"] + prepared["bias"]


def _init_gates(key: PRNGKey, input_size: int, hidden_size: int, num_gates: int) -> Params:
    """Returns the weights of gates that see the inputs and the hidden state, and a bias of zeros."""
    check_positive(input_size=input_size)
    key_input, key_hidden = jax.random.split(key)
    fan_in, width = input_size + hidden_size, num_gates * hidden_size
    return {
        "input_weights": layers.lecun(key_input, input_size, width, fan_in),
        "hidden_weights": layers.lecun(key_hidden, hidden_size, width, fan_in),
        "bias": jnp.zeros(width, float),
    }
