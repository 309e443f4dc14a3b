"""Observations that say whether they begin an episode: learning then resets the memory where acting did."""

from __future__ import annotations

from typing import Any, NamedTuple, final

import dm_env
import numpy as np
from dm_env import specs

from s5rl.types import Action, Observation, Specs


class FlaggedObservation(NamedTuple):
    """An observation, and whether it begins an episode."""

    observation: Observation
    """[...] what the environment shows."""
    is_first: Any
    """bool [...]: the memory is reset before it consumes this observation."""


@final
class IsFirstWrapper(dm_env.Environment):
    """Shows `FlaggedObservation`s of an environment.

    Acme's replay knows where an episode starts, but its learners do not tell their networks: a sequence that
    crosses episodes is unrolled with the memory of the episode before. Inside the observation the flag
    reaches them.
    """

    def __init__(self, environment: dm_env.Environment) -> None:
        """Wraps an environment."""
        self._environment = environment

    def reset(self) -> dm_env.TimeStep:
        """Begins an episode; its observation has the flag."""
        return _flagged(self._environment.reset())

    def step(self, action: Action) -> dm_env.TimeStep:
        """Advances by one step; the flag is there where the environment begins an episode by itself."""
        return _flagged(self._environment.step(action))

    def observation_spec(self) -> Specs:
        """Describes a `FlaggedObservation`."""
        return FlaggedObservation(
            self._environment.observation_spec(), specs.Array((), np.bool_, name="is_first")
        )

    def action_spec(self) -> Specs:
        """Describes an action, as the environment does."""
        return self._environment.action_spec()

    def reward_spec(self) -> Specs:
        """Describes a reward, as the environment does."""
        return self._environment.reward_spec()

    def discount_spec(self) -> Specs:
        """Describes a discount, as the environment does."""
        return self._environment.discount_spec()

    def close(self) -> None:
        """Closes the environment."""
        self._environment.close()

    def __getattr__(self, name: str) -> Any:
        """Returns what else the environment has, such as bsuite's number of episodes."""
        if name.startswith("__") or name == "_environment":  # asked while it is copied or unpickled
            raise AttributeError(name)
        return getattr(self._environment, name)


def _flagged(timestep: dm_env.TimeStep) -> dm_env.TimeStep:
    is_first = np.asarray(timestep.first(), np.bool_)
    return timestep._replace(observation=FlaggedObservation(timestep.observation, is_first))
