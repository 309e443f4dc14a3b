"""A little environment that keeps all laws, and planted faults, each a small change to it."""

from __future__ import annotations

import dataclasses
import itertools
from typing import final

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from s5rl.envs import JaxEnvironment
from s5rl.types import next_timestep, restart


class Little(JaxEnvironment):
    """Shows the time and a random number, and ends after four steps."""

    def reset(self, key):
        state = (key, jnp.int32(0))
        return state, restart(self.observe(state))

    def step(self, state, action):
        state = (state[0], state[1] + 1)
        reward = jnp.where(action == 1, 1.0, 0.0)
        return state, next_timestep(reward, self.observe(state), terminated=state[1] == 4)

    def observe(self, state):
        return jnp.stack([state[1] / 4.0, jax.random.uniform(jax.random.fold_in(*state))])

    def observation_spec(self):
        return specs.BoundedArray((2,), np.float32, 0.0, 1.0)

    def action_spec(self):
        return specs.DiscreteArray(2)


@final
@dataclasses.dataclass(frozen=True)
class Right(Little):
    """No fault."""


@final
@dataclasses.dataclass(frozen=True)
class BeginsWithNone(Little):
    """As dm_env's own environments begin."""

    def reset(self, key):
        state, timestep = super().reset(key)
        return state, dm_env.restart(timestep.observation)


@final
@dataclasses.dataclass(frozen=True)
class BeginsWithMid(Little):
    """The first step is no FIRST one, and the memory would never be reset."""

    def reset(self, key):
        state, timestep = super().reset(key)
        return state, timestep._replace(step_type=jnp.int32(1))


@final
@dataclasses.dataclass(frozen=True)
class SometimesPaidAtFirst(Little):
    """One beginning in ten has a reward, which belongs to no action."""

    def reset(self, key):
        state, timestep = super().reset(key)
        return state, timestep._replace(reward=jnp.where(jax.random.uniform(key) < 0.1, 1.0, 0.0))


@final
@dataclasses.dataclass(frozen=True)
class OtherState(Little):
    """`step` returns a state of another dtype."""

    def step(self, state, action):
        (key, time), timestep = super().step(state, action)
        return (key, time.astype(float)), timestep


@final
@dataclasses.dataclass(frozen=True)
class OutOfBounds(Little):
    """The random number leaves the bounds of its spec."""

    def observe(self, state):
        return 2.0 * super().observe(state)


@final
@dataclasses.dataclass(frozen=True)
class OtherDtype(Little):
    """Observations are not of the dtype of their spec."""

    def observation_spec(self):
        return specs.Array((2,), np.int32)


@final
@dataclasses.dataclass(frozen=True)
class NeverEnds(Little):
    """There is no LAST step."""

    def step(self, state, action):
        state, timestep = super().step(state, action)
        return state, timestep._replace(step_type=jnp.int32(1))


@final
@dataclasses.dataclass(frozen=True)
class ResetsItself(Little):
    """`step` returns the FIRST step of the next episode in the place of LAST."""

    def step(self, state, action):
        state, timestep = super().step(state, action)
        first, is_first = restart(timestep.observation), state[1] == 4
        timestep = jax.tree.map(lambda a, b: jnp.where(is_first, a, b), first, timestep)
        return (state[0], jnp.where(is_first, 0, state[1])), timestep


@final
@dataclasses.dataclass(frozen=True)
class NoDiscount(Little):
    """Discounts are those of another convention: how many steps are left."""

    def step(self, state, action):
        state, timestep = super().step(state, action)
        return state, timestep._replace(discount=4.0 - state[1])


@final
@dataclasses.dataclass(frozen=True)
class HiddenCounter(Little):
    """Episodes depend on how often `reset` was called."""

    counter = itertools.count()

    def reset(self, key):
        return super().reset(jax.random.fold_in(key, next(self.counter)))


@final
@dataclasses.dataclass(frozen=True)
class NoBounds(Little):
    """Actions have no bounds."""

    def action_spec(self):
        return specs.Array((1,), np.float32)


class Unhashable(Little):
    """No value."""

    __hash__ = None
