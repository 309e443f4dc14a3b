"""The gated recurrent networks: LSTM and GRU."""

from __future__ import annotations

import abc
import dataclasses
import functools
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp

from s5rl.cores import checks, layers
from s5rl.cores.base import CheckedCore
from s5rl.types import Array, CoreState, Params, PRNGKey
from s5rl.validation import check_positive


class Consumed(NamedTuple):
    """What a cell makes of one time step."""

    output: Array
    state: Any
    """The next state."""
    factors: tuple[Array, ...]
    """What it has multiplied with each of its hidden weights, in the order of `_hidden_weights`."""


class _GatedCore(CheckedCore):
    """A core that sees its inputs only through W_i x_t + b, which does not wait for the state.

    What it adds to that are products of hidden weights with parts of the state, each to a part of its own.
    """

    @abc.abstractmethod
    def _cell(self, prepared: Params, from_inputs: Array, state: Any) -> Consumed:
        """Consumes W_i x_t + b with a state."""

    @property
    @abc.abstractmethod
    def _hidden_weights(self) -> tuple[str, ...]:
        """Names of the hidden weights, whose products are added to the parts of W_i x_t + b in this order."""

    @final
    def _step(self, prepared: Params, inputs: Array, state: CoreState) -> tuple[Array, CoreState]:
        consumed = self._cell(prepared, _from_inputs(prepared, inputs), state)
        return consumed.output, consumed.state

    @final
    def _unroll(
        self, prepared: Params, inputs: Array, state: CoreState, should_reset: Array | None
    ) -> tuple[Array, CoreState]:
        # One large product for all steps costs less than many small ones, its gradient too.
        from_inputs = _from_inputs(prepared, inputs)
        weights = {name: prepared[name] for name in self._hidden_weights}
        return _unroll_cell(self, should_reset, weights, from_inputs, state)

    @final
    def _scan_cell(
        self, should_reset: Array | None, weights: Params, from_inputs: Array, state: CoreState
    ) -> tuple[tuple[Array, tuple[Array, ...]], CoreState]:
        """Returns outputs and factors [T, B, ...], and the final state."""

        def step(from_inputs: Array, state: CoreState) -> tuple[Any, CoreState]:
            consumed = self._cell(weights, from_inputs, state)
            return (consumed.output, consumed.factors), consumed.state

        outputs: Any
        outputs, final_state = self._scan(step, from_inputs, state, should_reset)
        return outputs, final_state


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _unroll_cell(
    core: _GatedCore, should_reset: Array | None, weights: Params, from_inputs: Array, state: CoreState
) -> tuple[Array, CoreState]:
    """Returns outputs [T, B, F] and the final state.

    The derivative with respect to hidden weights is one product over all time steps, where that of the scan
    would be one at each: slower, and between devices a sum that is sent at each.
    """
    (outputs, _), final_state = core._scan_cell(should_reset, weights, from_inputs, state)
    return outputs, final_state


@_unroll_cell.defjvp
def _unroll_cell_jvp(
    core: _GatedCore, primals: tuple[Any, ...], tangents: tuple[Any, ...]
) -> tuple[Any, Any]:
    should_reset, weights, from_inputs, state = primals
    _, weights_tangent, from_inputs_tangent, state_tangent = tangents
    scan = functools.partial(core._scan_cell, should_reset, weights)
    ((outputs, factors), final_state), linear = jax.linearize(scan, from_inputs, state)
    # To change the weights is to change what their products are added to.
    parts = [
        factor @ weights_tangent[name] for factor, name in zip(factors, core._hidden_weights, strict=True)
    ]
    from_inputs_tangent = from_inputs_tangent + jnp.concatenate(parts, axis=-1)
    (outputs_tangent, _), final_tangent = linear(from_inputs_tangent, state_tangent)
    return (outputs, final_state), (outputs_tangent, final_tangent)


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

    @property
    def _hidden_weights(self) -> tuple[str, ...]:
        return ("hidden_weights",)

    def _cell(self, prepared: Params, from_inputs: Array, state: dict[str, Array]) -> Consumed:
        gates = from_inputs + state["hidden"] @ prepared["hidden_weights"]
        i, g, f, o = jnp.split(gates, 4, axis=-1)
        cell = jax.nn.sigmoid(f + 1) * state["cell"] + jax.nn.sigmoid(i) * jnp.tanh(g)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return Consumed(hidden, {"hidden": hidden, "cell": cell}, factors=(state["hidden"],))


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

    @property
    def _hidden_weights(self) -> tuple[str, ...]:
        return ("gate_weights", "candidate_weights")

    def _cell(self, prepared: Params, from_inputs: Array, state: tuple[Array]) -> Consumed:
        (hidden,) = state
        inputs_zr, inputs_a = jnp.split(from_inputs, [2 * self.hidden_size], axis=-1)
        z, r = jnp.split(jax.nn.sigmoid(inputs_zr + hidden @ prepared["gate_weights"]), 2, axis=-1)
        kept = r * hidden
        a = jnp.tanh(inputs_a + kept @ prepared["candidate_weights"])
        after = (1 - z) * hidden + z * a
        return Consumed(after, (after,), factors=(hidden, kept))


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
