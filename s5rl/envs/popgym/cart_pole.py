"""CartPole of which only positions or only velocities are seen."""

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
from s5rl.validation import check_choice, check_positive

GRAVITY = 9.8  # m/s^2
POLE_MASS = 0.1  # kg
TOTAL_MASS = 1.1  # kg, with the cart
HALF_LENGTH = 0.5  # m, of the pole
FORCE = 10.0  # N
TIME_STEP = 0.02  # s
MAX_X = 2.4  # m
MAX_THETA = 12 * math.pi / 180


@final
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CartPoleState:
    """State of one episode.

    Attributes:
      physics: float [4], (x, x_dot, theta, theta_dot) in m, m/s, rad and rad/s; popgym's `state`.
      time: int32 [], steps taken.
    """

    physics: Array
    time: Array


@final
@dataclasses.dataclass(frozen=True)
class CartPole(PopgymEnvironment):
    """Balance a pole on a cart by pushing it left (0) or right (1): 1/L for each step, the last one included.

    An observation is float32 [2]: (x, theta), or (x_dot, theta_dot). The episode terminates where |x| > 2.4
    m or |theta| > 12 degrees, and is cut off after L steps.

    Attributes:
      episode_length: L.
      observed: "position" or "velocity". As in popgym, the first observation is (x, theta) in either case.

    Source: Barto, Sutton and Anderson 1983; Euler steps of 0.02 s as in gymnasium's CartPole-v1.
    """

    episode_length: int = 200
    observed: str = "position"

    def __post_init__(self) -> None:
        check_positive(episode_length=self.episode_length)
        check_choice("observed", self.observed, ("position", "velocity"))

    @property
    def max_episode_length(self) -> int:
        """L."""
        return self.episode_length

    def sample_state(self, key: PRNGKey) -> CartPoleState:
        """Draws every quantity from U(-0.05, 0.05)."""
        return CartPoleState(jax.random.uniform(key, (4,), float, -0.05, 0.05), jnp.int32(0))

    def begin(self, state: CartPoleState) -> dm_env.TimeStep:
        """Shows the positions."""
        return restart(_observe(state.physics, "position"))

    def step(self, state: CartPoleState, action: Action) -> tuple[CartPoleState, dm_env.TimeStep]:
        """Pushes the cart for 0.02 s; see `JaxEnvironment.step`."""
        physics = _move(state.physics, jnp.where(action == 1, FORCE, -FORCE))
        time = state.time + 1
        timestep = next_timestep(
            1 / self.episode_length,
            _observe(physics, self.observed),
            terminated=(jnp.abs(physics[0]) > MAX_X) | (jnp.abs(physics[2]) > MAX_THETA),
            truncated=time >= self.episode_length,
        )
        return CartPoleState(physics, time), timestep

    def observation_spec(self) -> specs.Array:
        """Returns the spec of float32 [2]: bounded positions, or unbounded velocities."""
        if self.observed == "velocity":
            return specs.Array((2,), np.float32, name="velocities")
        bounds = np.array([2 * MAX_X, 2 * MAX_THETA], np.float32)
        return specs.BoundedArray((2,), np.float32, -bounds, bounds, name="positions")

    def action_spec(self) -> specs.DiscreteArray:
        """Returns the spec of a push: 0 left, 1 right."""
        return specs.DiscreteArray(2, name="push")

    def render(self, state: CartPoleState) -> str:
        """Returns the track with the cart on it, the side to which the pole leans, and the numbers."""
        x, x_dot, theta, theta_dot = (float(number) for number in state.physics)
        track = ["-"] * 49
        track[round((np.clip(x / MAX_X, -1, 1) + 1) * 24)] = "/" if theta > 0 else "\\"
        numbers = (
            f"x {x:+.3f} m {x_dot:+.3f} m/s, theta {math.degrees(theta):+.2f} deg {theta_dot:+.3f} rad/s"
        )
        return f"|{''.join(track)}|  step {int(state.time)}: {numbers}"


def _observe(physics: Array, observed: str) -> Array:
    seen = (0, 2) if observed == "position" else (1, 3)
    return jnp.stack([physics[index] for index in seen]).astype(jnp.float32)


def _move(physics: Array, force: Array) -> Array:
    """Returns [4] after one Euler step.

    theta_acc = (g sin(theta) - cos(theta) p) / (l (4/3 - m cos(theta)^2 / M))
    x_acc = p - m l theta_acc cos(theta) / M,      p = (force + m l theta_dot^2 sin(theta)) / M
    """
    _, x_dot, theta, theta_dot = physics
    sin, cos = jnp.sin(theta), jnp.cos(theta)
    push = (force + POLE_MASS * HALF_LENGTH * jnp.square(theta_dot) * sin) / TOTAL_MASS
    inertia = HALF_LENGTH * (4 / 3 - POLE_MASS * jnp.square(cos) / TOTAL_MASS)
    theta_acc = (GRAVITY * sin - cos * push) / inertia
    x_acc = push - POLE_MASS * HALF_LENGTH * theta_acc * cos / TOTAL_MASS
    rates = jnp.stack([x_dot, x_acc, theta_dot, theta_acc])
    return physics + TIME_STEP * rates
