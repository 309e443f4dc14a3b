"""The tasks of the paper, and what is drawn at the reset of an environment on the host."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from s5rl.envs.projected.projections import ProjectionSettings

TRAINING_TASKS = (
    "ball_in_cup/catch",
    "cartpole/swingup",
    "finger/spin",
    "finger/turn_hard",
    "point_mass/easy",
    "reacher/easy",
)
"""The six tasks on which agents learn."""
HELD_OUT_TASKS = (
    "cartpole/balance",
    "finger/turn_easy",
    "pendulum/swingup",
    "point_mass/hard",
    "reacher/hard",
)
"""The five tasks on which they are only evaluated.

The paper does not name the split in its text; this one fits its counts and its remark on pendulum swingup.
"""


class TaskSizes(NamedTuple):
    """A task, and how many numbers it shows and takes."""

    name: str
    observation: int
    action: int


class Episode(NamedTuple):
    """What is drawn at a reset."""

    task: int
    """Index of the task."""
    task_seed: int
    """Of the task's own random numbers in this episode."""
    observation_matrix: np.ndarray
    """float64 [O, E] M_o."""
    action_matrix: np.ndarray
    """float64 [E, A] M_a."""


def draw_episode(
    settings: ProjectionSettings, tasks: Sequence[TaskSizes], seed: int, row: int, number: int
) -> Episode:
    """Draws a task, its seed and its projections; a function of its arguments.

    Args:
      settings: of the projections.
      tasks: to choose from.
      seed: of the environment.
      row: of the environment, where it has several.
      number: how many episodes the row has had before.
    """
    rng = _generator(seed, row, number)
    index = int(rng.integers(len(tasks)))
    task_seed = int(rng.integers(2**32))
    task = tasks[index]
    if settings.fixed_projections:
        rng = _generator(seed, zlib.crc32(task.name.encode()))
    return Episode(
        task=index,
        task_seed=task_seed,
        observation_matrix=settings.matrix(
            rng.standard_normal((settings.observation_size, task.observation)), np
        ),
        action_matrix=settings.matrix(rng.standard_normal((task.action, settings.action_size)), np),
    )


def _generator(seed: int, *key: int) -> np.random.Generator:
    # As a spawn key: numpy pads the other argument with zeros, and (1, 0) would be (1,).
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
