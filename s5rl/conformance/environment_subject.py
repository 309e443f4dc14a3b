"""An environment under test: episodes with random actions, recorded once for all laws."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple, final

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from s5rl.conformance.subject import compiled
from s5rl.envs import JaxEnvironment, Stream, advance_stream, start_stream
from s5rl.envs.base import EnvironmentState
from s5rl.types import Action, PRNGKey, PyTree, Specs
from s5rl.validation import check_positive

NUM_ROWS = 4
NUM_BEGINNINGS = 256
"""Of episodes: what is wrong in one of a hundred is found."""


@final
@dataclasses.dataclass(frozen=True)
class Start:
    """Where episodes begin.

    Attributes:
      seed: of the keys and of the actions.
    """

    seed: int

    def __str__(self) -> str:
        return f"seed {self.seed}"


STARTS = (Start(0), Start(1))


class UnhashableEnvironmentError(TypeError):
    """An environment that is no value: training compiles a program for each, and finds it by its hash."""


class Recorded(NamedTuple):
    """N slots of B rows of a stream."""

    timesteps: dm_env.TimeStep
    """[N + 1, B, ...]."""
    actions: Action
    """[N, B, ...]."""


@final
class EnvironmentSubject:
    """An environment under test; every law is tried on the same recorded streams.

    Attributes:
      environment: the environment.
      num_steps: slots N of each row.
      reset: `environment.reset`, compiled.
      step: `environment.step`, compiled.
    """

    def __init__(self, environment: JaxEnvironment, num_steps: int) -> None:
        """Compiles nothing yet.

        Args:
          environment: the environment.
          num_steps: slots of each row, over which an episode has to end.

        Raises:
          TypeError: it is no JaxEnvironment.
          UnhashableEnvironmentError: it is not hashable.
          ValueError: num_steps is not positive.
        """
        if not isinstance(environment, JaxEnvironment):
            raise TypeError(f"environment must be a JaxEnvironment, got {environment!r}.")
        check_positive(num_steps=num_steps)
        try:
            hash(environment)
        except TypeError as error:
            raise UnhashableEnvironmentError(
                f"{type(environment).__name__} is not hashable, but environments are values: make it a "
                f"frozen dataclass of hashable settings ({error})."
            ) from error
        self.environment, self.num_steps = environment, num_steps
        self.reset, self.step = compiled(environment.reset), compiled(environment.step)
        self._begin = compiled(jax.vmap(environment.reset))
        self._record = compiled(functools.partial(_record, environment))
        self._recorded: dict[Start, Recorded] = {}

    def keys(self, start: Start) -> PRNGKey:
        """Returns a key for each row [B]."""
        return jax.random.split(jax.random.key(start.seed), NUM_ROWS)

    def first(self, start: Start) -> tuple[EnvironmentState, dm_env.TimeStep]:
        """Returns what `reset` returns for the first row."""
        return self.reset(self.keys(start)[0])

    def beginnings(self, start: Start) -> dm_env.TimeStep:
        """Returns what `reset` returns for many keys, [NUM_BEGINNINGS, ...]."""
        return self._begin(jax.random.split(jax.random.key(start.seed), NUM_BEGINNINGS))[1]

    def action(self, start: Start) -> Action:
        """Returns one random action."""
        return random_actions(self.environment.action_spec(), np.random.default_rng(start.seed), ())

    def recorded(self, start: Start) -> Recorded:
        """Returns streams with random actions."""
        if start not in self._recorded:
            rng = np.random.default_rng(start.seed)
            actions = random_actions(self.environment.action_spec(), rng, (self.num_steps, NUM_ROWS))
            self._recorded[start] = Recorded(self._record(self.keys(start), actions), actions)
        return self._recorded[start]


def _record(environment: JaxEnvironment, keys: PRNGKey, actions: Action) -> dm_env.TimeStep:
    streams = jax.vmap(functools.partial(start_stream, environment))(keys)

    def slot(streams: Stream, actions: Action) -> tuple[Stream, dm_env.TimeStep]:
        streams = jax.vmap(functools.partial(advance_stream, environment))(streams, actions)
        return streams, streams.timestep

    _, after = jax.lax.scan(slot, streams, actions)
    return jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs]), streams.timestep, after)


def random_actions(action_spec: Specs, rng: np.random.Generator, shape: tuple[int, ...]) -> PyTree:
    """Returns actions [*shape, ...] uniform within the bounds of their spec.

    Raises:
      ValueError: a part of the spec has no finite bounds.
    """

    def draw(spec: specs.Array) -> Any:
        is_bounded = isinstance(spec, specs.BoundedArray)
        if not is_bounded or not all(np.isfinite(bound).all() for bound in (spec.minimum, spec.maximum)):
            raise ValueError(f"action_spec must have finite bounds, got {spec}.")
        size = (*shape, *spec.shape)
        if np.issubdtype(spec.dtype, np.integer):
            return np.asarray(rng.integers(spec.minimum, spec.maximum, size, spec.dtype, endpoint=True))
        return np.asarray(rng.uniform(spec.minimum, spec.maximum, size)).astype(spec.dtype)

    return jax.tree.map(draw, action_spec)
