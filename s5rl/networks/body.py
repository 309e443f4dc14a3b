"""Torso and core: from time steps to what is remembered of them."""

from __future__ import annotations

import dataclasses
from typing import final

import dm_env
import haiku as hk
import jax
import jax.numpy as jnp
from dm_env import specs

from s5rl.cores import RecurrentCore
from s5rl.networks.torso import Torso
from s5rl.types import Array, CoreState, Observation, Params, PRNGKey, Specs


@final
@dataclasses.dataclass(frozen=True, eq=False)
class Body:
    """A torso and behind it a core, reset where a time step is FIRST.

    Attributes:
      observation_spec: spec of what the torso sees.
      core: the memory.
      torso: what stands before the memory.
    """

    observation_spec: Specs
    core: RecurrentCore
    torso: Torso

    def init(self, torso_key: PRNGKey, core_key: PRNGKey) -> dict[str, Params]:
        """Returns fresh parameters: a dict of `torso` and `core`."""
        observation = jax.tree.map(lambda leaf: leaf[None], zero_observation(self.observation_spec))
        torso = hk.transform(self.torso).init(torso_key, observation)
        features = jax.eval_shape(lambda: self._features(torso, observation, num_axes=1))
        return {"torso": torso, "core": self.core.init(core_key, features.shape[-1])}

    def prepare(self, params: dict[str, Params]) -> dict[str, Params]:
        """Returns parameters whose core is prepared for acting; whatever else is in them stays."""
        return {**params, "core": self.core.prepare(params["core"])}

    def step(
        self, params: dict[str, Params], timestep: dm_env.TimeStep, state: CoreState
    ) -> tuple[Array, CoreState]:
        """Consumes one time step.

        Args:
          params: with those of `init`, or what `prepare` made of them.
          timestep: leaves [B, ...] or [...].
          state: the memory before the time step.

        Returns:
          Outputs of the core [B, F] or [F], and the memory after the time step.
        """
        features = self._features(params["torso"], timestep.observation, jnp.ndim(timestep.step_type))
        return self.core.step(params["core"], features, state, _should_reset(timestep))

    def unroll(
        self, params: dict[str, Params], timesteps: dm_env.TimeStep, state: CoreState
    ) -> tuple[Array, CoreState]:
        """Consumes a sequence of time steps; equals a scan of `step`.

        Args:
          params: with those of `init`.
          timesteps: leaves [T, B, ...].
          state: the memory before the first time step, [B, ...].

        Returns:
          Outputs of the core [T, B, F], and the memory after the last time step.
        """
        features = self._features(params["torso"], timesteps.observation, jnp.ndim(timesteps.step_type))
        return self.core.unroll(params["core"], features, state, _should_reset(timesteps))

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


def _should_reset(timestep: dm_env.TimeStep) -> Array:
    return jnp.asarray(timestep.step_type) == int(dm_env.StepType.FIRST)


def zero_observation(observation_spec: Specs) -> Observation:
    """Returns one observation of zeros, of a spec's shapes and dtypes."""

    def zeros(spec: specs.Array) -> Array:
        return jnp.zeros(spec.shape, jax.dtypes.canonicalize_dtype(spec.dtype))

    return jax.tree.map(zeros, observation_spec)
