"""The clipped objectives of PPO, against rlax and a few numbers by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import rlax

from s5rl.losses import approximate_kl, clipped_square_errors, clipped_surrogate


def test_surrogate_by_hand():
    ratios = jnp.asarray([1.0, 1.5, 0.5, 1.5, 0.5])
    advantages = jnp.asarray([2.0, 1.0, 1.0, -1.0, -1.0])
    # A good action gains nothing beyond 1.2, a bad one nothing below .8; what made it worse counts in full.
    expected = [2.0, 1.2, 0.5, -1.5, -0.8]
    np.testing.assert_allclose(clipped_surrogate(ratios, advantages, 0.2), expected, rtol=1e-6)
    gradient = jax.grad(lambda r: clipped_surrogate(r, advantages, 0.2).sum())(ratios)
    np.testing.assert_array_equal(gradient[1:], [0.0, 1.0, -1.0, 0.0])


def test_surrogate_equals_rlax():
    random = np.random.default_rng(0)
    ratios = jnp.asarray(random.uniform(0.5, 1.5, size=50), float)
    advantages = jnp.asarray(random.normal(size=50), float)
    expected = rlax.clipped_surrogate_pg_loss(ratios, advantages, 0.2)
    np.testing.assert_allclose(-clipped_surrogate(ratios, advantages, 0.2).mean(), expected, rtol=1e-5)


def test_value_errors_by_hand():
    values, old_values = jnp.asarray([0.3, 0.9, 0.9, 0.1]), jnp.full(4, 0.2)
    targets = jnp.asarray([1.0, 1.0, 0.5, 0.0])
    plain = clipped_square_errors(values, old_values, targets, None)
    np.testing.assert_allclose(plain, [0.49, 0.01, 0.16, 0.01], rtol=1e-5)
    # The second moved by .7 towards its target, of which .5 count: (.7 - 1)^2. The third went too far.
    clipped = clipped_square_errors(values, old_values, targets, 0.5)
    np.testing.assert_allclose(clipped, [0.49, 0.09, 0.16, 0.01], rtol=1e-5)


def test_approximate_kl_is_the_kl_in_the_mean():
    old, new = np.asarray([0.2, 0.3, 0.5]), np.asarray([0.4, 0.4, 0.2])
    estimates = approximate_kl(jnp.asarray(np.log(new / old), float))
    assert (np.asarray(estimates) >= 0).all()
    np.testing.assert_allclose((old * estimates).sum(), (old * np.log(old / new)).sum(), rtol=1e-5)
    assert approximate_kl(jnp.zeros(())) == 0.0
