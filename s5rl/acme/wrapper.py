"""What the wrappers of environments share."""

from __future__ import annotations

import abc
from typing import Any

import dm_env

from s5rl.types import Action, Specs


class EnvironmentWrapper(dm_env.Environment):
    """Another environment, whose time steps are shown in another form; what else it has is here, too."""

    def __init__(self, environment: dm_env.Environment) -> None:
        """Wraps an environment."""
        self._environment = environment

    @abc.abstractmethod
    def _show(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        """Returns a time step of the environment in the form that is shown."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_environment":  # asked while it is copied or unpickled
            raise AttributeError(name)
        return getattr(self._environment, name)

    def reset(self) -> dm_env.TimeStep:
        """Begins an episode."""
        return self._show(self._environment.reset())

    def step(self, action: Action) -> dm_env.TimeStep:
        """Advances by one step; begins an episode where the environment does so by itself."""
        return self._show(self._environment.step(action))

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
        """Frees what the environment holds."""
        self._environment.close()
