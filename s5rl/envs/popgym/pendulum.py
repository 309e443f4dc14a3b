"""Pendulum of which only the position is seen."""

from __future__ import annotations

import dataclasses
import math
from typing import final

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from s5rl.envs.popgym.base import PopgymEnvironment
from s5rl.types import Action, Array, PRNGKey, next_timestep, restart
from s5rl.validation import check_positive

GRAVITY = 10.0  # m/s^2; the pendulum weighs 1 kg and is 1 m long
TIME_STEP = 0.05  # s
MAX_SPEED = 8.0  # rad/s
MAX_TORQUE = 2.0  # N m
HALF_MAX_COST = 16.2736044 / 2


@final
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PendulumState:
    """State of one episode.

    Attributes:
      physics: float [2], (theta, theta_dot) in rad and rad/s; popgym's `state`.
      time: int32 [], steps taken.
    """

    physics: Array
    time: Array


@final
@dataclasses.dataclass(frozen=True)
class Pendulum(PopgymEnvironment):
    """Swing a pendulum up and hold it there by a torque: (h - cost) / (h L), h = 16.2736044 / 2.

        cost = theta^2 + 0.1 theta_dot^2 + 0.001 torque^2,    before the step, theta from -pi to pi

    An observation is float32 [2]: (cos(theta), sin(theta)); theta = 0 is upright. The torque is clipped to
    +-2. The episode is cut off after L steps.

    Attributes:
      episode_length: L.

    Source: gymnasium's Pendulum-v1.
    """

    episode_length: int = 200

    def __post_init__(self) -> None:
        check_positive(episode_length=self.episode_length)

    @property
    def max_episode_length(self) -> int:
        """Every episode has L steps."""
        return self.episode_length

    def sample_state(self, key: PRNGKey) -> PendulumState:
        """Draws theta from U(-pi, pi) and theta_dot from U(-1, 1)."""
        unit = jax.random.uniform(key, (2,), float, -1.0, 1.0)
        return PendulumState(unit * np.array([math.pi, 1.0], unit.dtype), jnp.int32(0))

    def begin(self, state: PendulumState) -> dm_env.TimeStep:
        """Shows the position."""
        return restart(_observe(state.physics))

    def step(self, state: PendulumState, action: Action) -> tuple[PendulumState, dm_env.TimeStep]:
        """Turns for 0.05 s; see `JaxEnvironment.step`."""
        theta, theta_dot = state.physics
        torque = jnp.clip(action[0], -MAX_TORQUE, MAX_TORQUE)
        angle = (theta + math.pi) % (2 * math.pi) - math.pi
        cost = jnp.square(angle) + 0.1 * jnp.square(theta_dot) + 0.001 * jnp.square(torque)
        speed = theta_dot + (3 / 2 * GRAVITY * jnp.sin(theta) + 3 * torque) * TIME_STEP
        speed = jnp.clip(speed, -MAX_SPEED, MAX_SPEED)
        physics = jnp.stack([theta + speed * TIME_STEP, speed])
        time = state.time + 1
        timestep = next_timestep(
            (HALF_MAX_COST - cost) / HALF_MAX_COST / self.episode_length,
            _observe(physics),
            truncated=time >= self.episode_length,
        )
        return PendulumState(physics, time), timestep

    def observation_spec(self) -> specs.BoundedArray:
        """Returns the spec of float32 [2]: cosine and sine of the angle."""
        return specs.BoundedArray((2,), np.float32, -1.0, 1.0, name="cos and sin")

    def action_spec(self) -> specs.BoundedArray:
        """Returns the spec of float32 [1]: the torque in N m."""
        return specs.BoundedArray((1,), np.float32, -MAX_TORQUE, MAX_TORQUE, name="torque")

    def render(self, state: PendulumState) -> str:
        """Returns a dial with the pendulum's end on it, upright at the top, and the numbers."""
        theta, theta_dot = (float(number) for number in state.physics)
        dial = [[" "] * 13 for _ in range(7)]
        dial[3][6] = "+"
        dial[round(3 - 3 * math.cos(theta))][round(6 - 6 * math.sin(theta))] = "O"
        rows = "\n".join("".join(row).rstrip() for row in dial)
        angle = math.degrees((theta + math.pi) % (2 * math.pi) - math.pi)
        return f"{rows}\nstep {int(state.time)}: theta {angle:+.1f} deg {theta_dot:+.3f} rad/s"


def _observe(physics: Array) -> Array:
    return jnp.stack([jnp.cos(physics[0]), jnp.sin(physics[0])]).astype(jnp.float32)
