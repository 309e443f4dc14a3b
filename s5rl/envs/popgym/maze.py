"""Mazes by hunt and kill, drawn as mazelib draws them for popgym, in one loop."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from s5rl.envs.popgym.draws import below
from s5rl.types import Array, PRNGKey

FREE, WALL, START, GOAL = range(4)

MARGIN = 2
"""Cells around the grid in which nothing is carved, so that no neighbour of a room is out of bounds."""


class _Carving(NamedTuple):
    walls: Array
    """bool [cells], True where a wall stands; the padded grid, flat."""
    room: Array
    """int32 [], the cell that the walk has come to."""
    num_carved: Array
    """int32 [], rooms that the walks have reached so far, but for the first one."""
    num_hunts: Array
    """int32 [], rooms hunted so far."""


def sample_maze(key: PRNGKey, size: int) -> tuple[Array, Array, Array]:
    """Draws a maze with an entrance on one side and an exit on the opposite one.

    A random walk carves rooms and the walls between them until it is stuck. Then rooms are hunted at
    random, and from each that has been carved another walk sets out. It ends after (2 size + 1)^2 hunts,
    when one maze in some 10000 to 30000 still lacks a room, or as soon as every room is carved, since
    later hunts change nothing.

    Args:
      key: a random key.
      size: number of rooms in a row.

    Returns:
      The grid int8 [2 size + 1, 2 size + 1] of FREE and WALL, and the positions int32 [2] of start and goal,
      which lie on the border and are still walls.

    Source: mazelib's HuntAndKill and outer entrances.
    """
    carve_key, entrances_key = jax.random.split(key)
    start, goal = _sample_entrances(entrances_key, size)
    return _carve(carve_key, size), start, goal


def _carve(key: PRNGKey, size: int) -> Array:
    side = 2 * size + 1
    width = side + 2 * MARGIN
    rooms = np.array([r * width + c for r in _room_indices(size) for c in _room_indices(size)], np.int32)
    num_hunts = side**2
    steps = np.array([-2 * width, 2 * width, -2, 2], np.int32)  # to the neighbouring rooms
    bits = jax.random.bits(key, (1 + num_hunts + len(rooms),), "uint32")

    def is_unfinished(carving: _Carving) -> Array:
        return (carving.num_carved < len(rooms) - 1) & (carving.num_hunts <= num_hunts)

    def walk_or_hunt(carving: _Carving) -> _Carving:
        walls, room = carving.walls, carving.room
        draw = bits[1 + carving.num_carved + carving.num_hunts]
        # A hunted room that has not been carved yet leads nowhere.
        open_to = [walls[room + step] & ~walls[room] for step in steps]
        num_open = sum(is_open.astype(jnp.int32) for is_open in open_to)
        is_walk = num_open > 0
        choice = below(jnp.maximum(num_open, 1), draw)
        step = jnp.int32(0)
        for candidate, is_open in zip(steps, open_to, strict=True):
            step = jnp.where(is_open & (choice == 0), candidate, step)
            choice = choice - is_open
        # Cell 0 is outside of the grid: what is carved there has no effect.
        carved = jnp.where(is_walk, jnp.stack([room + step, room + step // 2]), 0)
        return _Carving(
            walls=walls.at[carved].set(False),
            room=jnp.where(is_walk, room + step, jnp.asarray(rooms)[below(len(rooms), draw)]),
            num_carved=carving.num_carved + is_walk,
            num_hunts=carving.num_hunts + ~is_walk,
        )

    inside = np.zeros((width, width), np.bool_)
    inside[MARGIN : MARGIN + side, MARGIN : MARGIN + side] = True
    first = jnp.asarray(rooms)[below(len(rooms), bits[0])]
    carving = _Carving(
        jnp.asarray(inside.reshape(-1)).at[first].set(False), first, jnp.int32(0), jnp.int32(0)
    )
    walls = jax.lax.while_loop(is_unfinished, walk_or_hunt, carving).walls.reshape(width, width)
    return jnp.where(walls[MARGIN : MARGIN + side, MARGIN : MARGIN + side], WALL, FREE).astype(jnp.int8)


def _room_indices(size: int) -> range:
    """Returns the rows, or columns, of the rooms in the padded grid."""
    return range(MARGIN + 1, MARGIN + 2 * size, 2)


def _sample_entrances(key: PRNGKey, size: int) -> tuple[Array, Array]:
    """Returns positions int32 [2] on opposite borders, each beside a room."""
    side_key, start_key, goal_key = jax.random.split(key, 3)
    side = jax.random.randint(side_key, (), 0, 4)
    start, goal = (2 * jax.random.randint(k, (), 0, size) + 1 for k in (start_key, goal_key))
    last = 2 * size
    near = jnp.where(side % 2 == 0, 0, last)
    start_cell, goal_cell = jnp.stack([near, start]), jnp.stack([last - near, goal])
    is_vertical = side < 2  # north and south, else west and east
    return (
        jnp.where(is_vertical, start_cell, start_cell[::-1]),
        jnp.where(is_vertical, goal_cell, goal_cell[::-1]),
    )
