"""Labyrinths seen through a window of 3x3 cells: escape from one, or explore it."""

from __future__ import annotations

import abc
import dataclasses
from typing import final

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from s5rl.envs.popgym.base import PopgymEnvironment
from s5rl.envs.popgym.maze import FREE, GOAL, START, WALL, sample_maze
from s5rl.types import Action, Array, PRNGKey, next_timestep, restart
from s5rl.validation import check_positive

MAX_STEPS = 1024
NO_ACTION = 4
MOVES = np.array([[0, -1], [0, 1], [-1, 0], [1, 0]], np.int32)
"""(rows, columns) of left, right, up and down."""


@final
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LabyrinthState:
    """State of one episode.

    Attributes:
      grid: int8 [2 size + 1, 2 size + 1], 0 free, 1 wall, 2 start, 3 goal; popgym's `maze.grid`.
      explored: bool [2 size + 1, 2 size + 1], where the agent has been.
      position: int32 [2], row and column of the agent.
      time: int32 [], steps taken.
    """

    grid: Array
    explored: Array
    position: Array
    time: Array


class Labyrinth(PopgymEnvironment):
    """A maze of size x size rooms, drawn anew for each episode; walk left, right, up or down.

    An observation is int32 [10]: the 3x3 cells around the agent, and the last action, 4 at the beginning. As
    in popgym, the window begins one cell above and left of the agent, but never outside of the grid, and is
    filled with walls below and on the right: the agent is off-centre at the upper and the left border.
    """

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Number of rooms in a row."""

    @property
    def max_episode_length(self) -> int:
        """Cut off one step early, as in popgym."""
        return MAX_STEPS - 1

    def begin(self, state: LabyrinthState) -> dm_env.TimeStep:
        """Shows where the agent starts."""
        return restart(_observe(state, NO_ACTION))

    def observation_spec(self) -> specs.BoundedArray:
        """Returns the spec of int32 [10]: 3x3 cells and the last action."""
        return specs.BoundedArray((10,), np.int32, 0, 4, name="view and last action")

    def action_spec(self) -> specs.DiscreteArray:
        """Returns the spec of a direction: 0 left, 1 right, 2 up, 3 down."""
        return specs.DiscreteArray(len(MOVES), name="direction")

    def render(self, state: LabyrinthState) -> str:
        """Returns the maze: # walls, + where the agent has been, S start, G goal, @ the agent."""
        marks = np.array(list(" #SG"))[np.asarray(state.grid)]
        marks = np.where(np.asarray(state.explored) & (marks == " "), "+", marks)
        marks[tuple(np.asarray(state.position))] = "@"
        return "\n".join("".join(row) for row in marks)


@final
@dataclasses.dataclass(frozen=True)
class LabyrinthEscape(Labyrinth):
    """Find the goal: 1 - 1/1024 for the step that reaches it and ends the episode, -1/1024 for all else.

    Attributes:
      size: number of rooms in a row.
    """

    size: int = 5

    def __post_init__(self) -> None:
        _check_size(self.size)

    def sample_state(self, key: PRNGKey) -> LabyrinthState:
        """Draws a maze with its goal."""
        grid, start, goal = sample_maze(key, self.size)
        return _at_start(grid.at[goal[0], goal[1]].set(GOAL), start)

    def step(self, state: LabyrinthState, action: Action) -> tuple[LabyrinthState, dm_env.TimeStep]:
        """Walks; see `JaxEnvironment.step`."""
        state = _walk(state, action)
        is_out = _cell(state.grid, state.position) == GOAL
        timestep = next_timestep(
            jnp.where(is_out, 1.0, 0.0) - 1 / MAX_STEPS,
            _observe(state, action),
            terminated=is_out,
            truncated=state.time == self.max_episode_length,
        )
        return state, timestep


@final
@dataclasses.dataclass(frozen=True)
class LabyrinthExplore(Labyrinth):
    """Visit every cell: 1 / (number of free cells) for a new one, -1/1024 for all else.

    The episode terminates when no cell is left. The goal is not marked: it is a wall.

    Attributes:
      size: number of rooms in a row.
    """

    size: int = 5

    def __post_init__(self) -> None:
        _check_size(self.size)

    def sample_state(self, key: PRNGKey) -> LabyrinthState:
        """Draws a maze."""
        grid, start, _ = sample_maze(key, self.size)
        return _at_start(grid, start)

    def step(self, state: LabyrinthState, action: Action) -> tuple[LabyrinthState, dm_env.TimeStep]:
        """Walks; see `JaxEnvironment.step`."""
        after = _walk(state, action)
        is_new = ~_cell(state.explored, after.position)
        num_free = jnp.sum(state.grid == FREE, dtype=jnp.int32)
        timestep = next_timestep(
            jnp.where(is_new, 1 / num_free, -1 / MAX_STEPS),
            _observe(after, action),
            terminated=jnp.all((after.grid != WALL) == after.explored),
            truncated=after.time == self.max_episode_length,
        )
        return after, timestep


def _check_size(size: int) -> None:
    check_positive(size=size)
    if size < 3:
        raise ValueError(f"size must be at least 3, got {size}.")


def _at_start(grid: Array, start: Array) -> LabyrinthState:
    is_start = _is_at(grid.shape[0], start)
    return LabyrinthState(jnp.where(is_start, jnp.int8(START), grid), is_start, start, jnp.int32(0))


def _is_at(side: int, position: Array) -> Array:
    rows, columns = np.indices((side, side))
    return (rows == position[0]) & (columns == position[1])


def _cell(grid: Array, position: Array) -> Array:
    return grid[position[0], position[1]]


def _walk(state: LabyrinthState, action: Action) -> LabyrinthState:
    """Moves by one cell, but neither into walls nor out of the grid."""
    side = state.grid.shape[0]
    target = jnp.clip(state.position + jnp.asarray(MOVES)[action], 0, side - 1)
    position = jnp.where(_cell(state.grid, target) == WALL, state.position, target)
    explored = state.explored | _is_at(side, position)
    return LabyrinthState(state.grid, explored, position, state.time + 1)


def _observe(state: LabyrinthState, action: Action | int) -> Array:
    side = state.grid.shape[0]
    first = jnp.maximum(state.position - 1, 0)
    last = jnp.minimum(state.position + 1, side - 1)
    rows, columns = (first[axis] + np.arange(3) for axis in range(2))
    is_inside = (rows <= last[0])[:, None] & (columns <= last[1])
    cells = state.grid[jnp.minimum(rows, side - 1)[:, None], jnp.minimum(columns, side - 1)]
    view = jnp.where(is_inside, cells, WALL).astype(jnp.int32)
    return jnp.append(view.reshape(-1), jnp.asarray(action, jnp.int32))
