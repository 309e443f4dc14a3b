"""The tasks of dm_control on which laws are tested, and actions for them."""

from __future__ import annotations

import numpy as np

from s5rl.envs.mujoco_batch import BATCHED_TASKS

CLASSES_OF_STATE = (
    "ball_in_cup/catch",
    "cartpole/swingup",
    "finger/spin",
    "finger/turn_easy",
    "fish/swim",
    "humanoid/run",
    "lqr/lqr_2_1",
    "manipulator/insert_peg",
    "point_mass/hard",
    "quadruped/escape",
    "reacher/hard",
    "swimmer/swimmer6",
)
"""One task for each kind of thing that a task of the suite draws or changes at a reset."""
ELIGIBLE_TASKS = (*BATCHED_TASKS, "lqr/lqr_2_1", "lqr/lqr_6_2")
"""All tasks with at most 12 numbers in the observation and 2 in the action."""


def lively_actions(num_steps: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Returns float32 [T, *shape] from -1 to 1: random ones, and extreme ones that are held for a while.

    Extreme ones reach the limits of joints and the contacts, which noise around 0 does not.
    """
    rng = np.random.default_rng(seed)
    noise = rng.uniform(-1.0, 1.0, (num_steps, *shape))
    held = np.sign(rng.standard_normal((num_steps // 25 + 1, *shape))).repeat(25, axis=0)[:num_steps]
    is_held = (np.arange(num_steps) // 100 % 2 == 1).reshape(-1, *[1] * len(shape))
    return np.where(is_held, held, noise).astype(np.float32)
