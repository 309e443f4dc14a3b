"""What Muesli learns from: whole rows of a trajectory."""

from __future__ import annotations

from typing import NamedTuple

import dm_env
import jax.numpy as jnp

from s5rl.agents.memory_agent import clear_dead_slots
from s5rl.types import Array, CoreState, Trajectory


class MuesliSequences(NamedTuple):
    """N sequences of T slots; in dead slots stand zeros."""

    core_state: CoreState
    """[N, ...] the memory before the first slot."""
    seen: dm_env.TimeStep
    """[T + 1, N, ...] what the network saw."""
    raw_action: Array
    """[T, N, D]."""
    log_prob: Array
    """[T, N] of the action when it was taken."""

    @classmethod
    def of(cls, trajectory: Trajectory, seen: dm_env.TimeStep) -> MuesliSequences:
        """Returns the rows of a trajectory whose time steps the network saw as `seen`."""
        dead = seen.step_type[:-1] == int(dm_env.StepType.LAST)
        return cls(
            trajectory.initial_state.core_state,
            seen,
            clear_dead_slots(trajectory.extras["raw_action"], seen),
            jnp.where(dead, 0.0, trajectory.extras["log_prob"]),
        )
