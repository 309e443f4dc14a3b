"""Counting steps and episodes of trajectories, the same for every loop."""

from __future__ import annotations

from typing import NamedTuple

import dm_env
import jax
import jax.numpy as jnp
import numpy as np

from s5rl.types import Array

Columns = dict[str, np.ndarray]
"""Metrics by name: [updates], or [seeds, updates]."""


class EpisodeTracker(NamedTuple):
    """What the running episodes have collected so far, [B] each."""

    episode_return: Array
    episode_length: Array


def start_tracker(num_envs: int) -> EpisodeTracker:
    """Returns the tracker of `num_envs` rows that stand at a FIRST step."""
    return EpisodeTracker(jnp.zeros(num_envs, float), jnp.zeros(num_envs, jnp.int32))


def track_episodes(
    tracker: EpisodeTracker, timesteps: dm_env.TimeStep
) -> tuple[EpisodeTracker, dict[str, Array]]:
    """Follows the episodes through one trajectory.

    Args:
      tracker: from the trajectory before.
      timesteps: [T + 1, B] of the trajectory; the first one was counted before.

    Returns:
      The next tracker, and scalar metrics: `steps` (real environment steps), `episodes` (that ended),
      `episode_return` and `episode_length` (means over those, NaN where none ended).
    """

    def body(
        tracker: EpisodeTracker, timestep: dm_env.TimeStep
    ) -> tuple[EpisodeTracker, tuple[EpisodeTracker, Array]]:
        first, last = timestep.first(), timestep.last()
        so_far = EpisodeTracker(
            jnp.where(first, 0.0, tracker.episode_return + timestep.reward),
            jnp.where(first, 0, tracker.episode_length + 1),
        )
        return so_far, (so_far, last)

    steps = jax.tree.map(lambda leaf: leaf[1:], timesteps)
    tracker, (so_far, ended) = jax.lax.scan(body, tracker, steps._replace(observation=()))
    episodes = jnp.sum(ended)
    metrics = {
        "steps": jnp.sum(~steps.first()),
        "episodes": episodes,
        "episode_return": jnp.sum(ended * so_far.episode_return) / episodes,
        "episode_length": jnp.sum(ended * so_far.episode_length) / episodes,
    }
    return tracker, metrics
