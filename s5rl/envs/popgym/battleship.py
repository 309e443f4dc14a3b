"""Battleship: sink hidden ships, remembering where shots went."""

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

SHIP_SIZES = (2, 3, 3, 4)
NUM_SHIP_CELLS = sum(SHIP_SIZES)


@final
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BattleshipState:
    """State of one episode.

    Attributes:
      board: bool [N, N], where ships are.
      guesses: bool [N, N], where shots went.
      hits: int32 [], cells of ships that have been hit.
      time: int32 [], steps taken.
    """

    board: Array
    guesses: Array
    hits: Array
    time: Array


@final
@dataclasses.dataclass(frozen=True)
class Battleship(PopgymEnvironment):
    """Shoot at a cell (row, column): 1/12 for a new hit, -1/(N^2 - 12) for all else.

    An observation is 1 for a new hit, else 0. The episode terminates when all 12 cells of ships are hit, and
    is cut off after N^2 steps. Returns reach from -N^2/(N^2 - 12), below -1, to 1.

    Attributes:
      board_size: N, at least 6.
    """

    board_size: int = 8

    def __post_init__(self) -> None:
        check_positive(board_size=self.board_size)
        if self.board_size < 6:
            raise ValueError(f"board_size must be at least 6, got {self.board_size}: the ships must fit.")

    @property
    def max_episode_length(self) -> int:
        """As many steps as there are cells."""
        return self.board_size**2

    def sample_state(self, key: PRNGKey) -> BattleshipState:
        """Places the ships, each uniformly over where it fits."""
        board = place_ships(key, self.board_size)
        return BattleshipState(board, jnp.zeros_like(board), jnp.int32(0), jnp.int32(0))

    def begin(self, state: BattleshipState) -> dm_env.TimeStep:
        """Shows nothing."""
        return restart(jnp.int32(0))

    def step(self, state: BattleshipState, action: Action) -> tuple[BattleshipState, dm_env.TimeStep]:
        """Shoots; see `JaxEnvironment.step`."""
        row, column = action
        is_hit = state.board[row, column] & ~state.guesses[row, column]
        state = BattleshipState(
            board=state.board,
            guesses=state.guesses.at[row, column].set(True),
            hits=state.hits + is_hit,
            time=state.time + 1,
        )
        timestep = next_timestep(
            jnp.where(is_hit, 1 / NUM_SHIP_CELLS, -1 / (self.max_episode_length - NUM_SHIP_CELLS)),
            is_hit.astype(jnp.int32),
            terminated=state.hits == NUM_SHIP_CELLS,
            truncated=state.time >= self.max_episode_length,
        )
        return state, timestep

    def observation_spec(self) -> specs.DiscreteArray:
        """Returns the spec of a hit."""
        return specs.DiscreteArray(2, name="hit")

    def action_spec(self) -> specs.BoundedArray:
        """Returns the spec of int32 [2]: row and column."""
        return specs.BoundedArray((2,), np.int32, 0, self.board_size - 1, name="row and column")

    def render(self, state: BattleshipState) -> str:
        """Returns the board: ships as o, hits as x, shots into the water as +."""
        marks = np.array([[".", "+"], ["o", "x"]])[
            np.asarray(state.board, int), np.asarray(state.guesses, int)
        ]
        return "\n".join(" ".join(row) for row in marks)


def place_ships(key: PRNGKey, board_size: int) -> Array:
    """Returns bool [N, N] with a ship of each size, placed in turn, uniformly over the free placements.

    popgym draws a cell and a direction until the ship fits, which reaches every free placement in two ways.
    """
    bits = jax.random.bits(key, (len(SHIP_SIZES),), "uint32")
    board = jnp.zeros((board_size, board_size), jnp.bool_)
    for index, ship_size in enumerate(SHIP_SIZES):
        board |= _free_placement(board, ship_size, bits[index])
    return board


def _free_placement(board: Array, ship_size: int, bits: Array) -> Array:
    """Returns bool [N, N], a ship where it meets no other one, chosen by a uniform uint32."""
    board_size = board.shape[0]
    num_offsets = board_size - ship_size + 1
    lines = jnp.concatenate([board, board.T])  # rows, then columns
    is_free = ~functools.reduce(
        jnp.logical_or, [lines[:, cell : cell + num_offsets] for cell in range(ship_size)]
    )
    num_before = _num_before(jnp.sum(is_free, axis=1, dtype=jnp.int32))
    rank = draws.below(jnp.sum(is_free, dtype=jnp.int32), bits)
    line = jnp.sum(num_before <= rank, dtype=jnp.int32) - 1
    offsets_before = _num_before(is_free[line].astype(jnp.int32))
    offset = jnp.sum(offsets_before <= rank - num_before[line], dtype=jnp.int32) - 1
    rows, columns = np.indices(board.shape)
    is_column = line >= board_size
    across = jnp.where(is_column, columns, rows) == line % board_size
    along = jnp.where(is_column, rows, columns) - offset
    return across & (along >= 0) & (along < ship_size)


def _num_before(counts: Array) -> Array:
    """Returns for each of some counts [N] the sum of those in front of it, int32 [N]."""
    is_before = np.tri(len(counts), k=-1, dtype=np.int32)
    return jnp.sum(is_before * counts, axis=1, dtype=jnp.int32)
