"""Returns over streams that cross episode boundaries, against hand-computed numbers and a plain loop."""

from __future__ import annotations

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax
from hypothesis import given, settings
from hypothesis import strategies as st

from s5rl.losses import explained_variance, live_slots, standardize, td_lambda_errors, weighted_mean

FIRST, MID, LAST = (int(t) for t in (dm_env.StepType.FIRST, dm_env.StepType.MID, dm_env.StepType.LAST))


def stream(step_types, rewards, discounts):
    """One stream as time steps [T + 1, 1]."""
    column = [np.asarray(x)[:, None] for x in (step_types, rewards, discounts)]
    return dm_env.TimeStep(
        jnp.asarray(column[0], jnp.int32), jnp.asarray(column[1], float), jnp.asarray(column[2], float), ()
    )


def test_two_terminated_episodes_by_hand():
    # Discount .99, lambda .95; each episode: e_2 = 1 - .9 = .1, e_1 = .99 * .9 - .7 + .9405 * .1 = .28505,
    # e_0 = .99 * .7 - .5 + .9405 * .28505 = .46109.
    timesteps = stream(
        [FIRST, MID, MID, LAST, FIRST, MID, MID, LAST],
        [0, 0, 0, 1, 0, 0, 0, 1],
        [1, 1, 1, 0, 1, 1, 1, 0],
    )
    values = jnp.asarray([0.5, 0.7, 0.9, 123.0, 0.5, 0.7, 0.9, -7.0])[:, None]
    errors = td_lambda_errors(timesteps, values, discount=0.99, td_lambda=0.95)[:, 0]
    live = live_slots(timesteps)[:, 0]
    np.testing.assert_array_equal(live, [1, 1, 1, 0, 1, 1, 1])
    expected = [0.46109, 0.28505, 0.1]
    np.testing.assert_allclose(errors[live > 0], expected + expected, atol=1e-5)


def test_the_same_episode_truncated_by_hand():
    # The final observation has the value .6: e_2 = 1 + .99 * .6 - .9 = .694,
    # e_1 = .99 * .9 - .7 + .9405 * .694 = .843707, e_0 = .99 * .7 - .5 + .9405 * .843707 = .9865064.
    timesteps = stream(
        [FIRST, MID, MID, LAST, FIRST, MID, MID, LAST],
        [0, 0, 0, 1, 0, 0, 0, 1],
        [1, 1, 1, 1, 1, 1, 1, 0],
    )
    values = jnp.asarray([0.5, 0.7, 0.9, 0.6, 0.5, 0.7, 0.9, -7.0])[:, None]
    errors = td_lambda_errors(timesteps, values, discount=0.99, td_lambda=0.95)[:, 0]
    np.testing.assert_allclose(errors[:3], [0.9865064, 0.843707, 0.694], atol=1e-6)
    np.testing.assert_allclose(errors[4:], [0.46109, 0.28505, 0.1], atol=1e-5)


def test_truncated_episode_by_hand():
    # The value of the final observation, 2, is bootstrapped, and the trace stops there:
    # e_1 = 1 + .9 * 2 - .5, e_0 = 1 + .9 * .5 - 1 + .9 * .8 * e_1.
    # The next episode's reward of 100 must not be seen.
    timesteps = stream([FIRST, MID, LAST, FIRST, LAST], [0, 1, 1, 0, 100], [1, 1, 1, 1, 0])
    values = jnp.asarray([1.0, 0.5, 2.0, 50.0, 0.0])[:, None]
    errors = td_lambda_errors(timesteps, values, discount=0.9, td_lambda=0.8)[:, 0]
    np.testing.assert_allclose(errors[1], 2.3, rtol=1e-6)
    np.testing.assert_allclose(errors[0], 0.45 + 0.72 * 2.3, rtol=1e-6)
    np.testing.assert_allclose(errors[3], 50.0, rtol=1e-6)


def loop_over_episodes(step_types, rewards, discounts, values, discount, td_lambda):
    """The lambda-return of each live slot from the infinite sum's definition, episode by episode."""
    errors = np.zeros(len(step_types) - 1)
    for t in range(len(step_types) - 1):
        if step_types[t] == LAST:
            continue
        end = t + 1
        while end < len(step_types) - 1 and step_types[end] != LAST:
            end += 1
        total, weight = 0.0, 1.0
        for k in range(t, end):
            delta = rewards[k + 1] + discount * discounts[k + 1] * values[k + 1] - values[k]
            total += weight * delta
            weight *= discount * discounts[k + 1] * td_lambda
        errors[t] = total
    return errors


