"""Microbatches change nothing of an update but the memory that it needs, with every algorithm and core."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents import ENVIRONMENT, OBSERVED, SMALL_CONFIGS, SPEC, small_agent
from cores import CORES
from jax.flatten_util import ravel_pytree
from numerics import X64, assert_close

from s5rl.agents.microbatches import in_microbatches, largest_divisor
from s5rl.compat import enable_x64
from s5rl.cores import FeedForwardCore, LSTMCore
from s5rl.training import rollout, start_actors
from s5rl.training.keys import run_keys

NUM_ENVS, UNROLL_LENGTH = 6, 8
# With one gradient step the optimiser holds its gradient.
ONE_STEP = {"num_epochs": 1, "num_minibatches": 1}
SETTINGS = {"num_envs": NUM_ENVS, "unroll_length": UNROLL_LENGTH, **OBSERVED}
KEY = jax.random.key(3)


@functools.cache
def acted():
    """A trajectory of rows that are all different and cross episodes, in float64."""
    agent = small_agent("a2c", FeedForwardCore((4,)), **OBSERVED).bind(SPEC)
    params = agent.acting_params(agent.init(KEY))
    actors = start_actors(agent, ENVIRONMENT, run_keys(0), NUM_ENVS)
    _, actors = rollout(agent, ENVIRONMENT, params, actors, 3)
    return rollout(agent, ENVIRONMENT, params, actors, UNROLL_LENGTH)[0]


def trajectory_for(agent):
    """The trajectory, with a memory of the agent's own for each row."""

    def noisy(leaf):
        is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf + jax.random.normal(KEY, leaf.shape, leaf.dtype) if is_float else leaf

    state = jax.tree.map(noisy, agent.core.initial_state(NUM_ENVS))
    return acted()._replace(initial_state=acted().initial_state._replace(core_state=state))


def assert_same_update(agent, microbatch_size):
    @jax.jit
    def update(state, trajectory):
        agents = (agent, dataclasses.replace(agent, microbatch_size=microbatch_size))
        return [each.update(state, trajectory, KEY) for each in agents]

    with enable_x64():  # a policy loss is a difference of large numbers
        (whole, metrics), (parts, part_metrics) = update(jax.jit(agent.init)(KEY), trajectory_for(agent))
        assert metrics["gradient_norm"] > 0
        assert_close(part_metrics, metrics, X64)
        assert_close(parts.opt_state, whole.opt_state, X64)
        # As one vector: the gradient of the bias of attention's keys is only rounding, which Adam enlarges.
        assert_close(*(ravel_pytree((each.params, each.carry))[0] for each in (parts, whole)), X64)


ONE_OF_EACH_CLASS = {type(core): name for name, core in reversed(CORES.items())}.values()


def case(algorithm, name):
    """Fast are a core of each class with A2C, and one with every algorithm; the slow tests try all others."""
    is_fast = name == "lstm" or (algorithm == "a2c" and name in ONE_OF_EACH_CLASS)
    marks = [] if is_fast else [pytest.mark.slow]
    return pytest.param(algorithm, CORES[name], id=f"{algorithm}-{name}", marks=marks)


@pytest.mark.parametrize(
    ("algorithm", "core"), [case(*pair) for pair in itertools.product(SMALL_CONFIGS, CORES)]
)
def test_an_update_in_microbatches_is_the_same(algorithm, core):
    one_step = {} if algorithm == "a2c" else ONE_STEP
    assert_same_update(small_agent(algorithm, core, **SETTINGS, **one_step).bind(SPEC), microbatch_size=2)


def test_ppo_takes_sequences_and_environments_in_microbatches():
    cut = {"sequence_length": 4, "refresh_states": True, "num_epochs": 2, "num_minibatches": 3}
    # Of 6 environments and of 4 sequences: two microbatches of 3, and two of 2.
    assert_same_update(small_agent("ppo", LSTMCore(5), **SETTINGS, **cut).bind(SPEC), microbatch_size=3)


@pytest.mark.parametrize(("size", "expected"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 3), (6, 6), (99, 6)])
def test_microbatches_are_as_large_as_the_size_allows_and_return_all_rows(size, expected):
    seen = []

    def function(by_time, by_row):
        seen.append((by_time["x"].shape, by_row.shape))
        # A mean over rows, which no caller may ask for, shows which rows are together.
        return {"x": by_time["x"] * by_row, "mean": by_time["x"] * 0 + by_row.mean()}, by_row[:, None] + 1

    rows = np.arange(6.0)
    by_time = {"x": np.ones((4, 6)) * rows}
    outputs, shifted = in_microbatches(function, size, (1, 0), (1, 0))(by_time, rows)
    assert set(seen) == {((4, expected), (expected,))}
    np.testing.assert_array_equal(outputs["x"], by_time["x"] * rows)
    np.testing.assert_array_equal(shifted[:, 0], rows + 1)
    num_microbatches = 6 // expected
    for row in range(6):
        together = rows[row % num_microbatches :: num_microbatches]
        np.testing.assert_allclose(outputs["mean"][:, row], together.mean())


def test_a_microbatch_holds_a_divisor_of_the_rows():
    for number in range(1, 40):
        for limit in range(1, 50):
            divisors = [divisor for divisor in range(1, limit + 1) if number % divisor == 0]
            assert largest_divisor(number, limit) == max(divisors)


@pytest.mark.parametrize("size", [0, -1, 2.0, True])
def test_a_microbatch_size_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match="microbatch_size must be an integer of at least 1, got"):
        dataclasses.replace(small_agent("ppo", LSTMCore(5)), microbatch_size=size)
