"""A T-maze: a sign at the entrance says at which end of the crossing, far away, the reward lies."""

import dataclasses
from typing import NamedTuple

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs
from jax import Array

from s5rl.envs import JaxEnvironment
from s5rl.types import next_timestep, restart

WALK, LEFT, RIGHT = range(3)


class Maze(NamedTuple):
    """Where the reward lies (LEFT or RIGHT), steps taken, and steps walked along the corridor."""

    goal: Array
    time: Array
    position: Array


@dataclasses.dataclass(frozen=True)
class TMaze(JaxEnvironment):
    """Pays 1 for the right turn at the end of the corridor, -1 for the wrong one, -0.1 for a bumped wall."""

    corridor_length: int = 5

    def reset(self, key: Array) -> tuple[Maze, dm_env.TimeStep]:
        """Begins at the entrance, where the sign is seen."""
        goal = jax.random.randint(key, (), LEFT, RIGHT + 1)
        maze = Maze(goal, jnp.int32(0), jnp.int32(0))
        return maze, restart(self._observe(maze))

    def step(self, maze: Maze, action: Array) -> tuple[Maze, dm_env.TimeStep]:
        """Walks, turns, or bumps into a wall."""
        at_end = maze.position == self.corridor_length
        turned, walked = at_end & (action != WALK), ~at_end & (action == WALK)
        reward = jnp.where(turned, jnp.where(action == maze.goal, 1.0, -1.0), jnp.where(walked, 0.0, -0.1))
        maze = Maze(maze.goal, maze.time + 1, maze.position + walked)
        is_cut = maze.time == 10 * self.corridor_length
        return maze, next_timestep(reward, self._observe(maze), terminated=turned, truncated=is_cut)

    def observation_spec(self) -> specs.BoundedArray:
        """The sign, -1 or 1, at the entrance only; and whether this is the crossing."""
        return specs.BoundedArray((2,), np.float32, -1.0, 1.0)

    def action_spec(self) -> specs.DiscreteArray:
        """WALK, LEFT or RIGHT."""
        return specs.DiscreteArray(3)

    def _observe(self, maze: Maze) -> Array:
        sign = jnp.where(maze.position == 0, 2.0 * (maze.goal == RIGHT) - 1.0, 0.0)
        return jnp.stack([sign, jnp.where(maze.position == self.corridor_length, 1.0, 0.0)])
