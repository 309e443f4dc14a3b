"""Observations that say whether they begin an episode: learning then resets the memory where acting did."""

from __future__ import annotations

from typing import Any, NamedTuple, final

import dm_env
import numpy as np
from dm_env import specs

from s5rl.acme.wrapper import EnvironmentWrapper
from s5rl.types import Observation, Specs


class FlaggedObservation(NamedTuple):
    """An observation, and whether it begins an episode."""

    observation: Observation
    """[...] what the environment shows."""
    is_first: Any
    """bool [...]: the memory is reset before it consumes this observation."""


@final
class IsFirstWrapper(EnvironmentWrapper):
    """Shows `FlaggedObservation`s of an environment.

    Acme's replay knows where an episode starts, but its learners do not tell their networks: a sequence that
    crosses episodes is unrolled with the memory of the episode before. Inside the observation the flag
    reaches them.
    """

    def observation_spec(self) -> Specs:
        """Describes a `FlaggedObservation`."""
        return FlaggedObservation(
            self._environment.observation_spec(), specs.Array((), np.bool_, name="is_first")
        )

    def _show(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        is_first = np.asarray(timestep.first(), np.bool_)
        return timestep._replace(observation=FlaggedObservation(timestep.observation, is_first))
