"""Every agent, around every core, learns values that are known."""

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
    KnownValues,
)

from s5rl.training import train

ENVIRONMENT = KnownValues()
NUM_STEPS = {"a2c": 2000 * 64, "ppo": 2500 * 64, "muesli": 1000 * 64}


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
