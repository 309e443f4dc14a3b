"""The memory chain of bsuite in JAX: see a cue, wait, repeat it."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import NamedTuple, final

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from s5rl.envs.base import JaxEnvironment
from s5rl.types import Action, Array, PRNGKey, restart, termination, transition
from s5rl.validation import check_positive


class MemoryChainState(NamedTuple):
    """State of one episode."""

    time: Array
    """int32 []: steps taken."""
    context: Array
    """int32 [num_bits]: the bits of the cue, 0 or 1."""
    query: Array
    """int32 []: the index of the bit that is asked for."""


@final
@dataclasses.dataclass(frozen=True)
class MemoryChain(JaxEnvironment):
    """The memory chain; bit-equal to bsuite's, given the same context and query.

    An observation is float32 [1, 2 + num_bits]: the share of time left, the query (shown at time
    memory_length - 1 only), the cue (-1 or 1 per bit, shown at time 0 only). As in bsuite, a step
    observes the time before it: the reset and the first step both show time 0, hence the cue twice.
    An episode has memory_length + 1 steps; the last one observes zeros and pays 1 if its action is
    the bit asked for, else -1.

    Attributes:
      memory_length: at least 1; with 1, no memory is needed.
      num_bits: bits of the cue, at least 1.
    """

    memory_length: int
    num_bits: int = 1

    def __post_init__(self) -> None:
        check_positive(memory_length=self.memory_length, num_bits=self.num_bits)

    def reset(self, key: PRNGKey) -> tuple[MemoryChainState, dm_env.TimeStep]:
        """Begins an episode with a random context and query; see `JaxEnvironment.reset`."""
        context_key, query_key = jax.random.split(key)
        context = jax.random.bernoulli(context_key, shape=(self.num_bits,))
        query = jax.random.randint(query_key, (), 0, self.num_bits)
        return self.reset_to(context, query)

    def reset_to(self, context: Array, query: Array) -> tuple[MemoryChainState, dm_env.TimeStep]:
        """Begins an episode with a given context and query.

        Args:
          context: [num_bits], each 0 or 1.
          query: [], from 0 to num_bits - 1.

        Returns:
          The state, and a FIRST step.
        """
        state = MemoryChainState(
            time=jnp.int32(0),
            context=jnp.asarray(context, jnp.int32),
            query=jnp.asarray(query, jnp.int32),
        )
        return state, restart(self._observe(state))

    def step(self, state: MemoryChainState, action: Action) -> tuple[MemoryChainState, dm_env.TimeStep]:
        """Acts once; only the action of the last step counts. See `JaxEnvironment.step`."""
        observation = self._observe(state)
        reward = jnp.where(action == state.context[state.query], 1.0, -1.0)
        timestep = jax.tree.map(
            partial(jnp.where, state.time == self.memory_length),
            termination(reward, observation),
            transition(0.0, observation),
        )
        return state._replace(time=state.time + 1), timestep

    def observation_spec(self) -> specs.Array:
        """Returns the spec of float32 [1, 2 + num_bits]."""
        return specs.Array((1, 2 + self.num_bits), np.float32, name="observation")

    def action_spec(self) -> specs.DiscreteArray:
        """Returns the spec of an int32 [], 0 or 1."""
        return specs.DiscreteArray(2, name="action")

    def _observe(self, state: MemoryChainState) -> Array:
        # In float64 and rounded once, as bsuite does: float32 arithmetic is off by 8e-8.
        time_left = np.float32(1 - np.arange(self.memory_length + 1) / self.memory_length)
        query = jnp.where(state.time == self.memory_length - 1, state.query, 0)
        cue = jnp.where(state.time == 0, 2 * state.context - 1, 0)
        row = [jnp.asarray(time_left)[state.time][None], query[None], cue]
        return jnp.concatenate([jnp.asarray(part, jnp.float32) for part in row])[None]
