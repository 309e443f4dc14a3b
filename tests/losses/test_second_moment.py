"""The running mean of squares has no bias, from the first update on."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from s5rl.losses import SecondMoment

ZERO = jnp.zeros((1, 1)), jnp.ones((1, 1))


@pytest.mark.parametrize("num_updates", [1, 2, 7])
def test_equal_squares_give_their_root_at_once(num_updates):
    moment = SecondMoment.zero()
    for _ in range(num_updates):
        moment = moment.updated(jnp.full((2, 1), 9.0), jnp.ones((2, 1)), 0.99)
    np.testing.assert_allclose(moment.root(1e-12), 3.0, rtol=1e-5)


def test_is_the_weighted_mean_of_all_squares_so_far():
    squares, moment = np.array([1.0, 4.0, 0.5, 2.0]), SecondMoment.zero()
    for square in squares:
        moment = moment.updated(jnp.array([[square, 77.0]]), jnp.array([[1.0, 0.0]]), 0.9)
    weights = 0.9 ** np.arange(3, -1, -1)
    np.testing.assert_allclose(moment.root(0.0) ** 2, (weights * squares).sum() / weights.sum(), rtol=1e-5)


def test_epsilon_stands_for_squares_that_are_zero():
    np.testing.assert_allclose(SecondMoment.zero().updated(*ZERO, 0.9).root(1e-4), 1e-2, rtol=1e-5)


def test_squares_without_weight_change_nothing():
    nothing = jnp.full((2, 2), jnp.nan), jnp.zeros((2, 2))
    assert SecondMoment.zero().updated(*nothing, 0.9).root(0.0) == 1.0
    moment = SecondMoment.zero().updated(jnp.full((1, 1), 4.0), jnp.ones((1, 1)), 0.9)
    assert moment.updated(*nothing, 0.9) == moment
