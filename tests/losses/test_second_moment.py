"""The running mean of squares has no bias, from the first update on."""

from __future__ import annotations

import numpy as np
import pytest

from s5rl.losses import SecondMoment


@pytest.mark.parametrize("num_updates", [1, 2, 7])
def test_equal_squares_give_their_root_at_once(num_updates):
    moment = SecondMoment.zero()
    for _ in range(num_updates):
        moment = moment.updated(np.float32(9.0), 0.99)
    np.testing.assert_allclose(moment.root(1e-12), 3.0, rtol=1e-5)


def test_is_the_weighted_mean_of_all_squares_so_far():
    squares, moment = np.array([1.0, 4.0, 0.5, 2.0]), SecondMoment.zero()
    for square in squares:
        moment = moment.updated(square, 0.9)
    weights = 0.9 ** np.arange(3, -1, -1)
    np.testing.assert_allclose(moment.root(0.0) ** 2, (weights * squares).sum() / weights.sum(), rtol=1e-5)


def test_epsilon_stands_for_squares_that_are_zero():
    np.testing.assert_allclose(SecondMoment.zero().updated(0.0, 0.9).root(1e-4), 1e-2, rtol=1e-5)
