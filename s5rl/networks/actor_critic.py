"""The network body that acting and learning share: torso, core, policy and value."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, final

import dm_env
import haiku as hk
import jax
import jax.numpy as jnp

from s5rl.cores import RecurrentCore
from s5rl.networks.body import Body
from s5rl.networks.heads import ActionHead, make_head
from s5rl.networks.perceptron import perceptron
from s5rl.networks.torso import Torso
from s5rl.types import Array, CoreState, EnvironmentSpec, Params, PRNGKey


class ActorCriticOutput(NamedTuple):
    """What the network says of time steps with leading axes [...]."""

    policy: Array
    """[..., P] parameters of the action distribution."""
    value: Array
    """[...] the expected discounted return that follows the time step."""


@final
@dataclasses.dataclass(frozen=True, eq=False)
class ActorCritic:
    """Torso, core, and two perceptrons for policy and value.

    Attributes:
      environment_spec: specs of what the torso sees and of the action.
      core: the memory.
      torso: what stands before the memory.
      policy_sizes: hidden layers between memory and policy.
      value_sizes: hidden layers between memory and value.
      activation: name of what follows a hidden layer.

    Raises:
      ValueError: no head serves the action spec.
    """

    environment_spec: EnvironmentSpec
    core: RecurrentCore
    torso: Torso
    policy_sizes: tuple[int, ...]
    value_sizes: tuple[int, ...]
    activation: str

    @property
    def head(self) -> ActionHead:
        """The family of action distributions."""
        return make_head(self.environment_spec.action)

    def init(self, key: PRNGKey) -> Params:
        """Returns fresh parameters: a dict of `torso`, `core`, `policy` and `value`."""
        key_torso, key_core, key_policy, key_value = jax.random.split(key, 4)
        output = jnp.zeros((1, self.core.output_size), float)
        return {
            **self._body.init(key_torso, key_core),
            "policy": self._policy.init(key_policy, output),
            "value": self._value.init(key_value, output),
        }

    def prepare(self, params: Params) -> Params:
        """Returns parameters whose core is prepared for acting."""
        return self._body.prepare(params)

    def step(
        self, params: Params, timestep: dm_env.TimeStep, state: CoreState
    ) -> tuple[ActorCriticOutput, CoreState]:
        """Consumes one time step [B, ...] or [...]; see `Body.step`.

        Returns:
          Policy and value, and the memory after the time step.
        """
        outputs, state = self._body.step(params, timestep, state)
        return self._heads(params, outputs), state

    def unroll(
        self, params: Params, timesteps: dm_env.TimeStep, state: CoreState
    ) -> tuple[ActorCriticOutput, CoreState]:
        """Consumes a sequence of time steps [T, B, ...]; see `Body.unroll`.

        Returns:
          Policies and values [T, B, ...], and the memory after the last time step.
        """
        outputs, state = self._body.unroll(params, timesteps, state)
        return self._heads(params, outputs), state

    def _heads(self, params: Params, outputs: Array) -> ActorCriticOutput:
        policy = self._policy.apply(params["policy"], outputs)
        value = self._value.apply(params["value"], outputs)
        return ActorCriticOutput(policy, value[..., 0])

    @property
    def _body(self) -> Body:
        return Body(self.environment_spec.observation, self.core, self.torso)

    @property
    def _policy(self) -> hk.Transformed:
        return perceptron((*self.policy_sizes, self.head.num_parameters), self.activation)

    @property
    def _value(self) -> hk.Transformed:
        return perceptron((*self.value_sizes, 1), self.activation)