@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    start=st.integers(0, 3),
    terminated=st.lists(st.booleans(), min_size=5, max_size=5),
    td_lambda=st.sampled_from([0.0, 0.5, 0.95, 1.0]),
    seed=st.integers(0, 2**16),
)
@settings(deadline=None, max_examples=25, derandomize=True)
def test_equals_a_plain_loop_over_episodes(lengths, start, terminated, td_lambda, seed):
    step_types, discounts = [], []
    for length, ends in zip(lengths, terminated, strict=False):
        step_types += [FIRST, *[MID] * (length - 1), LAST]
        discounts += [1.0] * length + [0.0 if ends else 1.0]
    start = min(start, len(step_types) - 2)  # a window may begin inside an episode, or with its LAST
    step_types, discounts = step_types[start:], discounts[start:]
    random = np.random.default_rng(seed)
    rewards, values = random.normal(size=(2, len(step_types)))
    errors = td_lambda_errors(
        stream(step_types, rewards, discounts),
        jnp.asarray(values, float)[:, None],
        discount=0.9,
        td_lambda=td_lambda,
    )
    expected = loop_over_episodes(step_types, rewards, discounts, values, 0.9, td_lambda)
    live = np.asarray(step_types[:-1]) != LAST
    np.testing.assert_allclose(errors[:, 0][live], expected[live], rtol=1e-4, atol=1e-5)


def test_equals_rlax_gae_inside_an_episode():
    random = np.random.default_rng(0)
    rewards, values = random.normal(size=(2, 9))
    discounts = random.uniform(size=9)
    timesteps = stream([FIRST] + [MID] * 8, rewards, discounts)
    errors = td_lambda_errors(timesteps, jnp.asarray(values, float)[:, None], discount=0.9, td_lambda=0.7)
    gae = rlax.truncated_generalized_advantage_estimation(
        jnp.asarray(rewards[1:], float),
        jnp.asarray(0.9 * discounts[1:], float),
        0.7,
        jnp.asarray(values, float),
    )
    np.testing.assert_allclose(errors[:, 0], gae, rtol=1e-4, atol=1e-5)


def test_gradient_flows_through_the_predictions_only():
    timesteps = stream([FIRST, MID, MID], [0, 1, 1], [1, 1, 1])
    gradient = jax.jacobian(lambda v: td_lambda_errors(timesteps, v, discount=0.9, td_lambda=0.8)[:, 0])(
        jnp.ones((3, 1))
    )
    np.testing.assert_allclose(gradient[..., 0], [[-1, 0, 0], [0, -1, 0]])


def test_weighted_mean_ignores_what_has_no_weight():
    x = jnp.asarray([[1.0, jnp.nan], [3.0, jnp.inf]])
    weights = jnp.asarray([[1.0, 0.0], [1.0, 0.0]])
    assert weighted_mean(x, weights) == 2.0
    assert weighted_mean(x, jnp.zeros((2, 2))) == 0.0
    gradient = jax.grad(weighted_mean)(x, weights)
    np.testing.assert_array_equal(gradient, [[0.5, 0.0], [0.5, 0.0]])


def test_standardized_are_those_that_have_weight():
    random = np.random.default_rng(0)
    x = random.normal(2.0, 3.0, size=(6, 4))
    weights = (random.uniform(size=x.shape) < 0.6).astype(float)
    live = weights > 0
    expected = np.where(live, (x - x[live].mean()) / x[live].std(), 0.0)
    spoilt = np.where(live, x, np.nan)
    for values in (x, spoilt):
        got = standardize(jnp.asarray(values, float), jnp.asarray(weights))
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(standardize(jnp.full((3, 1), 5.0), jnp.ones((3, 1))), np.zeros((3, 1)))
    np.testing.assert_array_equal(standardize(jnp.ones((3, 1)), jnp.zeros((3, 1))), np.zeros((3, 1)))


def test_explained_variance():
    random = np.random.default_rng(0)
    targets, noise = random.normal(size=(2, 6, 4))
    weights = (random.uniform(size=targets.shape) < 0.6).astype(float)
    live = weights > 0
    predictions = targets + 0.5 * noise + 3.0  # a constant error is explained
    expected = 1.0 - np.var(0.5 * noise[live]) / np.var(targets[live])
    got = explained_variance(*(jnp.asarray(x, float) for x in (predictions, targets, weights)))
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    ones = jnp.ones((2, 2))
    assert explained_variance(jnp.zeros((2, 2)), ones, ones) == 0.0


def test_shapes_are_asserted():
    timesteps = stream([FIRST, MID], [0, 1], [1, 1])
    with pytest.raises(AssertionError):
        td_lambda_errors(timesteps, jnp.zeros((3, 1)), discount=0.9, td_lambda=0.8)
