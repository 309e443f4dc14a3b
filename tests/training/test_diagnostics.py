"""Every agent, around every core, learns what is known; a memoryless core does not remember."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents import LEARNING_CORES, SMALL_CONFIGS, small_agent
from cores import CORES
from diagnostics import Alternate, ConstantReward, DelayedReward, ObservedReward, first_step

from s5rl.cores import FeedForwardCore
from s5rl.envs import MemoryChain
from s5rl.training import evaluate, train

over_algorithms = pytest.mark.parametrize("algorithm", sorted(SMALL_CONFIGS))
over_cores = pytest.mark.parametrize("core", LEARNING_CORES.values(), ids=LEARNING_CORES.keys())


def values_along_an_episode(result, environment, key, num_steps):
    """The agent's values at the first `num_steps` steps of an episode."""
    step = jax.jit(result.agent.network.step)
    state, timestep = environment.reset(key)
    memory, values = result.agent.initial_actor_state().core_state, []
    for _ in range(num_steps):
        output, memory = step(result.state.params, timestep, memory)
        values.append(float(output.value))
        state, timestep = environment.step(state, jnp.int32(0))
    return values


def test_every_class_of_core_is_tried():
    assert {type(core) for core in LEARNING_CORES.values()} == {type(core) for core in CORES.values()}


@over_algorithms
@over_cores
def test_constant_reward(algorithm, core):
    result = train(small_agent(algorithm, core), ConstantReward(), 800 * 64)
    (value,) = values_along_an_episode(result, ConstantReward(), jax.random.key(0), 1)
    assert abs(value - 1.0) < 0.1


@over_algorithms
@over_cores
def test_discounting(algorithm, core):
    environment = DelayedReward(4)
    agent = small_agent(algorithm, core)
    agent = dataclasses.replace(agent, config=dataclasses.replace(agent.config, discount=0.5))
    result = train(agent, environment, 400 * 64)
    values = values_along_an_episode(result, environment, jax.random.key(0), 4)
    np.testing.assert_allclose(values, [0.125, 0.25, 0.5, 1.0], atol=0.1)


@over_algorithms
@over_cores
def test_value_that_depends_on_the_observation(algorithm, core):
    environment = ObservedReward()
    result = train(small_agent(algorithm, core), environment, 400 * 64)
    for seed in range(4):
        key = jax.random.key(seed)
        (value,) = values_along_an_episode(result, environment, key, 1)
        assert abs(value - float(first_step(environment, key).observation[0])) < 0.2


@over_algorithms
@over_cores
def test_action_that_depends_on_the_observation(algorithm, core):
    environment = ObservedReward(action_matters=True)
    result = train(small_agent(algorithm, core), environment, 400 * 64)
    evaluation = evaluate(result.agent, result.agent.acting_params(result.state), environment, 50)
    assert evaluation.episode_returns.mean() > 0.95


@over_algorithms
@pytest.mark.parametrize("is_observed", [False, True])
def test_without_memory_the_previous_action_has_to_be_observed(algorithm, is_observed):
    environment = Alternate(4)
    agent = small_agent(algorithm, FeedForwardCore((16,)), observe_previous_action=is_observed)
    result = train(agent, environment, 400 * 64)
    returns = result.metrics["episode_return"][-100:].mean()
    assert returns > 3.8 if is_observed else returns < 2.5


@over_algorithms
@over_cores
def test_a_cue_over_several_steps_needs_memory(algorithm, core):
    environment = MemoryChain(4)
    result = train(small_agent(algorithm, core), environment, 1500 * 64)
    evaluation = evaluate(result.agent, result.agent.acting_params(result.state), environment, 200)
    accuracy = (evaluation.episode_returns.mean() + 1) / 2
    if isinstance(core, FeedForwardCore):
        assert accuracy < 0.65
    else:
        assert accuracy > 0.95
