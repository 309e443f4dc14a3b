"""The real popgym as an oracle: its episodes, recorded, and ours from the same hidden state and draws."""

from __future__ import annotations

import dataclasses
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import dm_env
import jax
import jax.numpy as jnp
import numpy as np

from s5rl.envs import popgym as ours

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from popgym import envs as theirs
    from popgym.core.maze import MazeEnv

CLASSES = {cls.__name__: cls for cls in theirs.ALL}
REWARD_TOLERANCE = 2e-7
FLOAT_TOLERANCE = 1e-5
VELOCITY_TOLERANCE = 2e-5


class Episode(NamedTuple):
    """An episode of popgym; lists have an entry a step, `observations` one more."""

    start: dict[str, Any]
    """Fields of our state at the first step."""
    actions: list[Any]
    observations: list[Any]
    rewards: list[float]
    terminated: bool
    truncated: bool
    draws: np.ndarray
    """[T + 1, ...] what popgym's generator was made to return, by time."""
    physics: np.ndarray
    """[T + 1, ...] state of the physics by time; empty elsewhere."""

    @property
    def length(self) -> int:
        return len(self.rewards)


class Script:
    """Popgym's generator at a step: prescribed numbers for payouts and noise, the real one for the rest."""

    def __init__(self, generator: np.random.Generator, draws: np.ndarray):
        self._generator, self._draws, self._time = generator, draws, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)

    def random(self, size: int | None = None, dtype: Any = np.float64) -> Any:
        if size is not None:  # the arms of a bandit
            return self._generator.random(size, dtype)
        return float(self._next())

    def normal(self, mean: float, sigma: np.ndarray) -> np.ndarray:
        return mean + sigma * self._next()

    def _next(self) -> Any:
        self._time += 1
        return self._draws[self._time - 1]


def play(name: str, policy: Callable[[Any, int, np.random.Generator], Any], seed: int) -> Episode:
    """Plays one episode of popgym's environment with a policy that may look into it."""
    environment, generator = make(name), np.random.default_rng(seed)
    draws = draws_for(name, generator)
    environment.np_random = Script(np.random.default_rng(seed), draws)
    random.seed(seed)
    np.random.seed(seed)
    first, _ = environment.reset()
    start = hidden_state(environment)
    observations, actions, rewards = [first], [], []
    physics = [physics_of(environment)]
    terminated = truncated = False
    while not (terminated or truncated):
        action = policy(environment, len(actions), generator)
        if isinstance(action, np.ndarray) and action.dtype == np.float32:
            # Few digits, so that popgym's torque is the same whether numpy computes it in float32 or float64.
            action = np.round(action * 512) / np.float32(512)
        observation, reward, terminated, truncated, _ = environment.step(action)
        actions.append(np.copy(action))
        observations.append(observation)
        rewards.append(float(reward))
        physics.append(physics_of(environment))
    return Episode(
        start, actions, observations, rewards, bool(terminated), bool(truncated), draws, np.array(physics)
    )


