"""CMPO: the exact policy, its bound, and the estimate from samples."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from s5rl.losses import exact_cmpo_weights, policy_distance, sampled_cmpo_weights

PRIOR = np.array([0.5, 0.3, 0.15, 0.05])
ADVANTAGES = np.array([-0.4, 0.7, 3.0, -2.0])


def test_the_exact_policy_is_the_formula():
    unnormalised = PRIOR * np.exp(np.clip(ADVANTAGES, -1, 1))
    weights = exact_cmpo_weights(jnp.log(PRIOR), jnp.asarray(ADVANTAGES), 1.0)
    np.testing.assert_allclose(weights, unnormalised / unnormalised.sum(), rtol=1e-6)


@settings(deadline=None)
@given(
    logits=hnp.arrays(np.float32, (5, 3), elements=st.floats(-6, 6, width=32)),
    advantages=hnp.arrays(np.float32, (5, 3), elements=st.floats(-1e4, 1e4, width=32)),
    clip=st.floats(0.1, 3.0),
)
def test_total_variation_is_bounded(logits, advantages, clip):
    log_probs = jax.nn.log_softmax(logits, axis=0)
    weights = exact_cmpo_weights(log_probs, advantages, clip)
    variation = 0.5 * jnp.abs(weights - jnp.exp(log_probs)).sum(axis=0)
    assert (variation <= np.tanh(clip / 2) + 1e-5).all()


def test_the_bound_is_reached():
    # Half of the prior's mass has the best, half the worst advantage.
    weights = exact_cmpo_weights(jnp.log(jnp.array([0.5, 0.5])), jnp.array([9.0, -9.0]), 1.0)
    np.testing.assert_allclose(abs(weights[0] - 0.5), np.tanh(1.0) / 2, rtol=1e-6)
    prior = 1 / (1 + np.e)  # where the bound is tight
    weights = exact_cmpo_weights(jnp.log(jnp.array([prior, 1 - prior])), jnp.array([9.0, -9.0]), 1.0)
    np.testing.assert_allclose(abs(weights[0] - prior), np.tanh(0.5), rtol=1e-5)


def estimate(num_samples, weigh, num_draws=20_000):
    """The mean over many draws of the estimated pi_CMPO, by action."""
    actions = jax.random.categorical(jax.random.key(0), jnp.log(PRIOR), shape=(num_samples, num_draws))
    weights = weigh(jnp.asarray(ADVANTAGES)[actions])
    return np.asarray(jnp.sum(weights[..., None] * jax.nn.one_hot(actions, 4), axis=0).mean(axis=0))


def self_normalised(advantages):
    return jax.nn.softmax(jnp.clip(advantages, -1, 1), axis=0)


def test_64_samples_give_the_exact_policy_within_5_percent():
    exact = exact_cmpo_weights(jnp.log(PRIOR), jnp.asarray(ADVANTAGES), 1.0)
    sampled = estimate(64, lambda advantages: sampled_cmpo_weights(advantages, 1.0))
    np.testing.assert_allclose(sampled, exact, rtol=0.05)


def test_two_samples_do_not_shrink_towards_the_prior():
    exact = np.asarray(exact_cmpo_weights(jnp.log(PRIOR), jnp.asarray(ADVANTAGES), 1.0))
    sampled = estimate(2, lambda advantages: sampled_cmpo_weights(advantages, 1.0))
    shrunk = estimate(2, self_normalised)
    best = 2  # the action of the largest advantage
    assert shrunk[best] < 0.85 * exact[best] < 0.95 * exact[best] < sampled[best]


def test_a_sample_does_not_stand_in_its_own_normaliser():
    advantages = jnp.array([0.3, -0.5, 7.0])
    exps = np.exp([0.3, -0.5, 1.0])
    expected = [exps[i] / (1 + exps.sum() - exps[i]) for i in range(3)]
    np.testing.assert_allclose(sampled_cmpo_weights(advantages, 1.0), expected, rtol=1e-6)


@pytest.mark.parametrize("is_exact", [False, True])
def test_distance(is_exact):
    weights, log_probs = jnp.array([0.75, 0.25, 0.0]), jnp.log(jnp.array([0.5, 0.25, 0.25]))
    cross_entropy = -(0.75 * np.log(0.5) + 0.25 * np.log(0.25))
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    expected = cross_entropy - entropy * is_exact
    np.testing.assert_allclose(policy_distance(weights, log_probs, is_exact=is_exact), expected, rtol=1e-6)
    gradient = jax.grad(lambda w: policy_distance(w, log_probs, is_exact=is_exact))(weights)
    np.testing.assert_array_equal(gradient, 0.0)
