"""Tiny environments with known values, each of which tells which part of an agent is broken."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from s5rl.envs import JaxEnvironment
from s5rl.types import next_timestep, restart

CONSTANT_REWARD, DISCOUNTING, OBSERVED_VALUE, OBSERVED_ACTION = range(4)


class KnownState(NamedTuple):
    """Which diagnostic an episode is, its sign, and its steps so far."""

    task: jax.Array
    sign: jax.Array
    time: jax.Array


@final
@dataclasses.dataclass(frozen=True)
class KnownValues(JaxEnvironment):
    """Four diagnostics, one of them in each episode; it is seen which, so one training serves all four.

    - Constant reward: one step, reward 1: the value is 1. Fails where the value is not learned.
    - Discounting: reward 1 after 4 steps, the time is seen: the value at t is discount^(3 - t).
    - Observed value: one step, +-1 is seen and is the reward, hence the value.
    - Observed action: one step, +-1 is seen, reward 1 for the action that agrees: value 1 once learned.
    """

    num_steps: int = 4

    def reset(self, key):
        task_key, sign_key = jax.random.split(key)
        return self.begin(jax.random.randint(task_key, (), 0, 4), jax.random.rademacher(sign_key, (), float))

    def begin(self, task, sign):
        state = KnownState(jnp.int32(task), jnp.asarray(sign, float), jnp.int32(0))
        return state, restart(self._observe(state))

    def step(self, state, action):
        state = state._replace(time=state.time + 1)
        agrees = jnp.where((action == 1) == (state.sign > 0), 1.0, 0.0)
        is_delayed = state.task == DISCOUNTING
        ends = jnp.where(is_delayed, state.time >= self.num_steps, True)
        rewards = jnp.stack([jnp.ones(()), jnp.where(ends, 1.0, 0.0), state.sign, agrees])
        return state, next_timestep(rewards[state.task], self._observe(state), terminated=ends)

    def observation_spec(self):
        return specs.Array((4 + self.num_steps + 2,), np.float32)

    def action_spec(self):
        return specs.DiscreteArray(2)

    def _observe(self, state):
        time = jax.nn.one_hot(state.time, self.num_steps + 1)
        return jnp.concatenate([jax.nn.one_hot(state.task, 4), time, state.sign[None]])


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


@final
@dataclasses.dataclass(frozen=True)
class Aim(JaxEnvironment):
    """One step; +-1 is seen, and the reward is 1 - (a - +-1/2)^2 for a continuous action."""

    def reset(self, key):
        sign = jax.random.rademacher(key, (), float)
        return sign, restart(sign[None])

    def step(self, state, action):
        reward = 1.0 - jnp.square(action[0] - 0.5 * state)
        return state, next_timestep(reward, state[None], terminated=True)

    def observation_spec(self):
        return specs.Array((1,), np.float32)

    def action_spec(self):
        return specs.BoundedArray((1,), np.float32, -1.0, 1.0)
