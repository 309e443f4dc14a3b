"""Every agent remembers a cue with every memory and without one does not; it aims with continuous actions."""

from __future__ import annotations

from itertools import product

import pytest
from agents import LEARNING_CORES, SMALL_CONFIGS, small_agent
from diagnostics import Aim, Alternate

from s5rl.cores import FeedForwardCore
from s5rl.envs import MemoryChain
from s5rl.training import evaluate, train

IN_THE_FAST_SUITE = ("feed_forward", "lstm", "s5")
"""Of the longer trainings; the others are among the slow tests."""
NUM_STEPS = {"a2c": 1500 * 64, "ppo": 1500 * 64, "muesli": 750 * 64}

over_algorithms = pytest.mark.parametrize("algorithm", sorted(SMALL_CONFIGS))


@over_algorithms
@pytest.mark.parametrize("is_observed", [False, True])
def test_without_memory_the_previous_action_has_to_be_observed(algorithm, is_observed):
    environment = Alternate(4)
    agent = small_agent(algorithm, FeedForwardCore((16,)), observe_previous_action=is_observed)
    result = train(agent, environment, 400 * 64)
    returns = result.metrics["episode_return"][-100:].mean()
    assert returns > 3.8 if is_observed else returns < 2.5


@pytest.mark.parametrize(
    ("algorithm", "core"),
    [
        (algorithm, name)
        if name in IN_THE_FAST_SUITE
        else pytest.param(algorithm, name, marks=pytest.mark.slow)
        for algorithm, name in product(sorted(SMALL_CONFIGS), LEARNING_CORES)
    ],
)
def test_a_cue_over_several_steps_needs_memory(algorithm, core):
    environment, core = MemoryChain(4), LEARNING_CORES[core]
    result = train(small_agent(algorithm, core), environment, NUM_STEPS[algorithm])
    evaluation = evaluate(result.agent, result.agent.acting_params(result.state), environment, 200)
    accuracy = (evaluation.episode_returns.mean() + 1) / 2
    if isinstance(core, FeedForwardCore):
        assert accuracy < 0.65
    else:
        assert accuracy > 0.95


@pytest.mark.parametrize(
    ("algorithm", "core"),
    [
        ("a2c", "gru"),
        ("ppo", "gru"),
        *(
            ("muesli", name)
            if name in IN_THE_FAST_SUITE
            else pytest.param("muesli", name, marks=pytest.mark.slow)
            for name in LEARNING_CORES
        ),
    ],
)
def test_a_continuous_action_that_depends_on_the_observation(algorithm, core):
    environment = Aim()
    agent = small_agent(algorithm, LEARNING_CORES[core], unroll_length=8)
    result = train(agent, environment, 500 * 64, progress=False)
    evaluation = evaluate(result.agent, result.agent.acting_params(result.state), environment, 100)
    assert evaluation.episode_returns.min() > 0.9  # the best action alone brings 1, no action at all 0.75
