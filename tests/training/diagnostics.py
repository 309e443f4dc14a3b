"""Tiny environments with known values, each of which tells which part of an agent is broken."""

from __future__ import annotations

import dataclasses
from typing import final

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from s5rl.envs import JaxEnvironment
from s5rl.types import next_timestep, restart, termination, transition


@final
@dataclasses.dataclass(frozen=True)
class ConstantReward(JaxEnvironment):
    """One step, reward 1, nothing to see: the value is 1. Fails where the value is not learned."""

    def reset(self, key):
        return (), restart(jnp.zeros(1))

    def step(self, state, action):
        return (), termination(1.0, jnp.zeros(1))

    def observation_spec(self):
        return specs.Array((1,), np.float32)

    def action_spec(self):
        return specs.DiscreteArray(2)


@final
@dataclasses.dataclass(frozen=True)
class DelayedReward(JaxEnvironment):
    """Reward 1 after n steps, the time is seen: the value at t is discount^(n - 1 - t). Tests discounting."""

    num_steps: int = 4

    def reset(self, key):
        return jnp.int32(0), restart(self._observe(jnp.int32(0)))

    def step(self, state, action):
        time = state + 1
        done = time >= self.num_steps
        middle, end = transition(0.0, self._observe(time)), termination(1.0, self._observe(time))
        return time, jax.tree.map(lambda a, b: jnp.where(done, b, a), middle, end)

    def observation_spec(self):
        return specs.Array((self.num_steps + 1,), np.float32)

    def action_spec(self):
        return specs.DiscreteArray(2)

    def _observe(self, time):
        return jax.nn.one_hot(time, self.num_steps + 1)


@final
@dataclasses.dataclass(frozen=True)
class ObservedReward(JaxEnvironment):
    """One step, the observation is +-1; reward 1 for the action that agrees: value 1 once learned.

    With `action_matters` False the reward is the observation itself: the value is the observation.
    """

    action_matters: bool = False

    def reset(self, key):
        sign = jax.random.rademacher(key, (1,), float)
        return sign, restart(sign)

    def step(self, state, action):
        agrees = jnp.where((action == 1) == (state[0] > 0), 1.0, 0.0)
        return state, termination(agrees if self.action_matters else state[0], state)

    def observation_spec(self):
        return specs.Array((1,), np.float32)

    def action_spec(self):
        return specs.DiscreteArray(2)


@final
@dataclasses.dataclass(frozen=True)
class Alternate(JaxEnvironment):
    """Nothing to see; reward 1 for each action that is not the one before: n for who knows what it did.

    The action before the first one counts as 0. Without the previous action there is only chance: n / 2.
    """

    num_steps: int = 4

    def reset(self, key):
        return (jnp.int32(0), jnp.int32(0)), restart(jnp.zeros(1))

    def step(self, state, action):
        previous_action, time = state
        reward = jnp.where(action == previous_action, 0.0, 1.0)
        timestep = next_timestep(reward, jnp.zeros(1), terminated=time + 1 == self.num_steps)
        return (jnp.asarray(action, jnp.int32), time + 1), timestep

    def observation_spec(self):
        return specs.Array((1,), np.float32)

    def action_spec(self):
        return specs.DiscreteArray(2)


def first_step(environment: JaxEnvironment, key: jax.Array) -> dm_env.TimeStep:
    return environment.reset(key)[1]
