"""Evaluations while a run goes on: whole episodes with fresh memory, every so many updates."""

from __future__ import annotations

import functools
from typing import final

import jax
import jax.numpy as jnp
import numpy as np

from s5rl.agents import Agent, AgentState
from s5rl.envs import BatchedEnvironment, JaxEnvironment
from s5rl.training.evaluate import MAX_EPISODE_LENGTH, Evaluation, check_ended, evaluate, run_episodes
from s5rl.training.host_steps import acting_params
from s5rl.training.keys import run_keys, split_run_keys
from s5rl.training.metrics import Columns, EpisodeTracker
from s5rl.types import Array, EnvironmentSpec, PRNGKey, PyTree


@final
class PeriodicEvaluation:
    """An environment in which the agent is evaluated, beside the one in which it learns.

    Attributes:
      every: number of updates between two evaluations.
    """

    def __init__(
        self,
        agent: Agent,
        environment: JaxEnvironment | BatchedEnvironment,
        *,
        every: int,
        num_episodes: int,
        seeds: np.ndarray,
    ) -> None:
        """Evaluates nothing yet.

        Args:
          agent: bound to the environment in which it learns.
          environment: with the same specs.
          every: number of updates between two evaluations.
          num_episodes: number of episodes of each.
          seeds: [] or [S] of the run.

        Raises:
          ValueError: the specs differ, or there are several seeds and the environment lives on the host.
        """
        self.every = every
        self._agent = agent.bind(EnvironmentSpec.from_environment(environment))
        self._environment, self._num_episodes = environment, num_episodes
        keys = [run_keys(int(seed)).evaluations for seed in np.atleast_1d(seeds)]
        self._keys = jnp.stack(keys) if seeds.ndim else keys[0]
        if isinstance(environment, JaxEnvironment):
            return
        if seeds.ndim:
            raise ValueError("evaluation_environment must be a JaxEnvironment where there are several seeds.")
        environment.reset()  # before that, there may be no state to ask for

    def updates_left(self, done: int) -> int:
        """Returns the number of updates until the next evaluation, from 1 to `every`."""
        return self.every - done % self.every

    def is_due(self, done: int) -> bool:
        """Returns whether to evaluate after so many updates."""
        return done % self.every == 0

    def run(self, agent_state: AgentState, done: int) -> Columns:
        """Evaluates.

        Args:
          agent_state: after `done` updates; with a leading axis where there are several seeds.
          done: number of updates, from which the episodes' random numbers come.

        Returns:
          `episode_return` and `episode_length`, means over the episodes, and `episode_return_std`, the
          deviation between them: [1] each, or [S, 1].
        """
        if isinstance(self._environment, JaxEnvironment):
            call = _evaluate_seeds if self._keys.ndim else _evaluate
            tracker, ended = jax.device_get(
                call(self._agent, self._environment, self._num_episodes, agent_state, self._keys, done)
            )
            check_ended(ended)
            evaluation = Evaluation(tracker.episode_return, tracker.episode_length)
        else:
            params = acting_params(self._agent, agent_state)
            evaluation = evaluate(self._agent, params, self._environment, self._num_episodes)
        return {
            "episode_return": evaluation.episode_returns.mean(axis=-1, keepdims=True),
            "episode_return_std": evaluation.episode_returns.std(axis=-1, keepdims=True),
            "episode_length": evaluation.episode_lengths.mean(axis=-1, keepdims=True),
        }

    def get_state(self) -> PyTree:
        """Returns the state of an environment on the host, if it has one."""
        return self._environment.get_state() if isinstance(self._environment, BatchedEnvironment) else None

    def set_state(self, state: PyTree) -> None:
        """Goes back to a state of `get_state`."""
        if isinstance(self._environment, BatchedEnvironment) and state is not None:
            self._environment.set_state(state)


def _evaluate_state(
    agent: Agent,
    environment: JaxEnvironment,
    num_episodes: int,
    agent_state: AgentState,
    key: PRNGKey,
    done: Array,
) -> tuple[EpisodeTracker, Array]:
    keys = split_run_keys(jax.random.fold_in(key, done))
    params = agent.acting_params(agent_state)
    return run_episodes(agent, environment, num_episodes, params, keys, MAX_EPISODE_LENGTH)


def _evaluate_states(
    agent: Agent,
    environment: JaxEnvironment,
    num_episodes: int,
    agent_states: AgentState,
    keys: PRNGKey,
    done: Array,
) -> tuple[EpisodeTracker, Array]:
    evaluate_one = functools.partial(_evaluate_state, agent, environment, num_episodes)
    return jax.vmap(evaluate_one, in_axes=(0, 0, None))(agent_states, keys, done)


_evaluate = jax.jit(_evaluate_state, static_argnums=(0, 1, 2))
_evaluate_seeds = jax.jit(_evaluate_states, static_argnums=(0, 1, 2))
