"""The paper's first experiment, small: which memories carry a cue over how many steps."""

from __future__ import annotations

import numpy as np
import pytest

from s5rl.agents import A2CConfig, make_agent
from s5rl.cores import AttentionCore, FeedForwardCore, LSTMCore, ResettableS5Core
from s5rl.envs import MemoryChain
from s5rl.training import evaluate, train

pytestmark = pytest.mark.slow

S5 = ResettableS5Core(state_size=64, model_size=64, num_layers=1)
ATTENTION = AttentionCore(num_layers=1, model_size=64, window=102)


def accuracies(core, memory_length, unroll_length, episodes=2000):
    """The share of correct answers of three seeds after training."""
    config = A2CConfig(learning_rate=5e-4, unroll_length=unroll_length, torso_sizes=(64, 64))
    environment = MemoryChain(memory_length)
    num_steps = episodes * (memory_length + 2)
    agent = make_agent(core=core, algorithm="a2c", config=config)
    result = train(agent, environment, num_steps, num_seeds=3)
    returns = []
    for index in range(3):
        params = result.agent.acting_params(result.seed(index).state)
        returns.append(evaluate(result.agent, params, environment, 200).episode_returns.mean())
    return (np.asarray(returns) + 1) / 2


@pytest.mark.parametrize("core", [S5, ATTENTION, LSTMCore(64)], ids=["s5", "attention", "lstm"])
def test_a_memory_carries_a_cue_over_ten_steps(core):
    assert accuracies(core, 10, 32).min() > 0.95


@pytest.mark.parametrize("core", [S5, ATTENTION], ids=["s5", "attention"])
@pytest.mark.parametrize(("memory_length", "unroll_length"), [(30, 32), (100, 128)])
def test_s5_and_attention_carry_a_cue_over_a_long_episode(core, memory_length, unroll_length):
    assert accuracies(core, memory_length, unroll_length).min() > 0.95


@pytest.mark.parametrize("memory_length", [2, 10, 30])
def test_without_memory_the_answer_is_chance(memory_length):
    assert np.abs(accuracies(FeedForwardCore((64,)), memory_length, 32) - 0.5).max() < 0.15


def test_at_length_one_no_memory_is_needed():
    assert accuracies(FeedForwardCore((64,)), 1, 32).min() > 0.95
