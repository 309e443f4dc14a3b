"""No call but the first compiles: a second run with equal values finds every program of the first."""

from __future__ import annotations

import logging
import re

import jax
import pytest
from agents import LEARNING_CORES, small_agent

from s5rl.envs import MemoryChain, as_dm_env
from s5rl.training import evaluate, train
from s5rl.types import EnvironmentSpec

ENVIRONMENT = MemoryChain(3)


@pytest.fixture
def compiled(caplog):
    """Runs a function and returns the names of the programs that XLA compiled meanwhile."""

    def run(function):
        caplog.clear()
        with caplog.at_level(logging.WARNING), jax.log_compiles():
            function()
        messages = [record.getMessage() for record in caplog.records]
        return [match[1] for line in messages if (match := re.search("XLA compilation of (.*) in ", line))]

    return run


@pytest.mark.parametrize("loop", ["compiled", "compiled, seeds", "host"])
def test_only_the_first_run_compiles(loop, compiled):
    def run(num_updates, seed):
        agent = small_agent("ppo", LEARNING_CORES["gru"])
        num_steps = num_updates * agent.config.num_envs * agent.config.unroll_length
        if loop == "host":
            environment = [as_dm_env(ENVIRONMENT, seed + index) for index in range(agent.config.num_envs)]
        else:
            environment = ENVIRONMENT
        if loop == "compiled, seeds":
            result = train(agent, environment, num_steps, seed, num_seeds=2).seed(1)
        else:
            result = train(agent, environment, num_steps, seed)
        evaluate(result.agent, result.agent.acting_params(result.state), environment, 3, seed)

    assert compiled(lambda: run(1, seed=0))
    assert compiled(lambda: run(3, seed=7)) == []


def test_a_run_on_the_host_acts_and_learns_by_one_program_each(compiled):
    agent = small_agent("a2c", LEARNING_CORES["gru"], learning_rate=2e-5)
    environments = [as_dm_env(ENVIRONMENT, index) for index in range(agent.config.num_envs)]
    num_steps = 2 * agent.config.num_envs * agent.config.unroll_length
    programs = compiled(lambda: train(agent, environments, num_steps))
    for name in ("_act", "learn"):
        assert sum(name in program for program in programs) == 1, programs


@pytest.mark.parametrize("core", LEARNING_CORES.values(), ids=LEARNING_CORES.keys())
def test_only_the_first_start_compiles(core, compiled):
    def start(seed):
        agent = small_agent("ppo", core).bind(EnvironmentSpec.from_environment(ENVIRONMENT))
        agent.acting_params(agent.init(jax.random.key(seed)))

    start(0)
    assert compiled(lambda: start(1)) == []
