"""Many environments as one, on the host: `BatchedEnvironment`, and `DmEnvBatch` for dm_env."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, final

import dm_env
import jax
import numpy as np
import tree

from s5rl.envs.dm_env_adapter import from_dm_env, to_action
from s5rl.types import Action, PyTree, Specs


class BatchedEnvironment(abc.ABC):
    """B environments that act together; the only thing that the host loop knows.

    Time steps have numpy leaves [B, ...] in the convention of `s5rl.types`, fresh at every call.
    Each row follows the stream: after a LAST step its action is ignored, and its next step is the
    FIRST of a new episode.
    """

    @property
    @abc.abstractmethod
    def num_envs(self) -> int:
        """The number B of rows."""

    @property
    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """What tells its tasks from those of another object of its class, by name.

        A run goes on in its folder only where they are equal. The values are such as `s5rl.description`
        stores: numbers, texts, tuples of them. Seeds are none of them: they come back with the state, and
        environments without one begin with others when a run goes on.
        """

    @abc.abstractmethod
    def reset(self) -> dm_env.TimeStep:
        """Begins an episode in every row; returns the FIRST steps, leaves [B, ...]."""

    @abc.abstractmethod
    def step(self, actions: Action) -> dm_env.TimeStep:
        """Fills one slot of every row.

        Args:
          actions: [B, ...] in the dtype and range of the action spec.

        Returns:
          The next steps, leaves [B, ...].
        """

    @abc.abstractmethod
    def observation_spec(self) -> Specs:
        """Returns the spec of one observation, without a batch axis."""

    @abc.abstractmethod
    def action_spec(self) -> Specs:
        """Returns the spec of one action, without a batch axis."""

    @abc.abstractmethod
    def get_state(self) -> PyTree:
        """Returns all that decides what follows, random numbers included.

        Returns:
          A nest of numpy arrays, of the same structure, shapes and dtypes at all times; None where the
          environments cannot tell.
        """

    @abc.abstractmethod
    def set_state(self, state: PyTree) -> None:
        """Goes back to where `get_state` returned a state, which is not None.

        The next `step` returns what it would have returned then.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Frees what the environments hold."""


@final
class DmEnvBatch(BatchedEnvironment):
    """A list of dm_env environments, stepped one after the other.

    It has a state where each of them has the methods `get_state()` and `set_state(state)`, with a nest of
    arrays and numbers that keeps its structure and shapes, as those of `as_dm_env` have.
    """

    def __init__(self, environments: Sequence[dm_env.Environment]) -> None:
        """Wraps the environments; they belong to the batch from now on.

        Args:
          environments: at least one; distinct objects of equal specs.

        Raises:
          ValueError: there is none, one is listed twice, or specs differ.
        """
        self._environments = tuple(environments)
        _check_members(self._environments)
        self._observation_spec = self._environments[0].observation_spec()
        self._action_spec = self._environments[0].action_spec()

    @property
    def environments(self) -> tuple[dm_env.Environment, ...]:
        """The members, in the order of the rows."""
        return self._environments

    @property
    def num_envs(self) -> int:
        """The number B of rows."""
        return len(self._environments)

    @property
    def settings(self) -> dict[str, Any]:
        """The classes of the members; what they are made of is not known."""
        return {"members": [class_name(member) for member in self._environments]}

    def reset(self) -> dm_env.TimeStep:
        """Begins an episode in every row; see `BatchedEnvironment.reset`."""
        return self._stack([environment.reset() for environment in self._environments])

    def step(self, actions: Action) -> dm_env.TimeStep:
        """Fills one slot of every row; see `BatchedEnvironment.step`.

        Raises:
          TypeError: a dtype does not fit the action spec.
          ValueError: a shape does not fit the action spec and the number of rows, or a value is out of
            bounds; the message names the row.
        """
        actions = jax.tree.map(np.asarray, actions)
        for leaf in jax.tree.leaves(actions):
            if leaf.shape[:1] != (self.num_envs,):
                raise ValueError(
                    f"actions must have a leading axis of {self.num_envs} rows, got shape {leaf.shape}."
                )
        rows = [self._row(actions, i) for i in range(self.num_envs)]
        return self._stack(
            [environment.step(row) for environment, row in zip(self._environments, rows, strict=True)]
        )

    def observation_spec(self) -> Specs:
        """Returns the spec of one observation, without a batch axis."""
        return self._observation_spec

    def action_spec(self) -> Specs:
        """Returns the spec of one action, without a batch axis."""
        return self._action_spec

    def get_state(self) -> PyTree:
        """Returns the states of all environments; None where one has no such methods."""
        if not all(_has_state(environment) for environment in self._environments):
            return None
        members: list[Any] = list(self._environments)
        return jax.tree.map(np.array, tuple(member.get_state() for member in members))

    def set_state(self, state: PyTree) -> None:
        """Goes back to where `get_state` returned the state.

        Raises:
          ValueError: it is not the state of so many environments.
        """
        if not isinstance(state, tuple) or len(state) != self.num_envs:
            raise ValueError(f"state must be that of {self.num_envs} environments, from get_state().")
        members: list[Any] = list(self._environments)
        for member, member_state in zip(members, state, strict=True):
            member.set_state(member_state)

    def close(self) -> None:
        """Closes every environment."""
        for environment in self._environments:
            environment.close()

    def _row(self, actions: Action, row: int) -> Any:
        try:
            return to_action(self._action_spec, jax.tree.map(lambda leaf: leaf[row], actions))
        except (TypeError, ValueError) as error:
            raise type(error)(f"row {row}: {error}") from error

    def _stack(self, timesteps: list[dm_env.TimeStep]) -> dm_env.TimeStep:
        rows = [from_dm_env(timestep, self._observation_spec) for timestep in timesteps]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def class_name(value: object) -> str:
    """Returns module and name of the class of a value, which need not be one that can be imported."""
    return f"{type(value).__module__}:{type(value).__qualname__}"


def _has_state(environment: dm_env.Environment) -> bool:
    return all(callable(getattr(environment, name, None)) for name in ("get_state", "set_state"))


def _check_members(environments: tuple[dm_env.Environment, ...]) -> None:
    if not environments:
        raise ValueError("environments must hold at least one dm_env.Environment, got none.")
    if len({id(environment) for environment in environments}) < len(environments):
        raise ValueError("environments must be distinct objects, got one of them twice.")
    for i, environment in enumerate(environments):
        for name in ("observation_spec", "action_spec"):
            expected, got = (getattr(member, name)() for member in (environments[0], environment))
            if not _same_specs(expected, got):
                raise ValueError(
                    f"{name} of environments[{i}] must equal that of environments[0], {expected}; got {got}."
                )


def _same_specs(left: Specs, right: Specs) -> bool:
    def values(specs: Specs) -> list[Any]:
        # With the type: a specs.Array equals any bounded one of its shape and dtype.
        return [(path, type(spec), spec) for path, spec in tree.flatten_with_path(specs)]

    return values(left) == values(right)
