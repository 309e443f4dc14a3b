"""An environment on the host whose episodes end anywhere, and a tape of what happens in one."""

from __future__ import annotations

from typing import Any

import dm_env
import numpy as np
from dm_env import specs


class RandomLengths(dm_env.Environment):
    """Episodes of 1 to 6 steps, terminated or truncated; noise is seen, in 64 bits, and actions are rewarded.

    Sums of rewards are exact in any precision, so that returns can be compared to the last bit.
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._steps_left = 0

    def reset(self) -> dm_env.TimeStep:
        self._steps_left = int(self._rng.integers(1, 7))
        return dm_env.restart(self._observe())

    def step(self, action: np.ndarray) -> dm_env.TimeStep:
        if self._steps_left == 0:
            return self.reset()
        self._steps_left -= 1
        reward = float(np.floor(256 * action.sum()) / 256)
        if self._steps_left:
            return dm_env.transition(reward, self._observe())
        if self._rng.random() < 0.5:
            return dm_env.termination(reward, self._observe())
        return dm_env.truncation(reward, self._observe())

    def observation_spec(self) -> dict[str, specs.Array]:
        return {"noise": specs.Array((2,), np.float64), "count": specs.BoundedArray((), np.int64, 0, 9)}

    def action_spec(self) -> specs.BoundedArray:
        return specs.BoundedArray((2,), np.float64, -1.0, 1.0)

    def _observe(self) -> dict[str, np.ndarray]:
        return {"noise": self._rng.normal(size=2), "count": np.asarray(self._steps_left)}


class Tape(dm_env.Environment):
    """Another environment, of which it notes every action and every time step.

    Attributes:
      actions: the one behind the end of an episode is left out: it is ignored.
      timesteps: all of them.
    """

    def __init__(self, environment: dm_env.Environment) -> None:
        self.environment = environment
        self.actions: list[Any] = []
        self.timesteps: list[dm_env.TimeStep] = []

    def reset(self) -> dm_env.TimeStep:
        self.timesteps.append(self.environment.reset())
        return self.timesteps[-1]

    def step(self, action: Any) -> dm_env.TimeStep:
        timestep = self.environment.step(action)
        self.timesteps.append(timestep)
        if not timestep.first():
            self.actions.append(action)
        return timestep

    def observation_spec(self) -> Any:
        return self.environment.observation_spec()

    def action_spec(self) -> Any:
        return self.environment.action_spec()

    @property
    def returns(self) -> list[float]:
        """Of the episodes that have ended."""
        returns, so_far = [], 0.0
        for timestep in self.timesteps:
            so_far = 0.0 if timestep.first() else so_far + timestep.reward
            if timestep.last():
                returns.append(so_far)
        return returns
