"""The interface of an environment written in JAX: `JaxEnvironment`."""

from __future__ import annotations

import abc

import dm_env

from s5rl.types import Action, PRNGKey, PyTree, Specs

EnvironmentState = PyTree
"""A nest of arrays; where `step` is random, the state carries the key."""


class JaxEnvironment(abc.ABC):
    """An environment as pure functions of one row; `jax.vmap` makes a batch of it.

    Subclasses are frozen dataclasses of settings, hence hashable values. `reset` and `step` return
    states and time steps of the same structure, shapes and dtypes, so that either fits a loop's
    carry. Time steps follow `s5rl.types`: build them with its `restart`, `transition`,
    `termination` and `truncation`.

    An episode ends with a LAST step; beginning the next one is the business of `s5rl.envs.stream`.
    """

    @abc.abstractmethod
    def reset(self, key: PRNGKey) -> tuple[EnvironmentState, dm_env.TimeStep]:
        """Begins an episode.

        Args:
          key: all randomness of the episode comes from this key.

        Returns:
          The state, and a FIRST step.
        """

    @abc.abstractmethod
    def step(self, state: EnvironmentState, action: Action) -> tuple[EnvironmentState, dm_env.TimeStep]:
        """Acts once.

        What a call with the state of a LAST step returns is discarded by the stream: it may be
        anything of the right shapes and dtypes.

        Args:
          state: the state that came with a FIRST or a MID step.
          action: in the dtype and range of `action_spec()`.

        Returns:
          The next state, and a MID or a LAST step.
        """

    @abc.abstractmethod
    def observation_spec(self) -> Specs:
        """Returns the nest of `dm_env.specs.Array` of one observation."""

    @abc.abstractmethod
    def action_spec(self) -> Specs:
        """Returns the nest of `dm_env.specs.Array` of one action."""
