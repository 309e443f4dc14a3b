"""Retrace over streams that cross episode boundaries, against lambda-returns and a plain recursion."""

from __future__ import annotations

import dm_env
import jax.numpy as jnp
import numpy as np
import pytest

from s5rl.losses import live_slots, retrace_returns, td_lambda_errors

FIRST, MID, LAST = (int(t) for t in (dm_env.StepType.FIRST, dm_env.StepType.MID, dm_env.StepType.LAST))
SETTINGS = {"discount": 0.9, "retrace_lambda": 0.8}


def streams(seed, num_slots=40, num_rows=3):
    """Random streams of short episodes, terminated and truncated, that start inside an episode."""
    random = np.random.default_rng(seed)
    step_types = np.full((num_slots + 1, num_rows), MID)
    for row in range(num_rows):
        time = int(random.integers(4))
        while time < num_slots:
            step_types[time, row], step_types[time + 1, row] = LAST, FIRST
            time += int(random.integers(2, 7))
    rewards, discounts = random.normal(size=(2, *step_types.shape))
    discounts = np.where(step_types == LAST, random.integers(0, 2, step_types.shape), 1.0 + 0.0 * discounts)
    timesteps = dm_env.TimeStep(
        *(
            jnp.asarray(x, dtype)
            for x, dtype in ((step_types, jnp.int32), (rewards, float), (discounts, float))
        ),
        (),
    )
    values, action_values, log_ratios = random.normal(size=(3, *step_types.shape))
    return timesteps, *(jnp.asarray(x, float) for x in (values, action_values[1:], log_ratios[1:]))


@pytest.mark.parametrize("seed", range(5))
def test_on_policy_they_are_the_lambda_returns(seed):
    timesteps, values, _, _ = streams(seed)
    returns = retrace_returns(timesteps, values, values[:-1], jnp.zeros_like(values[1:]), **SETTINGS)
    errors = td_lambda_errors(timesteps, values, discount=0.9, td_lambda=0.8)
    live = live_slots(timesteps) > 0
    np.testing.assert_allclose(returns[live], (values[:-1] + errors)[live], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_equals_a_plain_recursion(seed):
    timesteps, values, action_values, log_ratios = streams(seed)
    returns = retrace_returns(timesteps, values, action_values, log_ratios, **SETTINGS)
    num_slots, num_rows = action_values.shape
    step_type, reward, discount = (np.asarray(x, np.float64) for x in timesteps[:3])
    for row in range(num_rows):
        following = None
        for t in reversed(range(num_slots)):
            target = float(values[t + 1, row])
            if t + 1 < num_slots and step_type[t + 1, row] != LAST:
                trace = 0.8 * min(1.0, np.exp(float(log_ratios[t + 1, row])))
                target += trace * (following - float(action_values[t + 1, row]))
            following = reward[t + 1, row] + 0.9 * discount[t + 1, row] * target
            if step_type[t, row] != LAST:
                np.testing.assert_allclose(returns[t, row], following, rtol=1e-4, atol=1e-5)


def test_a_ratio_above_one_is_cut_and_one_of_zero_stops_the_trace():
    timesteps = dm_env.TimeStep(*(jnp.array([x] * 3)[:, None] for x in (MID, 1.0, 1.0)), ())
    values, action_values = jnp.array([[0.0], [2.0], [3.0]]), jnp.array([[0.0], [1.0]])

    def first(log_ratio):
        return retrace_returns(timesteps, values, action_values, jnp.full((2, 1), log_ratio), **SETTINGS)[
            0, 0
        ]

    np.testing.assert_allclose(first(5.0), first(0.0), rtol=1e-6)
    np.testing.assert_allclose(first(-jnp.inf), 1 + 0.9 * 2.0, rtol=1e-6)


def test_shapes_are_asserted():
    timesteps, values, action_values, log_ratios = streams(0)
    with pytest.raises(AssertionError):
        retrace_returns(timesteps, values[1:], action_values, log_ratios, **SETTINGS)
    with pytest.raises(AssertionError):
        retrace_returns(timesteps, values, action_values[1:], log_ratios, **SETTINGS)
