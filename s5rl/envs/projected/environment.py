"""Random projections around environments in JAX: `ProjectedEnvironment`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, final

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from s5rl.envs.base import EnvironmentState, JaxEnvironment
from s5rl.envs.projected.projections import ProjectionSettings, observe, project
from s5rl.types import Action, Array, PRNGKey, restart

DEFAULT_SETTINGS = ProjectionSettings()


class ProjectedState(NamedTuple):
    """State of one episode."""

    inner: tuple[EnvironmentState, ...]
    """Of every environment; only that of the episode's task goes on."""
    task: Array
    """int32 []: index of the environment of this episode."""
    observation_matrix: Array
    """float32 [O, E] M_o, E of the largest environment; zeros behind the columns of a smaller one."""
    action_matrix: Array
    """float32 [E, A] M_a, likewise."""


@final
@dataclasses.dataclass(frozen=True)
class ProjectedEnvironment(JaxEnvironment):
    """Algorithm 1 around environments in JAX: every episode another one, behind other projections.

    The inner observations must be flat arrays of floats. The A numbers of an action are projected; a
    continuous inner action is clamped to [-1, 1], which is then stretched to its bounds; a discrete one of n
    values is the index of the largest of n projected numbers.

    Attributes:
      environments: one or more.
      settings: of the projections; the sizes must hold those of every environment, where a discrete action
        counts as n numbers.
      seed: of the projections where `settings.fixed_projections`.
    """

    environments: tuple[JaxEnvironment, ...]
    settings: ProjectionSettings = DEFAULT_SETTINGS
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.environments, tuple) or not self.environments:
            raise ValueError(f"environments must be a tuple of at least one, got {self.environments!r}.")
        for environment in self.environments:
            self.settings.check_sizes(str(environment), *_sizes(environment))

    def reset(self, key: PRNGKey) -> tuple[ProjectedState, dm_env.TimeStep]:
        """Draws an environment and its projections; see `JaxEnvironment.reset`."""
        task_key, matrix_key, inner_key = jax.random.split(key, 3)
        count = len(self.environments)
        task = jax.random.randint(task_key, (), 0, count, jnp.int32)
        if self.settings.fixed_projections:
            matrix_key = jax.random.fold_in(jax.random.key(self.seed), task)
        inner, timesteps = zip(
            *(environment.reset(inner_key) for environment in self.environments), strict=True
        )
        matrices = jax.lax.switch(task, [self._drawer(i) for i in range(count)], matrix_key)
        state = ProjectedState(inner, task, *matrices)
        firsts = [
            lambda i=i: observe(self._observation_matrix(state, i), timesteps[i].observation, 0.0, False, jnp)
            for i in range(count)
        ]
        previous = jnp.zeros(self.settings.action_size, jnp.float32)
        return state, restart(self._show(jax.lax.switch(task, firsts), previous))

    def step(self, state: ProjectedState, action: Action) -> tuple[ProjectedState, dm_env.TimeStep]:
        """Acts in the environment of this episode; see `JaxEnvironment.step`."""
        branches = [self._stepper(i) for i in range(len(self.environments))]
        inner, timestep = jax.lax.switch(state.task, branches, state, action)
        discount = timestep.discount
        if not self.settings.bootstrap:
            discount = jnp.where(timestep.last(), 0.0, discount)
        shown = self._show(timestep.observation, jnp.asarray(action, jnp.float32))
        return state._replace(inner=inner), timestep._replace(discount=discount, observation=shown)

    def observation_spec(self) -> specs.Array:
        """Returns the spec of float32 [O + 2], or [O + 2 + A] with the previous action."""
        return self.settings.observation_spec()

    def action_spec(self) -> specs.BoundedArray:
        """Returns the spec of float32 [A], from -1 to 1."""
        return self.settings.action_spec()

    def _show(self, observation: Array, previous_action: Array) -> Array:
        if self.settings.previous_action:
            observation = jnp.concatenate([observation, previous_action])
        return observation.astype(jnp.float32)

    def _observation_matrix(self, state: ProjectedState, index: int) -> Array:
        return state.observation_matrix[:, : _sizes(self.environments[index])[0]]

    def _drawer(self, index: int) -> Callable[[PRNGKey], tuple[Array, Array]]:
        """Returns the function that draws the matrices of an environment, padded with zeros."""
        num_columns, num_rows = np.max([_sizes(environment) for environment in self.environments], axis=0)
        observation_size, action_size = _sizes(self.environments[index])
        settings = self.settings

        def draw(key: PRNGKey) -> tuple[Array, Array]:
            key_o, key_a = jax.random.split(key)
            normal_o = jax.random.normal(key_o, (settings.observation_size, observation_size), jnp.float32)
            normal_a = jax.random.normal(key_a, (action_size, settings.action_size), jnp.float32)
            return (
                jnp.pad(settings.matrix(normal_o, jnp), ((0, 0), (0, num_columns - observation_size))),
                jnp.pad(settings.matrix(normal_a, jnp), ((0, num_rows - action_size), (0, 0))),
            )

        return draw

    def _stepper(
        self, index: int
    ) -> Callable[[ProjectedState, Array], tuple[tuple[EnvironmentState, ...], dm_env.TimeStep]]:
        """Returns the function that steps an environment and projects what it shows."""
        environment = self.environments[index]
        _, action_size = _sizes(environment)

        def step(
            state: ProjectedState, action: Array
        ) -> tuple[tuple[EnvironmentState, ...], dm_env.TimeStep]:
            projected = project(state.action_matrix[:action_size], action)
            stepped, timestep = environment.step(
                state.inner[index], _to_inner(environment.action_spec(), projected)
            )
            inner = (*state.inner[:index], stepped, *state.inner[index + 1 :])
            observation = observe(
                self._observation_matrix(state, index),
                timestep.observation,
                timestep.reward,
                timestep.last() & ((timestep.discount == 0) | (not self.settings.bootstrap)),
                jnp,
            )
            return inner, timestep._replace(observation=observation)

        return step


def _to_inner(spec: specs.BoundedArray, projected: Array) -> Any:
    """Returns the inner action of projected numbers [E]."""
    if isinstance(spec, specs.DiscreteArray):
        return jnp.argmax(projected).astype(spec.dtype)
    low, high = spec.minimum, spec.maximum
    unit = jnp.clip(projected, -1.0, 1.0).reshape(spec.shape)
    stretched = low + (unit + 1.0) / 2.0 * (high - low)
    return jnp.clip(stretched, low, high).astype(spec.dtype)  # rounded, low + (high - low) may pass high


def _sizes(environment: JaxEnvironment) -> tuple[int, int]:
    """Returns how many numbers an environment shows and takes."""
    shown, taken = environment.observation_spec(), environment.action_spec()
    is_flat = isinstance(shown, specs.Array) and len(shown.shape) == 1
    if not is_flat or not np.issubdtype(shown.dtype, np.floating):
        raise ValueError(f"{environment} must show a flat array of floats, got {shown}.")
    if isinstance(taken, specs.DiscreteArray):
        return shown.shape[0], int(taken.num_values)
    if isinstance(taken, specs.BoundedArray) and np.issubdtype(taken.dtype, np.floating):
        return shown.shape[0], int(np.prod(taken.shape))
    raise ValueError(f"{environment} must take a discrete or a bounded continuous action, got {taken}.")
