"""What an agent finds out within an episode: rewards step by step, beside those of random actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import dm_env
import jax
import numpy as np

from s5rl.agents import Agent
from s5rl.envs import BatchedEnvironment
from s5rl.training.evaluate import MAX_EPISODE_LENGTH, act_on_host, endless
from s5rl.training.keys import check_seed, row_keys, run_keys
from s5rl.types import Action, EnvironmentSpec, Params
from s5rl.validation import check_positive


class InContextEvaluation(NamedTuple):
    """One episode in each row of an environment, begun with an empty memory."""

    rewards: np.ndarray
    """[episodes, steps], 0 behind the end of an episode."""
    episode_lengths: np.ndarray
    """[episodes] environment steps."""

    @property
    def episode_returns(self) -> np.ndarray:
        """[episodes] undiscounted."""
        return self.rewards.sum(axis=1)

    def returns_of_parts(self, num_parts: int = 4) -> np.ndarray:
        """Returns what each part of an episode brought: whether it goes better once more is known.

        Args:
          num_parts: number of parts of equal length, up to one step.

        Returns:
          [episodes, num_parts], whose sums are the returns.
        """
        check_positive(num_parts=num_parts)
        returns = np.zeros((len(self.rewards), num_parts))
        for row, (rewards, length) in enumerate(zip(self.rewards, self.episode_lengths, strict=True)):
            returns[row] = [part.sum() for part in np.array_split(rewards[:length], num_parts)]
        return returns


def evaluate_in_context(
    agent: Agent,
    params: Params,
    environment: BatchedEnvironment,
    seed: int = 0,
    *,
    max_episode_length: int = MAX_EPISODE_LENGTH,
) -> InContextEvaluation:
    """Runs one episode in every row with the most probable actions.

    Args:
      agent: bound to the environment.
      params: from `agent.acting_params(state)`.
      environment: with as many rows as there shall be episodes; it begins new ones.
      seed: of whatever the agent draws; the environment has seeds of its own.
      max_episode_length: number of steps after which an episode is taken to have no end.

    Raises:
      RuntimeError: an episode did not end within `max_episode_length` steps.
      ValueError: the agent is bound to another environment.
    """
    check_seed(seed)
    agent = agent.bind(EnvironmentSpec.from_environment(environment))
    keys = row_keys(run_keys(seed).acting, environment.num_envs)
    memory = agent.initial_actor_state(environment.num_envs)

    def choose(timestep: dm_env.TimeStep) -> Action:
        nonlocal memory
        output, memory = act_on_host(agent, params, timestep, memory, keys)
        return jax.device_get(output.action)

    return _play(environment, choose, max_episode_length)


def evaluate_random(
    environment: BatchedEnvironment, seed: int = 0, *, max_episode_length: int = MAX_EPISODE_LENGTH
) -> InContextEvaluation:
    """Runs one episode in every row with actions drawn uniformly within their bounds: the floor of a plot.

    Args:
      environment: with one bounded action, as for `evaluate_in_context`.
      seed: of the actions.
      max_episode_length: number of steps after which an episode is taken to have no end.

    Raises:
      RuntimeError: an episode did not end within `max_episode_length` steps.
    """
    check_seed(seed)
    spec, random = environment.action_spec(), np.random.default_rng(seed)
    shape = (environment.num_envs, *spec.shape)

    def choose(timestep: dm_env.TimeStep) -> Action:
        del timestep
        if np.issubdtype(spec.dtype, np.integer):
            return random.integers(spec.minimum, spec.maximum, shape, spec.dtype, endpoint=True)
        return random.uniform(spec.minimum, spec.maximum, shape).astype(spec.dtype)

    return _play(environment, choose, max_episode_length)


def _play(
    environment: BatchedEnvironment, choose: Callable[[dm_env.TimeStep], Action], max_episode_length: int
) -> InContextEvaluation:
    timestep = environment.reset()
    rewards: list[np.ndarray] = []
    lengths = np.zeros(environment.num_envs, int)
    running = np.ones(environment.num_envs, bool)
    while running.any():
        if len(rewards) == max_episode_length:
            raise endless(max_episode_length)
        timestep = environment.step(choose(timestep))
        rewards.append(np.where(running, timestep.reward, 0.0))
        lengths += running
        running &= timestep.step_type != int(dm_env.StepType.LAST)
    return InContextEvaluation(np.stack(rewards, axis=1), lengths)
