"""The network of Muesli: torso, core, policy and value, and a model of what actions lead to."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, final

import dm_env
import haiku as hk
import jax
import jax.numpy as jnp

from s5rl.cores import LSTMCore, RecurrentCore
from s5rl.networks.body import Body
from s5rl.networks.heads import ActionHead, make_head
from s5rl.networks.perceptron import perceptron
from s5rl.networks.torso import Torso
from s5rl.networks.value_distribution import TwoHotDistribution
from s5rl.types import Array, CoreState, EnvironmentSpec, Params, PRNGKey

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
class MuesliNetwork:
    """Torso, core, perceptrons for policy and value, and an LSTM over actions with three heads.

        h_t = core(torso(o_t)),    m_0 = initial(h_t),    m_k = LSTM(a_{t + k - 1}, m_{k - 1})
        policy(h_t), value(h_t),   reward(m_k), value(m_k), policy(m_k)

    Attributes:
      environment_spec: specs of what the torso sees and of the action.
      core: the memory.
      torso: what stands before the memory.
      policy_sizes: hidden layers of the policies.
      value_sizes: hidden layers of values and rewards.
      activation: name of what follows a hidden layer.
      model: the LSTM of the model.
      values: the distributions that stand for values and rewards.

    Raises:
      ValueError: no head serves the action spec.

    Source: Hessel et al. 2021 (Muesli), section 4.4 and figure 10.
    """

    environment_spec: EnvironmentSpec
    core: RecurrentCore
    torso: Torso
    policy_sizes: tuple[int, ...]
    value_sizes: tuple[int, ...]
    activation: str
    model: LSTMCore
    values: TwoHotDistribution

    @property
    def head(self) -> ActionHead:
        """The family of action distributions."""
        return make_head(self.environment_spec.action)

    def init(self, key: PRNGKey) -> Params:
        """Returns fresh parameters, a dict."""
        keys = jax.random.split(key, 9)
        memory = jnp.zeros((1, self.core.output_size), float)
        hidden = jnp.zeros((1, self.model.output_size), float)
        return {
            **self._body.init(keys[0], keys[1]),
            "policy": self._policy.init(keys[2], memory),
            "value": self._value.init(keys[3], memory),
            "model_start": self._model_start.init(keys[4], memory),
            "model": self.model.init(keys[5], self.head.num_features),
            "model_reward": self._value.init(keys[6], hidden),
            "model_value": self._value.init(keys[7], hidden),
            "model_policy": self._policy.init(keys[8], hidden),
        }

    def prepare(self, params: Params) -> Params:
        """Returns parameters whose core is prepared for acting."""
        return self._body.prepare(params)

    def step(
        self, params: Params, timestep: dm_env.TimeStep, state: CoreState
    ) -> tuple[MuesliOutput, CoreState]:
        """Consumes one time step [B, ...] or [...]; see `Body.step`."""
        memory, state = self._body.step(params, timestep, state)
        return self._heads(params, memory), state

    def unroll(
        self, params: Params, timesteps: dm_env.TimeStep, state: CoreState
    ) -> tuple[MuesliOutput, CoreState]:
        """Consumes a sequence of time steps [T, B, ...]; see `Body.unroll`."""
        memory, state = self._body.unroll(params, timesteps, state)
        return self._heads(params, memory), state

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
        leading = raw_action.shape[:-1]
        features, flat = jax.tree.map(
            lambda leaf: leaf.reshape(-1, leaf.shape[-1]), (self.head.features(raw_action), state)
        )
        hidden, state = jax.tree.map(
            lambda leaf: leaf.reshape(*leading, -1), self.model.step(params["model"], features, flat)
        )
        output = ModelOutput(
            reward_logits=self._value.apply(params["model_reward"], hidden),
            value_logits=self._value.apply(params["model_value"], hidden),
            policy=self._policy.apply(params["model_policy"], hidden),
        )
        return output, state

    def _heads(self, params: Params, memory: Array) -> MuesliOutput:
        policy = self._policy.apply(params["policy"], memory)
        value_logits = self._value.apply(params["value"], memory)
        return MuesliOutput(policy, self.values.decode(value_logits), value_logits, memory)

    @property
    def _body(self) -> Body:
        return Body(self.environment_spec.observation, self.core, self.torso)

    @property
    def _policy(self) -> hk.Transformed:
        return perceptron((*self.policy_sizes, self.head.num_parameters), self.activation)

    @property
    def _value(self) -> hk.Transformed:
        return perceptron((*self.value_sizes, self.values.num_bins), self.activation)

    @property
    def _model_start(self) -> hk.Transformed:
        return perceptron((2 * self.model.output_size,), self.activation)
