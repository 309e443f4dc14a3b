"""The network body that acting and learning share: torso, core, policy and value."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, final

import dm_env
import haiku as hk
import jax
import jax.numpy as jnp
from dm_env import specs

from s5rl.cores import RecurrentCore
from s5rl.networks.heads import ActionHead, make_head
from s5rl.networks.torso import ACTIVATIONS, Torso
from s5rl.types import Array, CoreState, EnvironmentSpec, Observation, Params, PRNGKey


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
        observation = _zeros(self.environment_spec.observation)
        torso = hk.transform(self.torso).init(key_torso, observation)
        features = jax.eval_shape(lambda: self._features(torso, observation, num_axes=1))
        output = jnp.zeros((1, self.core.output_size), float)
        return {
            "torso": torso,
            "core": self.core.init(key_core, features.shape[-1]),
            "policy": self._policy().init(key_policy, output),
            "value": self._value().init(key_value, output),
        }

    def prepare(self, params: Params) -> Params:
        """Returns parameters whose core is prepared for acting."""
        return {**params, "core": self.core.prepare(params["core"])}

    def step(
        self, params: Params, timestep: dm_env.TimeStep, state: CoreState
    ) -> tuple[ActorCriticOutput, CoreState]:
        """Consumes one time step.

        Args:
          params: parameters, or what `prepare` made of them.
          timestep: leaves [B, ...] or [...].
          state: the memory before the time step.

        Returns:
          Policy and value, and the memory after the time step.
        """
        features = self._features(params["torso"], timestep.observation, jnp.ndim(timestep.step_type))
        outputs, state = self.core.step(params["core"], features, state, _should_reset(timestep))
        return self._heads(params, outputs), state

    def unroll(
        self, params: Params, timesteps: dm_env.TimeStep, state: CoreState
    ) -> tuple[ActorCriticOutput, CoreState]:
        """Consumes a sequence of time steps; equals a scan of `step`.

        Args:
          params: parameters.
          timesteps: leaves [T, B, ...].
          state: the memory before the first time step, [B, ...].

        Returns:
          Policies and values [T, B, ...], and the memory after the last time step.
        """
        features = self._features(params["torso"], timesteps.observation, jnp.ndim(timesteps.step_type))
        outputs, state = self.core.unroll(params["core"], features, state, _should_reset(timesteps))
        return self._heads(params, outputs), state

    def _features(self, params: Params, observation: Observation, num_axes: int) -> Array:
        """Applies the torso, which knows one batch axis, to any number of leading axes."""
        leading = jax.tree.leaves(observation)[0].shape[:num_axes]
        flat = jax.tree.map(lambda x: jnp.reshape(x, (-1, *x.shape[num_axes:])), observation)
        features = hk.transform(self.torso).apply(params, None, flat)
        if jnp.ndim(features) != 2:
            raise ValueError(
                f"torso must return features [N, F] for observations [N, ...], got shape {features.shape}."
            )
        return features.reshape(*leading, features.shape[-1])

    def _heads(self, params: Params, outputs: Array) -> ActorCriticOutput:
        policy = self._policy().apply(params["policy"], outputs)
        value = self._value().apply(params["value"], outputs)
        return ActorCriticOutput(policy, value[..., 0])

    def _policy(self) -> hk.Transformed:
        return self._mlp((*self.policy_sizes, self.head.num_parameters))

    def _value(self) -> hk.Transformed:
        return self._mlp((*self.value_sizes, 1))

    def _mlp(self, sizes: tuple[int, ...]) -> hk.Transformed:
        def apply(inputs: Array) -> Array:
            return hk.nets.MLP(sizes, activation=ACTIVATIONS[self.activation])(inputs)

        return hk.without_apply_rng(hk.transform(apply))


def _should_reset(timestep: dm_env.TimeStep) -> Array:
    return jnp.asarray(timestep.step_type) == int(dm_env.StepType.FIRST)


def _zeros(observation_spec: Any) -> Observation:
    """Returns a batch of one observation of zeros."""

    def zeros(spec: specs.Array) -> Array:
        return jnp.zeros((1, *spec.shape), jax.dtypes.canonicalize_dtype(spec.dtype))

    return jax.tree.map(zeros, observation_spec)
