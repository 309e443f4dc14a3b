"""What the environments of POPGym have in common: `PopgymEnvironment`."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import dm_env
import jax
import jax.numpy as jnp
import numpy as np

from s5rl.envs.base import EnvironmentState, JaxEnvironment
from s5rl.types import PRNGKey


class PopgymEnvironment(JaxEnvironment):
    """An environment of POPGym; step for step that of popgym 1.0.7.

    Its state is a frozen dataclass whose fields carry popgym's meaning. Everything that an episode draws
    when it begins is drawn by `sample_state`; what it draws at each step comes in through a field `draw` of
    the few environments that do (see `s5rl.envs.popgym.draws`).

    Source: Morad et al. 2023, "POPGym: Benchmarking Partially Observable Reinforcement Learning".
    """

    @property
    @abc.abstractmethod
    def max_episode_length(self) -> int:
        """The largest number of steps of an episode."""

    @abc.abstractmethod
    def sample_state(self, key: PRNGKey) -> EnvironmentState:
        """Draws the state in which an episode begins."""

    @abc.abstractmethod
    def begin(self, state: EnvironmentState) -> dm_env.TimeStep:
        """Returns the FIRST step of an episode that begins in this state."""

    @abc.abstractmethod
    def render(self, state: EnvironmentState) -> str:
        """Returns a picture of the state in text, hidden parts included, for a human who watches."""

    def reset(self, key: PRNGKey) -> tuple[EnvironmentState, dm_env.TimeStep]:
        """Begins an episode in a random state; see `JaxEnvironment.reset`."""
        state = self.sample_state(key)
        return state, self.begin(state)

    def state_from(self, **fields: Any) -> EnvironmentState:
        """Builds a state from plain arrays, such as those that popgym's own environment holds.

        Args:
          **fields: the fields of the state as arrays or numbers, cast to its dtypes; a field that is a state
            itself as one. `key` may be left out where nothing is drawn any more, or where the draws do not
            matter.

        Values are not checked beyond their dtype: a deck has to hold each card once.

        Returns:
          The state; `begin` gives its FIRST step, `step` goes on from it.

        Raises:
          TypeError: a field is missing or unknown, or has a dtype or type that does not fit.
          ValueError: a field has the wrong shape, or values that its dtype cannot hold.
        """
        template = jax.eval_shape(self.sample_state, jax.random.key(0))
        names = [field.name for field in dataclasses.fields(template)]
        given = {"key": jax.random.key(0), **fields} if "key" in names else fields
        if set(given) != set(names):
            raise TypeError(f"the fields of a state must be {names}, got {list(fields)}.")
        return type(template)(**{name: _fit(name, getattr(template, name), given[name]) for name in names})


def _fit(name: str, expected: Any, value: Any) -> Any:
    """Returns a field of a state in the dtype expected."""
    if name == "key":
        return value
    if dataclasses.is_dataclass(expected):
        if type(value) is not type(expected):
            raise TypeError(f"{name} must be a {type(expected).__name__}, got {value!r}.")
        return value
    array = np.asarray(value)
    if array.shape != expected.shape:
        raise ValueError(f"{name} must have shape {expected.shape}, got {array.shape}.")
    is_integral, must_be_integral = array.dtype.kind in "biu", expected.dtype.kind in "biu"
    if array.dtype.kind not in "biuf" or (must_be_integral and not is_integral):
        raise TypeError(f"{name} must be {expected.dtype}, got {array.dtype}.")
    fitted = array.astype(expected.dtype)
    if must_be_integral and not np.array_equal(fitted, array):
        raise ValueError(f"{name} must hold values of {expected.dtype}, got {array.min()} to {array.max()}.")
    return jnp.asarray(fitted)
