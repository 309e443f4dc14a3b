"""Policies that look into popgym's environments: winning, losing, and at the bounds of the action space."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from popgym import envs as theirs
from popgym.core.maze import MazeEnv

Policy = Callable[[Any, int, np.random.Generator], Any]


def at_random(e: Any, time: int, rng: np.random.Generator) -> Any:
    match e.action_space:
        case spaces.Discrete(n=n):
            return int(rng.integers(n))
        case spaces.MultiDiscrete(nvec=nvec):
            return rng.integers(nvec)
        case spaces.Box(low=low, high=high):
            return rng.uniform(low, high).astype(np.float32)


def smallest(e: Any, time: int, rng: np.random.Generator) -> Any:
    return _bound(e, -1)


def largest(e: Any, time: int, rng: np.random.Generator) -> Any:
    return _bound(e, 1)


def alternating(e: Any, time: int, rng: np.random.Generator) -> Any:
    return _bound(e, 1 if time % 2 else -1)


def _bound(e: Any, side: int) -> Any:
    match e.action_space:
        case spaces.Discrete(n=n):
            return int(n - 1) if side > 0 else 0
        case spaces.MultiDiscrete(nvec=nvec):
            return nvec - 1 if side > 0 else np.zeros_like(nvec)
        case spaces.Box(low=low, high=high):
            return high if side > 0 else low


def winning(e: Any, time: int, rng: np.random.Generator) -> Any:
    """Does the best that hidden state allows."""
    match e:
        case theirs.Autoencode():
            return int(e.deck.suits_idx[e.deck["system"][-1]])
        case theirs.RepeatFirst():
            return int(e.card)
        case theirs.RepeatPrevious():
            hand = e.deck["player"]
            return int(e.deck.suits_idx[hand[-e.k]]) if len(hand) >= e.k else 0
        case theirs.CountRecall():
            return int(e.counts[e.query])
        case theirs.HigherLower():
            next_card = e.deck.idx[len(e.deck) - 1]
            return int(e.deck.ranks_idx[next_card] < e.deck.ranks_idx[e.deck["player"][-1]])
        case theirs.Battleship():
            return _first((e.board == 1) & (e.guesses == 0))
        case theirs.Concentration():
            return _next_of_a_pair(e)
        case theirs.MineSweeper():
            return _first(e.hidden_grid == 0)
        case theirs.MultiarmedBandit():
            return int(np.argmax(e.bandits))
        case MazeEnv():
            return _walk(e)
        case theirs.PositionOnlyPendulum():
            theta, speed = e.state
            angle = (theta + np.pi) % (2 * np.pi) - np.pi
            energy = speed**2 / 2 + 10 * (np.cos(theta) - 1)
            torque = -8 * angle - 2 * speed if abs(angle) < 0.4 else -np.sign(speed * (energy + 1)) * 2
            return np.clip([torque], -2, 2).astype(np.float32)
        case _:
            return int(e.state[2] + 0.3 * e.state[3] + 0.1 * e.state[0] + 0.2 * e.state[1] > 0)


def losing(e: Any, time: int, rng: np.random.Generator) -> Any:
    """Does what costs most, or what a port may get wrong."""
    match e:
        case theirs.Battleship():  # shoots at one cell of water for ever
            return _first(e.board == 0)
        case theirs.Concentration():  # a pair, then face-up cards first and second, one card twice
            if time < 2:
                return winning(e, time, rng)
            up, down = e.deck["face_up_idx"][0], next(i for i in range(52) if i not in e.deck["face_up_idx"])
            return [up, down, up, down, down][(time - 2) % 5]
        case theirs.MineSweeper():  # views one cell until the time is up
            return _first(e.hidden_grid != 1)
        case MazeEnv():  # runs against the outer wall and out of the grid
            return time % 4 if time < 40 else int(rng.integers(4))
        case theirs.PositionOnlyPendulum() | theirs.MultiarmedBandit():
            return (
                smallest(e, time, rng)
                if isinstance(e, theirs.PositionOnlyPendulum)
                else int(np.argmin(e.bandits))
            )
        case _:
            return (winning(e, time, rng) + 1) % int(e.action_space.n)


def stepping_on_a_mine(e: Any, time: int, rng: np.random.Generator) -> Any:
    return _first(e.hidden_grid == (0 if time < 2 else 1))


def _first(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask)[0]


def _next_of_a_pair(e: Any) -> int:
    kinds = e.deck_idx_type[e.deck.idx]
    up, in_play = e.deck["face_up_idx"], e.deck["in_play_idx"]
    left = [i for i in range(len(kinds)) if i not in up and i not in in_play]
    return next(i for i in left if not in_play or kinds[i] == kinds[in_play[0]])


def _walk(e: Any) -> int:
    """Returns the first step of a shortest way to the goal, or to a cell that has not been explored."""
    is_goal = e.maze.grid == 3 if (e.maze.grid == 3).any() else (e.maze.grid != 1) & (e.explored == 0)
    moves = [(0, -1), (0, 1), (-1, 0), (1, 0)]
    side = len(e.maze.grid)
    queue, seen = collections.deque([(tuple(e.position), None)]), {tuple(e.position)}
    while queue:
        (row, column), first = queue.popleft()
        if is_goal[row, column]:
            return first
        for action, (down, right) in enumerate(moves):
            cell = row + down, column + right
            inside = 0 <= cell[0] < side and 0 <= cell[1] < side
            if inside and cell not in seen and e.maze.grid[cell] != 1:
                seen.add(cell)
                queue.append((cell, action if first is None else first))
    raise AssertionError("the maze has no way")
