"""Two-hot values: what goes in comes out, and the support is MuZero's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import rlax

from s5rl.networks import TwoHotDistribution

MUZERO = TwoHotDistribution(601, 300.0)


def logits_of(values, scalars):
    """The logits of the least cross-entropy: those of the target itself."""
    probabilities = -jax.vmap(jax.grad(values.cross_entropy), in_axes=(None, 0))(
        jnp.zeros(values.num_bins), scalars
    )
    return jnp.log(probabilities + 1 / values.num_bins)  # the gradient is softmax - target


@pytest.mark.parametrize("values", [MUZERO, TwoHotDistribution(41, 5.0)])
def test_round_trip(values):
    scalars = jnp.array([-20.0, -1.0, -0.3, 0.0, 1e-3, 0.5, 1.0, 17.3, 30.0])
    np.testing.assert_allclose(values.decode(logits_of(values, scalars)), scalars, rtol=2e-4, atol=2e-5)


def test_equals_rlax_but_for_rounding():
    pair = rlax.muzero_pair(-300.0, 300.0, 601, rlax.SIGNED_HYPERBOLIC_PAIR)
    logits = 3.0 * jax.random.normal(jax.random.key(0), (50, 601))
    expected = pair.apply_inv(jax.nn.softmax(logits))
    np.testing.assert_allclose(MUZERO.decode(logits), expected, rtol=1e-3, atol=1e-2)
    targets = jnp.linspace(-500.0, 500.0, 50)
    expected = optax.softmax_cross_entropy(logits, pair.apply(targets))
    np.testing.assert_allclose(MUZERO.cross_entropy(logits, targets), expected, rtol=1e-3)


def test_scalars_beyond_the_support_are_clipped():
    values = TwoHotDistribution(21, 2.0)
    limit = values.decode(jnp.where(jnp.arange(21) == 20, 0.0, -jnp.inf))
    np.testing.assert_allclose(values.decode(logits_of(values, jnp.array([1e6]))), limit, rtol=1e-4)
    np.testing.assert_allclose(np.sqrt(limit + 1) - 1 + 1e-3 * limit, 2.0, rtol=1e-4)


def test_a_mixed_return_is_read_as_less_than_its_mean():
    logits = jnp.logaddexp(*logits_of(MUZERO, jnp.array([0.0, 200.0])))
    np.testing.assert_allclose(MUZERO.decode(logits), 57.0, atol=1.0)


def test_cross_entropy_is_least_at_the_target_and_gives_it_no_gradient():
    target = jnp.array(3.7)
    best = logits_of(MUZERO, target[None])[0]
    gradient = jax.grad(MUZERO.cross_entropy)(best, target)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-4)
    assert jax.grad(MUZERO.cross_entropy, argnums=1)(best, target) == 0.0


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_any_leading_axes(shape):
    logits, targets = jnp.zeros((*shape, 601)), jnp.ones(shape)
    assert MUZERO.decode(logits).shape == MUZERO.cross_entropy(logits, targets).shape == shape


@pytest.mark.parametrize(("num_bins", "max_value"), [(1, 2.0), (0, 2.0), (2.5, 2.0), (5, 0.0)])
def test_a_support_that_is_none_is_refused(num_bins, max_value):
    with pytest.raises(ValueError, match=r"(num_bins|max_value) must"):
        TwoHotDistribution(num_bins, max_value)
