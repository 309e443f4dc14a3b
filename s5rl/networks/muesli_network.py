"""The network of Muesli: torso, core, policy and value, and a model of what actions lead to."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple, final

import haiku as hk
import jax
import jax.numpy as jnp

from s5rl.cores import LSTMCore
from s5rl.networks.memory_network import MemoryNetwork
from s5rl.networks.value_distribution import TwoHotDistribution
from s5rl.types import Array, Params, PRNGKey

ModelState = dict[str, Array]
"""What the model carries from action to action, leaves [..., model size]."""


class MuesliOutput(NamedTuple):
    """What the network says of time steps with leading axes [...]."""

    policy: Array
    """[..., P] parameters of the action distribution."""
    value: Array
    """[...] the expected discounted return that follows the time step."""
    value_logits: Array
    """[..., bins] the distribution that `value` is read from."""
    memory: Array
    """[..., F] outputs of the core, from which the model starts."""


class ModelOutput(NamedTuple):
    """What the model says behind an action."""

    reward_logits: Array
    """[..., bins] the distribution of the reward that the action brings."""
    value_logits: Array
    """[..., bins] that of the return behind it: of 0 where the episode terminates."""
    policy: Array
    """[..., P] parameters of the next action's distribution."""


@final
@dataclasses.dataclass(frozen=True, eq=False)
class MuesliNetwork(MemoryNetwork[MuesliOutput]):
    """Torso, core, perceptrons for policy and value, and an LSTM over actions with three heads.

        h_t = core(torso(o_t)),    m_0 = start(h_t),    m_k = LSTM(a_{t + k - 1}, m_{k - 1})
        policy(h_t), value(h_t),   reward(m_k), value(m_k), policy(m_k)

    Attributes:
      model: the LSTM of the model.
      values: the distributions that stand for values and rewards.

    Source: Hessel et al. 2021 (Muesli), section 4.4 and figure 10.
    """

    model: LSTMCore
    values: TwoHotDistribution

    def init(self, key: PRNGKey) -> dict[str, Params]:
        """Returns fresh parameters, a dict."""
        keys = jax.random.split(key, 9)
        memory = jnp.zeros((1, self.core.output_size), float)
        hidden = jnp.zeros((1, self.model.output_size), float)
        return {
            **self._init_memory(keys[0], keys[1]),
            "policy": self._policy.init(keys[2], memory),
            "value": self._value.init(keys[3], memory),
            "model_start": self._model_start.init(keys[4], memory),
            "model": self.model.init(keys[5], self.head.num_features),
            "model_reward": self._value.init(keys[6], hidden),
            "model_value": self._value.init(keys[7], hidden),
            "model_policy": self._policy.init(keys[8], hidden),
        }

    def start_model(self, params: Params, memory: Array) -> ModelState:
        """Returns the state of the model at outputs of the core [..., F], before any action."""
        hidden, cell = jnp.split(self._model_start.apply(params["model_start"], memory), 2, axis=-1)
        return {"hidden": jnp.tanh(hidden), "cell": cell}

    def step_model(
        self, params: Params, state: ModelState, raw_action: Array
    ) -> tuple[ModelOutput, ModelState]:
        """Takes an action in the model.

        Args:
          params: from `init`.
          state: leaves [..., model size].
          raw_action: [..., D].

        Returns:
          What follows the action, and the next state.
        """
        step: Callable[[Array, ModelState], tuple[Array, ModelState]]
        step = functools.partial(self.model.step, params["model"])
        for _ in range(raw_action.ndim - 2):  # not flattened: rows may lie on different devices
            step = jax.vmap(step)
        hidden, state = step(self.head.features(raw_action), state)
        output = ModelOutput(
            reward_logits=self._value.apply(params["model_reward"], hidden),
            value_logits=self._value.apply(params["model_value"], hidden),
            policy=self._policy.apply(params["model_policy"], hidden),
        )
        return output, state

    def _heads(self, params: dict[str, Params], outputs: Array) -> MuesliOutput:
        policy = self._policy.apply(params["policy"], outputs)
        value_logits = self._value.apply(params["value"], outputs)
        return MuesliOutput(policy, self.values.decode(value_logits), value_logits, outputs)

    @property
    def _value(self) -> hk.Transformed:
        return self._perceptron((*self.value_sizes, self.values.num_bins))

    @property
    def _model_start(self) -> hk.Transformed:
        return self._perceptron((2 * self.model.output_size,))
