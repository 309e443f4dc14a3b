"""What a network sees of the past beside the observation: previous action, previous reward, is-first."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, final

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from s5rl.types import Action, Array, EnvironmentSpec, PyTree, Specs, Trajectory


@final
@dataclasses.dataclass(frozen=True)
class NetworkInputs:
    """From time steps to what the torso sees of them, the same for acting and learning.

    With nothing chosen that is the observation. Otherwise it is a tuple of the observation, the previous
    action, the previous reward and is-first, without those that are not chosen.

    Nothing leads into a FIRST step: its previous action is the null action, and its reward is 0. So nothing
    passes from one episode to the next, and the action of a dead slot is never seen.

    Attributes:
      environment_spec: specs of the environment.
      previous_action: whether it sees the action that led into the step.
      previous_reward: whether it sees the reward that led into the step.
      is_first: whether it sees that the step is FIRST, as 0 or 1.
    """

    environment_spec: EnvironmentSpec
    previous_action: bool
    previous_reward: bool
    is_first: bool

    @property
    def observation_spec(self) -> Specs:
        """The spec of what the torso sees."""
        return self._nest(
            self.environment_spec.observation,
            self.environment_spec.action,
            specs.Array((), jax.dtypes.canonicalize_dtype(float), name="previous reward"),
            specs.DiscreteArray(2, name="is first"),
        )

    def initial_action(self, batch_size: int | None = None) -> Action:
        """Returns the null action [B, ...] or [...]: what `remembered` was before anything was done.

        As in popgym it is 0 if the action spec allows that in every element, otherwise the lowest action.
        """
        batch = () if batch_size is None else (batch_size,)
        return jax.tree.map(lambda null: jnp.broadcast_to(null, batch + null.shape), self._null_action)

    def remembered(self, action: Action) -> Action:
        """Returns what an actor has to carry of an action to its next step: () unless it is seen there."""
        return action if self.previous_action else ()

    def of_timestep(self, timestep: dm_env.TimeStep, previous_action: Action) -> dm_env.TimeStep:
        """Returns time steps as the network sees them.

        Args:
          timestep: leaves [...].
          previous_action: [...] what is `remembered` of the actions that led into them; not read where they
            are FIRST.

        Returns:
          The time steps [...], their observation replaced by what the torso sees.
        """
        is_first = jnp.asarray(timestep.step_type) == int(dm_env.StepType.FIRST)

        def select(null: Array, action: Array) -> Array:
            flags = is_first.reshape(is_first.shape + (1,) * null.ndim)
            return jnp.where(flags, null, action)

        observation = self._nest(
            timestep.observation,
            jax.tree.map(select, self._null_action, previous_action),
            jnp.asarray(timestep.reward, float),
            is_first.astype(jnp.int32),
        )
        return timestep._replace(observation=observation)

    def of_trajectory(self, trajectory: Trajectory) -> dm_env.TimeStep:
        """Returns the time steps [T + 1, B] of a trajectory as the network saw them when it acted."""
        # The action of slot t leads into time step t + 1; what led into the first one was carried there.
        previous_action = jax.tree.map(
            lambda initial, actions: jnp.concatenate([initial[None], actions]),
            trajectory.initial_state.previous_action,
            self.remembered(trajectory.actions),
        )
        return self.of_timestep(trajectory.timesteps, previous_action)

    @property
    def _null_action(self) -> Action:
        return jax.tree.map(_null, self.remembered(self.environment_spec.action))

    def _nest(self, observation: PyTree, previous_action: Any, previous_reward: Any, is_first: Any) -> PyTree:
        """Puts what is chosen, values or specs, beside the observation."""
        flags = (self.previous_action, self.previous_reward, self.is_first)
        chosen = itertools.compress((previous_action, previous_reward, is_first), flags)
        return (observation, *chosen) if any(flags) else observation


def _null(spec: specs.BoundedArray) -> Array:
    has_zero = np.all((spec.minimum <= 0) & (spec.maximum >= 0))
    null = np.broadcast_to(0 if has_zero else spec.minimum, spec.shape)
    return jnp.asarray(null, jax.dtypes.canonicalize_dtype(spec.dtype))
