"""Rewards within an episode: they are those that `evaluate` sums, whole and in parts."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from agents import small_agent
from diagnostics import Aim
from environments import RandomWalk

from s5rl.cores import LSTMCore
from s5rl.envs import DmEnvBatch, MemoryChain, as_dm_env
from s5rl.training import InContextEvaluation, evaluate, evaluate_in_context, evaluate_random
from s5rl.types import EnvironmentSpec


def batch(environment, num_envs=5):
    return DmEnvBatch([as_dm_env(environment, seed) for seed in range(num_envs)])


def test_returns_and_lengths_are_those_of_evaluate():
    environment = MemoryChain(2)
    agent = small_agent("ppo", LSTMCore(4)).bind(EnvironmentSpec.from_environment(environment))
    params = agent.acting_params(agent.init(jax.random.key(0)))
    result = evaluate_in_context(agent, params, batch(environment, 2))
    expected = evaluate(agent, params, batch(environment, 2), 2)
    np.testing.assert_array_equal(np.sort(result.episode_returns), np.sort(expected.episode_returns))
    np.testing.assert_array_equal(result.episode_lengths, expected.episode_lengths)


def test_rewards_end_with_the_episode():
    result = evaluate_random_of(RandomWalk())
    steps = np.arange(result.rewards.shape[1])
    is_last = steps == result.episode_lengths[:, None] - 1
    is_over = steps >= result.episode_lengths[:, None]
    # Each step brings 0.5, the last one 1.
    np.testing.assert_array_equal(result.rewards, np.where(is_over, 0.0, np.where(is_last, 1.0, 0.5)))
    assert len(set(result.episode_lengths.tolist())) > 1


def evaluate_random_of(environment):
    class OneAction(type(environment)):
        """With one of the actions of the nest, the other one fixed."""

        def action_spec(self):
            return super().action_spec()["push"]

        def step(self, state, action):
            return super().step(state, {"push": action, "stay": np.int32(0)})

    return evaluate_random(batch(OneAction(), 8))


def test_parts_of_an_episode():
    rewards = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [1.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0]])
    result = InContextEvaluation(rewards, np.array([7, 3]))
    np.testing.assert_array_equal(result.returns_of_parts(2), [[10.0, 18.0], [2.0, 2.0]])
    np.testing.assert_array_equal(result.returns_of_parts(1)[:, 0], result.episode_returns)
    np.testing.assert_array_equal(result.returns_of_parts(4).sum(axis=1), result.episode_returns)
    with pytest.raises(ValueError, match="num_parts must be"):
        result.returns_of_parts(0)


def test_random_actions_fill_their_bounds_and_follow_their_seed():
    # 1 - (a - +-1/2)^2 for uniform a in [-1, 1]: 1 - 1/3 - 1/4 on average.
    result = evaluate_random(batch(Aim(), 40), seed=1)
    np.testing.assert_allclose(result.episode_returns.mean(), 5 / 12, atol=0.2)
    again, other = (evaluate_random(batch(Aim(), 40), seed=seed) for seed in (1, 2))
    np.testing.assert_array_equal(result.rewards, again.rewards)
    assert (result.rewards != other.rewards).any()
    chain = evaluate_random(batch(MemoryChain(1), 40))
    assert abs(chain.episode_returns.mean()) < 0.6


def test_an_episode_without_end_is_named():
    with pytest.raises(RuntimeError, match="did not end within max_episode_length=3 steps"):
        evaluate_random(batch(MemoryChain(9)), max_episode_length=3)
