"""The network of A2C and PPO: torso, core, policy and value."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, final

import haiku as hk
import jax
import jax.numpy as jnp

from s5rl.networks.memory_network import MemoryNetwork
from s5rl.types import Array, Params, PRNGKey


class ActorCriticOutput(NamedTuple):
    """What the network says of time steps with leading axes [...]."""

    policy: Array
    """[..., P] parameters of the action distribution."""
    value: Array
    """[...] the expected discounted return that follows the time step."""


@final
@dataclasses.dataclass(frozen=True, eq=False)
class ActorCritic(MemoryNetwork[ActorCriticOutput]):
    """Torso, core, and two perceptrons for policy and value."""

    def init(self, key: PRNGKey) -> dict[str, Params]:
        """Returns fresh parameters: a dict of `torso`, `core`, `policy` and `value`."""
        key_torso, key_core, key_policy, key_value = jax.random.split(key, 4)
        output = jnp.zeros((1, self.core.output_size), float)
        return {
            **self._init_memory(key_torso, key_core),
            "policy": self._policy.init(key_policy, output),
            "value": self._value.init(key_value, output),
        }

    def _heads(self, params: dict[str, Params], outputs: Array) -> ActorCriticOutput:
        policy = self._policy.apply(params["policy"], outputs)
        value = self._value.apply(params["value"], outputs)
        return ActorCriticOutput(policy, value[..., 0])

    @property
    def _value(self) -> hk.Transformed:
        return self._perceptron((*self.value_sizes, 1))
