"""Every agent, around every core, learns what is known; a memoryless core does not remember."""

from __future__ import annotations

from itertools import product

import jax
import numpy as np
import pytest
from agents import LEARNING_CORES, SMALL_CONFIGS, small_agent
from cores import CORES
from diagnostics import (
    CONSTANT_REWARD,
    DISCOUNTING,
    OBSERVED_ACTION,
    OBSERVED_VALUE,
    Aim,
    Alternate,
    KnownValues,
)

from s5rl.cores import FeedForwardCore
from s5rl.envs import MemoryChain
from s5rl.training import evaluate, train

ENVIRONMENT = KnownValues()
NUM_STEPS = {"a2c": 2000 * 64, "ppo": 2000 * 64, "muesli": 1000 * 64}

over_algorithms = pytest.mark.parametrize("algorithm", sorted(SMALL_CONFIGS))


def test_every_class_of_core_is_tried():
    assert {type(core) for core in LEARNING_CORES.values()} == {type(core) for core in CORES.values()}


@pytest.fixture(scope="module", params=product(sorted(SMALL_CONFIGS), LEARNING_CORES), ids="-".join)
def trained(request):
    """The result of an algorithm around a core on the four diagnostics at once."""
    algorithm, core = request.param
    agent = small_agent(algorithm, LEARNING_CORES[core], discount=0.5)
    return train(agent, ENVIRONMENT, NUM_STEPS[algorithm], progress=False)


def play(result, task, sign=1.0, num_steps=1):
    """The agent's values at the first steps of an episode, and the reward of the last of them."""
    agent, values = result.agent, []
    act, step = jax.jit(agent.act, static_argnames="evaluation"), jax.jit(agent.network.step)
    params, memory = agent.acting_params(result.state), agent.initial_actor_state()
    state, timestep = ENVIRONMENT.begin(task, sign)
    for _ in range(num_steps):
        values.append(float(step(params, timestep, memory.core_state)[0].value))
        output, memory = act(params, timestep, memory, jax.random.key(0), evaluation=True)
        state, timestep = ENVIRONMENT.step(state, output.action)
    assert timestep.last()
    return values, float(timestep.reward)


def test_constant_reward(trained):
    (value,), reward = play(trained, CONSTANT_REWARD)
    assert reward == 1.0
    assert abs(value - 1.0) < 0.1


def test_discounting(trained):
    values, _ = play(trained, DISCOUNTING, num_steps=4)
    np.testing.assert_allclose(values, [0.125, 0.25, 0.5, 1.0], atol=0.1)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_value_that_depends_on_the_observation(trained, sign):
    (value,), _ = play(trained, OBSERVED_VALUE, sign)
    assert abs(value - sign) < 0.2


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_action_that_depends_on_the_observation(trained, sign):
    (value,), reward = play(trained, OBSERVED_ACTION, sign)
    assert reward == 1.0
    assert abs(value - 1.0) < 0.2


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
        if algorithm == "muesli" or name in ("feed_forward", "lstm", "s5")
        else pytest.param(algorithm, name, marks=pytest.mark.slow)
        for algorithm, name in product(sorted(SMALL_CONFIGS), LEARNING_CORES)
    ],
)
def test_a_cue_over_several_steps_needs_memory(algorithm, core):
    environment, core = MemoryChain(4), LEARNING_CORES[core]
    result = train(small_agent(algorithm, core), environment, NUM_STEPS[algorithm] * 3 // 4)
    evaluation = evaluate(result.agent, result.agent.acting_params(result.state), environment, 200)
    accuracy = (evaluation.episode_returns.mean() + 1) / 2
    if isinstance(core, FeedForwardCore):
        assert accuracy < 0.65
    else:
        assert accuracy > 0.95


@pytest.mark.parametrize(
    ("algorithm", "core"),
    [("a2c", "gru"), ("ppo", "gru"), *product(["muesli"], LEARNING_CORES)],
)
def test_a_continuous_action_that_depends_on_the_observation(algorithm, core):
    environment = Aim()
    agent = small_agent(algorithm, LEARNING_CORES[core], unroll_length=8)
    result = train(agent, environment, 500 * 64, progress=False)
    evaluation = evaluate(result.agent, result.agent.acting_params(result.state), environment, 100)
    assert evaluation.episode_returns.min() > 0.9  # the best action alone brings 1, no action at all 0.75
