"""A cue over distractors: see a marked sign, then signs that do not matter, then answer."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, final

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from s5rl.envs.base import JaxEnvironment
from s5rl.types import Action, Array, PRNGKey, next_timestep, restart
from s5rl.validation import check_number, check_positive


class DistractedCueState(NamedTuple):
    """State of one episode."""

    time: Array
    """int32 []: steps taken."""
    cue: Array
    """int32 []: 0 or 1."""
    key: PRNGKey
    """Of distractors and noise; never changed."""


@final
@dataclasses.dataclass(frozen=True)
class DistractedCue(JaxEnvironment):
    """A cue, distractors in the same place, a question: the memory has to choose what it stores.

    An observation is float32 [3]: 1 at time 0, when the sign is the cue; 1 at time memory_length, when the
    cue is asked for; a sign, -1 or 1, random but for the cue. On each of them lies noise from N(0, noise^2).
    An episode has memory_length + 1 steps; the last one pays 1 if its action is the cue (0 for -1, 1 for 1),
    else -1. With noise the best that anyone can expect is 1 - 2 Phi(-1 / noise), where Phi is the normal
    distribution.

    Attributes:
      memory_length: steps between cue and question, at least 1.
      noise: standard deviation of the noise, at least 0.
    """

    memory_length: int
    noise: float = 0.0

    def __post_init__(self) -> None:
        check_positive(memory_length=self.memory_length)
        check_number("noise", self.noise, 0)

    def reset(self, key: PRNGKey) -> tuple[DistractedCueState, dm_env.TimeStep]:
        """Begins an episode with a random cue; see `JaxEnvironment.reset`."""
        cue_key, key = jax.random.split(key)
        cue = jax.random.bernoulli(cue_key).astype(jnp.int32)
        state = DistractedCueState(jnp.int32(0), cue, key)
        return state, restart(self._observe(state))

    def step(self, state: DistractedCueState, action: Action) -> tuple[DistractedCueState, dm_env.TimeStep]:
        """Acts once; only the answer to the question counts. See `JaxEnvironment.step`."""
        is_answer = state.time == self.memory_length
        reward = jnp.where(is_answer, jnp.where(action == state.cue, 1.0, -1.0), 0.0)
        state = state._replace(time=state.time + 1)
        return state, next_timestep(reward, self._observe(state), terminated=is_answer)

    def observation_spec(self) -> specs.Array:
        """Returns the spec of float32 [3]."""
        return specs.Array((3,), np.float32, name="observation")

    def action_spec(self) -> specs.DiscreteArray:
        """Returns the spec of an int32 [], 0 or 1."""
        return specs.DiscreteArray(2, name="action")

    def _observe(self, state: DistractedCueState) -> Array:
        sign_key, noise_key = jax.random.split(jax.random.fold_in(state.key, state.time))
        is_cue, is_question = state.time == 0, state.time == self.memory_length
        distractor = jax.random.bernoulli(sign_key).astype(jnp.int32)
        sign = 2 * jnp.where(is_cue, state.cue, distractor) - 1
        seen = jnp.stack([jnp.asarray(part, jnp.float32) for part in (is_cue, is_question, sign)])
        return seen + self.noise * jax.random.normal(noise_key, (3,), jnp.float32)