def make(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CLASSES[name]()


def draws_for(name: str, generator: np.random.Generator) -> np.ndarray:
    """Returns enough draws for the longest episode; large noise at times, so that clipping shows."""
    length = ours.ENVIRONMENTS[name].max_episode_length + 1
    if name.startswith("Multiarmed"):
        return generator.random(length, np.float32)
    if name.startswith("Noisy"):
        noise = generator.standard_normal((length, 2)).astype(np.float32)
        noise[::7] *= 30
        return noise
    return np.zeros(length, np.float32)


def physics_of(environment: Any) -> np.ndarray:
    is_physical = isinstance(environment, theirs.PositionOnlyPendulum) or hasattr(environment, "x_threshold")
    return np.array(environment.state if is_physical else [], np.float64)


def hidden_state(environment: Any) -> dict[str, Any]:
    """Returns the fields of our state that are those of popgym's environment, copied."""
    fields = _hidden_state(environment)
    return {name: np.copy(value) for name, value in fields.items()}


def _hidden_state(e: Any) -> dict[str, Any]:
    match e:
        case theirs.Autoencode() | theirs.RepeatFirst() | theirs.RepeatPrevious() | theirs.HigherLower():
            return {"deck": e.deck.idx, "is_decided": True, "time": 0}
        case theirs.CountRecall():
            decks = {"value_deck": e.value_deck.idx, "query_deck": e.query_deck.idx}
            return {**decks, "is_decided": True, "counts": e.counts, "time": 0}
        case theirs.Battleship():
            return {"board": e.board, "guesses": e.guesses, "hits": e.hits, "time": 0}
        case theirs.Concentration():
            return {"deck": e.deck.idx, "face_up": np.zeros(len(e.deck), bool), "in_play": -1, "time": 0}
        case theirs.MineSweeper():
            return {"hidden_grid": e.hidden_grid, "time": 0}
        case theirs.MultiarmedBandit():
            return {"bandits": e.bandits, "time": 0}
        case MazeEnv():
            grid = {"grid": e.maze.grid, "explored": e.explored, "position": e.position}
            return {**grid, "time": 0}
        case _:
            return {"physics": e.state, "time": 0}


def scripted(environment: ours.PopgymEnvironment, table: np.ndarray) -> ours.PopgymEnvironment:
    """Returns the environment with draws from table [rows, T + 1, ...]; a state's key is its row."""
    if not hasattr(environment, "draw"):
        return environment

    def draw(key: Any, time: Any, shape: tuple[int, ...]) -> Any:
        return jnp.asarray(table)[key, time]

    return dataclasses.replace(environment, draw=draw)


def state_at(environment: ours.PopgymEnvironment, fields: dict[str, Any], row: int = 0) -> Any:
    """Returns our state with popgym's fields."""
    if isinstance(environment, ours.Noisy):
        inner = environment.environment.state_from(**fields)
        return environment.state_from(inner=inner, key=jnp.int32(row))
    if isinstance(environment, ours.MultiarmedBandit):
        return environment.state_from(**fields, key=jnp.int32(row))
    return environment.state_from(**fields)


def replay(environment: ours.PopgymEnvironment, episodes: list[Episode]) -> dm_env.TimeStep:
    """Returns our time steps [rows, T + 1] for the actions of some episodes, in one compiled program."""
    environment = scripted(environment, np.stack([episode.draws for episode in episodes]))
    rows = [state_at(environment, episode.start, row) for row, episode in enumerate(episodes)]
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
    num_steps = max(episode.length for episode in episodes)
    actions = np.stack([np.resize(np.array(e.actions), _padded(e, num_steps)) for e in episodes])

    def run(state: Any, actions: Any) -> dm_env.TimeStep:
        first = environment.begin(state)
        _, rest = jax.lax.scan(environment.step, state, actions)
        return jax.tree.map(lambda one, more: jnp.concatenate([one[None], more]), first, rest)

    return jax.device_get(jax.jit(jax.vmap(run))(states, actions))


def _padded(episode: Episode, num_steps: int) -> tuple[int, ...]:
    """Returns the shape of its actions, repeated up to a number of steps."""
    return (num_steps, *np.shape(episode.actions[0]))


def assert_same(name: str, timesteps: dm_env.TimeStep, episode: Episode) -> None:
    """Asserts that our time steps [T + 1, ...] are an episode of popgym, up to its end.

    Args:
      name: of the environment.
      timesteps: ours; what lies behind the end of the episode is not looked at.
      episode: popgym's.
    """
    n = episode.length
    mine = jax.tree.map(lambda leaf: np.asarray(leaf)[: n + 1], timesteps)
    expected_types = [dm_env.StepType.FIRST, *[dm_env.StepType.MID] * (n - 1), dm_env.StepType.LAST]
    np.testing.assert_array_equal(mine.step_type, expected_types)
    np.testing.assert_array_equal(mine.discount, [*[1.0] * n, 0.0 if episode.terminated else 1.0])
    assert mine.reward[0] == 0
    np.testing.assert_allclose(mine.reward[1:], episode.rewards, rtol=0, atol=REWARD_TOLERANCE)
    for leaf, expected in _observation_pairs(mine.observation, episode.observations):
        if leaf.dtype.kind == "f":
            tolerance = VELOCITY_TOLERANCE if name.startswith("Velocity") else FLOAT_TOLERANCE
            np.testing.assert_allclose(leaf, expected, rtol=0, atol=tolerance)
        else:
            np.testing.assert_array_equal(leaf, expected)


def _observation_pairs(mine: Any, expected: list[Any]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if isinstance(mine, tuple):
        yield from zip(mine, np.array(expected).T, strict=True)
    else:
        yield mine, np.array(expected)
