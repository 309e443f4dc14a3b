"""MineSweeper: clear a field of mines, remembering what was seen."""

from __future__ import annotations

import dataclasses
import functools
from typing import final

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from s5rl.envs.popgym import draws
from s5rl.envs.popgym.base import PopgymEnvironment
from s5rl.types import Action, Array, PRNGKey, next_timestep, restart
from s5rl.validation import check_positive

CLEAR, MINE, VIEWED = 0, 1, 2


@final
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MineSweeperState:
    """State of one episode.

    Attributes:
      hidden_grid: int8 [N, N], 0 clear, 1 mine, 2 viewed; popgym's `hidden_grid`.
      time: int32 [], steps taken.
    """

    hidden_grid: Array
    time: Array


@final
@dataclasses.dataclass(frozen=True)
class MineSweeper(PopgymEnvironment):
    """View a cell (row, column) of N^2, M of which are free of mines: 1/M if it is clear.

    A mine ends the episode and costs 1/2 + 1/M; a cell viewed before costs 1/2 / (M - 2). An observation is
    the number of mines in the 3x3 cells around the one viewed, itself included. The episode terminates when
    no cell is clear any more, and is cut off after M steps.

    Attributes:
      board_size: N.
      num_mines: at least 1, at most N^2 - 3.
    """

    board_size: int = 4
    num_mines: int = 2

    def __post_init__(self) -> None:
        check_positive(board_size=self.board_size, num_mines=self.num_mines)
        if self.num_mines > self.board_size**2 - 3:
            raise ValueError(
                f"num_mines must leave at least 3 of {self.board_size**2} cells clear, got {self.num_mines}."
            )

    @property
    def max_episode_length(self) -> int:
        """As many steps as there are cells without mines."""
        return self.board_size**2 - self.num_mines

    def sample_state(self, key: PRNGKey) -> MineSweeperState:
        """Places the mines, uniformly over all ways to do so."""
        mines = place_mines(key, self.board_size**2, self.num_mines)
        grid = jnp.where(mines, MINE, CLEAR).astype(jnp.int8)
        return MineSweeperState(grid.reshape(self.board_size, self.board_size), jnp.int32(0))

    def begin(self, state: MineSweeperState) -> dm_env.TimeStep:
        """Shows nothing."""
        return restart(jnp.int32(0))

    def step(self, state: MineSweeperState, action: Action) -> tuple[MineSweeperState, dm_env.TimeStep]:
        """Views a cell; see `JaxEnvironment.step`."""
        rows, columns = np.indices(state.hidden_grid.shape)
        target = (rows == action[0]) & (columns == action[1])
        around = (jnp.abs(rows - action[0]) <= 1) & (jnp.abs(columns - action[1]) <= 1)
        is_mine = jnp.any(target & (state.hidden_grid == MINE))
        is_viewed = jnp.any(target & (state.hidden_grid == VIEWED))
        grid = jnp.where(target & ~is_mine, jnp.int8(VIEWED), state.hidden_grid)
        time = state.time + 1
        success = 1 / self.max_episode_length
        viewed_again = -0.5 / (self.max_episode_length - 2)
        timestep = next_timestep(
            jnp.where(is_mine, -0.5 - success, jnp.where(is_viewed, viewed_again, success)),
            jnp.sum(around & (state.hidden_grid == MINE), dtype=jnp.int32),
            terminated=is_mine | ~jnp.any(grid == CLEAR),
            truncated=time == self.max_episode_length,
        )
        return MineSweeperState(grid, time), timestep

    def observation_spec(self) -> specs.DiscreteArray:
        """Returns the spec of the number of mines in 3x3 cells."""
        return specs.DiscreteArray(min(self.num_mines + 1, 10), name="mines")

    def action_spec(self) -> specs.BoundedArray:
        """Returns the spec of int32 [2]: row and column."""
        return specs.BoundedArray((2,), np.int32, 0, self.board_size - 1, name="row and column")

    def render(self, state: MineSweeperState) -> str:
        """Returns the board: cells viewed as the number that they showed, mines as *, the rest as dots."""
        grid = np.asarray(state.hidden_grid)
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(grid == MINE, 1), (3, 3))
        counts = windows.sum(axis=(2, 3))
        marks = np.where(grid == VIEWED, counts.astype(str), np.where(grid == MINE, "*", "."))
        return "\n".join(" ".join(row) for row in marks)


def place_mines(key: PRNGKey, num_cells: int, num_mines: int) -> Array:
    """Returns bool [num_cells] with `num_mines` True, uniformly over all ways to choose them.

    Source: Floyd's algorithm, in Bentley and Floyd 1987, "Programming pearls: a sample of brilliance".
    """
    last = np.arange(num_cells - num_mines, num_cells)
    drawn = draws.below(last + 1, jax.random.bits(key, (num_mines,), "uint32"))
    chosen: list[Array] = []
    for index in range(num_mines):
        is_taken = functools.reduce(
            jnp.logical_or, [drawn[index] == cell for cell in chosen], jnp.bool_(False)
        )
        chosen.append(jnp.where(is_taken, last[index], drawn[index]).astype(jnp.int32))
    return jnp.any(np.arange(num_cells) == jnp.stack(chosen)[:, None], axis=0)
