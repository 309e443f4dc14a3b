"""`evaluate`: whole episodes with a fresh memory."""

from __future__ import annotations

import functools
from typing import NamedTuple

import dm_env
import jax
import jax.numpy as jnp
import numpy as np

from s5rl.agents import Agent
from s5rl.envs import BatchedEnvironment, JaxEnvironment, advance_stream
from s5rl.training.environments import TrainingEnvironment, as_batch
from s5rl.training.keys import RunKeys, check_seed, row_keys, run_keys
from s5rl.training.metrics import EpisodeTracker, start_tracker
from s5rl.training.rollout import Actors, start_actors
from s5rl.types import ActorState, ActOutput, Array, EnvironmentSpec, Params, PRNGKey
from s5rl.validation import check_positive

MAX_EPISODE_LENGTH = 100_000
"""After so many steps an episode is taken to have no end."""


class Evaluation(NamedTuple):
    """Finished episodes, each begun with an empty memory."""

    episode_returns: np.ndarray
    """[episodes] undiscounted."""
    episode_lengths: np.ndarray
    """[episodes] environment steps."""


def evaluate(
    agent: Agent,
    params: Params,
    environment: TrainingEnvironment,
    num_episodes: int,
    seed: int = 0,
    *,
    max_episode_length: int = MAX_EPISODE_LENGTH,
) -> Evaluation:
    """Runs whole episodes with the most probable actions.

    Args:
      agent: bound to the environment.
      params: from `agent.acting_params(state)`; of one seed, `result.seed(i)`, where there are several.
      environment: a JaxEnvironment, a BatchedEnvironment, a dm_env.Environment or a list of those.
      num_episodes: number of episodes; each row of a batch runs the same number of them, up to one, so that
        short episodes are not preferred.
      seed: of the episodes of a JaxEnvironment; other environments have seeds of their own, and one that
        logs, such as a bsuite environment with `results_dir`, logs these episodes too.
      max_episode_length: number of steps after which an episode is taken to have no end.

    Returns:
      Returns and lengths of the episodes.

    Raises:
      RuntimeError: an episode did not end within `max_episode_length` steps.
      ValueError: a number is not positive, or the agent is bound to another environment.
    """
    check_positive(num_episodes=num_episodes, max_episode_length=max_episode_length)
    check_seed(seed)
    if isinstance(environment, JaxEnvironment):
        agent = agent.bind(EnvironmentSpec.from_environment(environment))
        tracker, ended = jax.device_get(
            _run_episodes(agent, environment, num_episodes, params, run_keys(seed), max_episode_length)
        )
        check_ended(ended, max_episode_length)
        return Evaluation(tracker.episode_return, tracker.episode_length)
    batch = as_batch(environment)
    agent = agent.bind(EnvironmentSpec.from_environment(batch))
    return _evaluate_on_host(agent, params, batch, num_episodes, seed, max_episode_length)


class _Episodes(NamedTuple):
    """Episodes that run side by side."""

    actors: Actors
    tracker: EpisodeTracker
    done: Array
    """bool [episodes]: whether the first episode of the row has ended."""


def run_episodes(
    agent: Agent,
    environment: JaxEnvironment,
    num_episodes: int,
    params: Params,
    keys: RunKeys,
    max_episode_length: Array | int,
) -> tuple[EpisodeTracker, Array]:
    """Runs one episode in each of several environments, side by side.

    Args:
      agent: bound to the environment.
      environment: the environment.
      num_episodes: number N of episodes.
      params: from `agent.acting_params`.
      keys: of everything random.
      max_episode_length: steps after which all of them are stopped.

    Returns:
      Returns and lengths [N], and bool [N], whether the episode has ended.
    """

    def unfinished(episodes: _Episodes) -> Array:
        return ~episodes.done.all() & (episodes.tracker.episode_length.max() < max_episode_length)

    def slot(episodes: _Episodes) -> _Episodes:
        streams, memory, keys = episodes.actors
        output, memory = agent.act(params, streams.timestep, memory, keys, evaluation=True)
        streams = jax.vmap(lambda s, a: advance_stream(environment, s, a))(streams, output.action)
        tracker = EpisodeTracker(
            episodes.tracker.episode_return + jnp.where(episodes.done, 0.0, streams.timestep.reward),
            episodes.tracker.episode_length + jnp.where(episodes.done, 0, 1),
        )
        return _Episodes(Actors(streams, memory, keys), tracker, episodes.done | streams.timestep.last())

    episodes = _Episodes(
        actors=start_actors(agent, environment, keys, num_episodes),
        tracker=start_tracker(num_episodes),
        done=jnp.zeros(num_episodes, jnp.bool_),
    )
    episodes = jax.lax.while_loop(unfinished, slot, episodes)
    return episodes.tracker, episodes.done


def _evaluate_on_host(
    agent: Agent,
    params: Params,
    environment: BatchedEnvironment,
    num_episodes: int,
    seed: int,
    max_episode_length: int,
) -> Evaluation:
    num_envs = environment.num_envs
    keys = row_keys(run_keys(seed).acting, num_envs)
    # Which rows run one episode more than the others, where the division leaves a remainder.
    left = num_episodes // num_envs + (np.arange(num_envs) < num_episodes % num_envs)
    finished: list[tuple[float, int]] = []
    returns, lengths = np.zeros(num_envs), np.zeros(num_envs, int)
    timestep, memory = environment.reset(), agent.initial_actor_state(num_envs)
    while left.any():
        output, memory = act_on_host(agent, params, timestep, memory, keys)
        timestep = environment.step(jax.device_get(output.action))
        first = timestep.step_type == int(dm_env.StepType.FIRST)
        returns = np.where(first, 0.0, returns + timestep.reward)
        lengths = np.where(first, 0, lengths + 1)
        for row in np.flatnonzero((timestep.step_type == int(dm_env.StepType.LAST)) & (left > 0)):
            finished.append((returns[row], lengths[row]))
            left[row] -= 1
        unfinished = (left > 0) & ~timestep.last()
        if (lengths[unfinished] >= max_episode_length).any():
            raise endless(max_episode_length)
    return Evaluation(*(np.array(column) for column in zip(*finished, strict=True)))


_run_episodes = jax.jit(run_episodes, static_argnums=(0, 1, 2))


def check_ended(ended: np.ndarray, max_episode_length: int = MAX_EPISODE_LENGTH) -> None:
    """Raises a RuntimeError unless every episode has ended."""
    if not ended.all():
        raise endless(max_episode_length)


@functools.partial(jax.jit, static_argnums=0)
def act_on_host(
    agent: Agent, params: Params, timestep: dm_env.TimeStep, memory: ActorState, keys: PRNGKey
) -> tuple[ActOutput, ActorState]:
    """Returns `agent.act` of evaluation, compiled."""
    return agent.act(params, timestep, memory, keys, evaluation=True)


def endless(max_episode_length: int) -> RuntimeError:
    """Returns the error for an episode without an end."""
    return RuntimeError(
        f"an episode did not end within max_episode_length={max_episode_length} steps: raise the limit, or "
        "give the environment a time limit."
    )
