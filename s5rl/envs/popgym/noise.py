"""Noise on the observations of another environment."""

from __future__ import annotations

import dataclasses
from typing import final

import dm_env
import jax
import jax.numpy as jnp
from dm_env import specs

from s5rl.envs.base import EnvironmentState
from s5rl.envs.popgym.base import PopgymEnvironment
from s5rl.envs.popgym.draws import Draw, normal
from s5rl.types import Action, Array, PRNGKey, Specs
from s5rl.validation import check_number


@final
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NoisyState:
    """State of one episode.

    Attributes:
      inner: state of the environment without noise.
      key: of the noise; never changed.
    """

    inner: EnvironmentState
    key: PRNGKey


@final
@dataclasses.dataclass(frozen=True)
class Noisy(PopgymEnvironment):
    """Another environment, seen through noise from N(0, sigma^2), clipped to the bounds of the observation.

    Every observation is noisy, the first one of an episode included; rewards and dynamics are not.

    Attributes:
      environment: whose observation is one bounded float32 array.
      sigma: standard deviation of the noise.
      draw: where the noise comes from; see `s5rl.envs.popgym.draws`.
    """

    environment: PopgymEnvironment
    sigma: float
    draw: Draw = dataclasses.field(default=normal, repr=False)

    def __post_init__(self) -> None:
        check_number("sigma", self.sigma, 0, above=True)
        spec = self.environment.observation_spec()
        if not (isinstance(spec, specs.BoundedArray) and spec.dtype == jnp.float32):
            raise ValueError(f"environment must have a bounded float32 observation, got {spec}.")

    @property
    def max_episode_length(self) -> int:
        """That of the environment."""
        return self.environment.max_episode_length

    def sample_state(self, key: PRNGKey) -> NoisyState:
        """Draws a state of the environment, and the key of the noise."""
        inner_key, noise_key = jax.random.split(key)
        return NoisyState(self.environment.sample_state(inner_key), noise_key)

    def begin(self, state: NoisyState) -> dm_env.TimeStep:
        """Shows the environment's first observation through noise."""
        return self._blur(state, self.environment.begin(state.inner))

    def step(self, state: NoisyState, action: Action) -> tuple[NoisyState, dm_env.TimeStep]:
        """Steps the environment; see `JaxEnvironment.step`."""
        inner, timestep = self.environment.step(state.inner, action)
        state = dataclasses.replace(state, inner=inner)
        return state, self._blur(state, timestep)

    def observation_spec(self) -> Specs:
        """Returns that of the environment."""
        return self.environment.observation_spec()

    def action_spec(self) -> Specs:
        """Returns that of the environment."""
        return self.environment.action_spec()

    def render(self, state: NoisyState) -> str:
        """Returns the environment without noise."""
        return self.environment.render(state.inner)

    def _blur(self, state: NoisyState, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        spec = self.environment.observation_spec()
        noise = self.sigma * self.draw(state.key, state.inner.time, spec.shape)
        seen: Array = jnp.clip(timestep.observation + noise.astype(jnp.float32), spec.minimum, spec.maximum)
        return timestep._replace(observation=seen)
