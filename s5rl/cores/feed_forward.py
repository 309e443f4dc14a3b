"""The memoryless baseline."""

from __future__ import annotations

import dataclasses
from typing import final

import jax

from s5rl.cores import checks, layers
from s5rl.cores.base import CheckedCore
from s5rl.types import Array, Params, PRNGKey
from s5rl.validation import check_positive, check_sizes


@final
@dataclasses.dataclass(frozen=True)
class FeedForwardCore(CheckedCore):
    """A multilayer perceptron in the place of a memory; its state is the empty tuple.

    Attributes:
      hidden_sizes: width of each layer, a ReLU behind each; the last one is the output's.

    Raises:
      ValueError: there is no layer, or a size is not positive.
    """

    hidden_sizes: tuple[int, ...] = (256,)

    def __post_init__(self) -> None:
        check_sizes("hidden_sizes", self.hidden_sizes, at_least=1)

    @classmethod
    def bsuite(cls) -> FeedForwardCore:
        """Returns the size of the paper's bsuite experiment: Table 3."""
        return cls(hidden_sizes=(256,))

    @classmethod
    def popgym(cls) -> FeedForwardCore:
        """Returns the size of the paper's POPGym experiment: Table 4."""
        return cls(hidden_sizes=(256,))

    @classmethod
    def projected_dm_control(cls) -> FeedForwardCore:
        """Returns the size of the memory in the paper's meta-RL experiment: Table 5."""
        return cls(hidden_sizes=(512,))

    @property
    def output_size(self) -> int:
        """Number of features of an output: the last of `hidden_sizes`."""
        return self.hidden_sizes[-1]

    def init(self, key: PRNGKey, input_size: int) -> Params:
        """Returns fresh parameters for inputs of `input_size` features."""
        check_positive(input_size=input_size)
        keys = jax.random.split(key, len(self.hidden_sizes))
        widths = (input_size, *self.hidden_sizes)
        return {
            f"layer_{index}": layers.linear(keys[index], widths[index], widths[index + 1])
            for index in range(len(self.hidden_sizes))
        }

    def initial_state(self, batch_size: int | None = None) -> tuple[()]:
        """Returns the empty tuple: nothing is remembered."""
        del batch_size
        return ()

    def _step(self, prepared: Params, inputs: Array, state: tuple[()]) -> tuple[Array, tuple[()]]:
        checks.check_input_size(inputs, prepared["layer_0"]["weights"].shape[0])
        hidden = inputs
        for index in range(len(self.hidden_sizes)):
            hidden = jax.nn.relu(layers.apply_linear(prepared[f"layer_{index}"], hidden))
        return hidden, state

    def _unroll(
        self, prepared: Params, inputs: Array, state: tuple[()], should_reset: Array | None
    ) -> tuple[Array, tuple[()]]:
        del should_reset  # there is nothing to reset
        return self._step(prepared, inputs, state)
