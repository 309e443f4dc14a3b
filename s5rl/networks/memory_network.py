"""What every network here is: a torso, behind it a core, and behind that whatever an algorithm reads."""

from __future__ import annotations

import abc
import dataclasses
from typing import Generic, TypeVar

import dm_env
import haiku as hk
import jax
import jax.numpy as jnp
from dm_env import specs

from s5rl.cores import RecurrentCore
from s5rl.networks.heads import ActionHead, make_head
from s5rl.networks.torso import ACTIVATIONS, Torso
from s5rl.types import Array, CoreState, EnvironmentSpec, Observation, Params, PRNGKey, Specs

Output = TypeVar("Output")
"""A named tuple with at least `policy`, parameters [..., P] of the action distribution."""


@dataclasses.dataclass(frozen=True, eq=False)
class MemoryNetwork(abc.ABC, Generic[Output]):
    """A torso and a core, reset where a time step is FIRST, and heads on the outputs of the core.

    Attributes:
      environment_spec: specs of what the torso sees and of the action.
      core: the memory.
      torso: what stands before the memory.
      policy_sizes: hidden layers of policies.
      value_sizes: hidden layers of values.
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

    @abc.abstractmethod
    def init(self, key: PRNGKey) -> dict[str, Params]:
        """Returns fresh parameters: those of `_init_memory` and of the heads."""

    @abc.abstractmethod
    def _heads(self, params: dict[str, Params], outputs: Array) -> Output:
        """Returns what the network says, from outputs of the core [..., F]."""

    @property
    def head(self) -> ActionHead:
        """The family of action distributions."""
        return make_head(self.environment_spec.action)

    def prepare(self, params: dict[str, Params]) -> dict[str, Params]:
        """Returns parameters whose core is prepared for acting."""
        return {**params, "core": self.core.prepare(params["core"])}

    def step(
        self, params: dict[str, Params], timestep: dm_env.TimeStep, state: CoreState
    ) -> tuple[Output, CoreState]:
        """Consumes one time step.

        Args:
          params: parameters, or what `prepare` made of them.
          timestep: leaves [B, ...] or [...].
          state: the memory before the time step.

        Returns:
          What the network says of it, leaves [B, ...] or [...], and the memory after the time step.
        """
        features = self._features(params["torso"], timestep.observation, jnp.ndim(timestep.step_type))
        outputs, state = self.core.step(params["core"], features, state, _should_reset(timestep))
        return self._heads(params, outputs), state

    def unroll(
        self, params: dict[str, Params], timesteps: dm_env.TimeStep, state: CoreState
    ) -> tuple[Output, CoreState]:
        """Consumes a sequence of time steps; equals a scan of `step`.

        Args:
          params: parameters.
          timesteps: leaves [T, B, ...].
          state: the memory before the first time step, [B, ...].

        Returns:
          What the network says of them, leaves [T, B, ...], and the memory after the last time step.
        """
        features = self._features(params["torso"], timesteps.observation, jnp.ndim(timesteps.step_type))
        outputs, state = self.core.unroll(params["core"], features, state, _should_reset(timesteps))
        return self._heads(params, outputs), state

    def _init_memory(self, torso_key: PRNGKey, core_key: PRNGKey) -> dict[str, Params]:
        """Returns fresh parameters of `torso` and `core`."""
        observation = jax.tree.map(
            lambda leaf: leaf[None], zero_observation(self.environment_spec.observation)
        )
        torso = hk.transform(self.torso).init(torso_key, observation)
        features = jax.eval_shape(lambda: self._features(torso, observation, num_axes=1))
        return {"torso": torso, "core": self.core.init(core_key, features.shape[-1])}

    def _features(self, params: Params, observation: Observation, num_axes: int) -> Array:
        """Applies the torso, which knows one batch axis, to none, one, or time and batch.

        With both, it is mapped over time: to flatten them together would tear up a batch that lies on
        several devices.
        """

        def apply(observation: Observation) -> Array:
            features = hk.transform(self.torso).apply(params, None, observation)
            if jnp.ndim(features) != 2:
                shape = jnp.shape(features)
                raise ValueError(f"torso must return features [N, F] for observations [N, ...], got {shape}.")
            return features

        if num_axes == 0:
            return apply(jax.tree.map(lambda leaf: leaf[None], observation))[0]
        if num_axes == 1:
            return apply(observation)
        return jax.vmap(apply)(observation)

    @property
    def _policy(self) -> hk.Transformed:
        return self._perceptron((*self.policy_sizes, self.head.num_parameters))

    def _perceptron(self, sizes: tuple[int, ...]) -> hk.Transformed:
        """Returns the pure functions of a perceptron, whose last layer is linear."""

        def apply(inputs: Array) -> Array:
            return hk.nets.MLP(sizes, activation=ACTIVATIONS[self.activation])(inputs)

        return hk.without_apply_rng(hk.transform(apply))


def zero_observation(observation_spec: Specs) -> Observation:
    """Returns one observation of zeros, of a spec's shapes and dtypes."""

    def zeros(spec: specs.Array) -> Array:
        return jnp.zeros(spec.shape, jax.dtypes.canonicalize_dtype(spec.dtype))

    return jax.tree.map(zeros, observation_spec)


def _should_reset(timestep: dm_env.TimeStep) -> Array:
    return jnp.asarray(timestep.step_type) == int(dm_env.StepType.FIRST)
