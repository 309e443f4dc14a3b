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


NAN_INPUTS = "nan_inputs"
"""The metric that a run is stopped by; it is 0 in all others, and not reported."""
EPISODE_METRICS = ("steps", "episodes", "episode_return", "episode_length")
"""What is reported of every update, before the metrics of the algorithm."""
MAY_BE_NAN = ("episode_return", "episode_length", "explained_variance")
"""Metrics that are NaN where there is nothing to take the mean of."""
FINAL_SHARE = 0.1
"""Of a run: its end, over which returns are averaged."""


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
      `episode_return` and `episode_length` (means over those, NaN where none ended), and `nan_inputs`
      (numbers that are NaN in observations and rewards).
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
    seen = (timesteps.observation, timesteps.reward)
    metrics = {
        NAN_INPUTS: jnp.asarray(sum(jnp.sum(jnp.isnan(leaf)) for leaf in jax.tree.leaves(seen))),
        "steps": jnp.sum(~steps.first()),
        "episodes": episodes,
        "episode_return": jnp.sum(ended * so_far.episode_return) / episodes,
        "episode_length": jnp.sum(ended * so_far.episode_length) / episodes,
    }
    return tracker, metrics


def mean_episode_return(metrics: Columns) -> np.ndarray:
    """Returns the mean return of all episodes that ended, [] or [seeds]; NaN where none ended.

    Args:
      metrics: columns [updates] or [seeds, updates] with `episodes` and `episode_return`.
    """
    episodes = metrics["episodes"].astype(float)
    total, count = np.nansum(metrics["episode_return"] * episodes, axis=-1), episodes.sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def final_returns(metrics: Columns) -> np.ndarray:
    """Returns the mean return of the episodes that ended in the last tenth of a run's updates.

    Args:
      metrics: columns [updates] or [seeds, updates].

    Returns:
      [] or [seeds]; NaN where no episode ended then.
    """
    num_updates = metrics["step"].shape[-1]
    last = slice(num_updates - max(1, round(FINAL_SHARE * num_updates)), None)
    return mean_episode_return({name: column[..., last] for name, column in metrics.items()})


def max_mean_episodic_return(metrics: Columns) -> np.ndarray:
    """Returns the largest mean return of an update's episodes: POPGym's MMER, [] or [seeds].

    mmer = max_u mean(returns of the episodes that ended in update u)

    NaN where no episode ended. A mean over few episodes is noisy, and so is the largest of them: compare only
    runs with equal numbers of environments and slots in an update.

    Args:
      metrics: columns [updates] or [seeds, updates] with `episode_return`.

    Source: Morad et al. 2023; Lu et al. 2023, Table 6.
    """
    returns = np.where(np.isnan(metrics["episode_return"]), -np.inf, metrics["episode_return"])
    highest = returns.max(axis=-1, initial=-np.inf)
    return np.where(np.isneginf(highest), np.nan, highest)
