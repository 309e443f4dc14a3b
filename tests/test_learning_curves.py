"""Learning curves on hand-computed numbers."""

from __future__ import annotations

import numpy as np
import pytest

from s5rl.learning_curves import NUM_BINS, learning_curve

STEPS = np.arange(1, 1001)


def curve_of(*values, steps=STEPS, weights=None):
    ones = np.ones(len(steps))
    return learning_curve([steps] * len(values), values, [ones if weights is None else weights] * len(values))


def test_the_band_is_the_confidence_interval_of_the_mean():
    curve = curve_of(*(np.full(1000, value) for value in (1.0, 2.0, 3.0)))
    np.testing.assert_allclose(curve.middle, 2)
    # Student's t of two degrees of freedom at 97.5 %, times a standard deviation of 1, over sqrt(3).
    half = 4.302652729911275 / np.sqrt(3)
    np.testing.assert_allclose(curve.low, 2 - half)
    np.testing.assert_allclose(curve.high, 2 + half)


def test_one_seed_has_no_band():
    curve = curve_of(np.sin(STEPS / 100))
    assert curve.low == curve.middle == curve.high


def test_rows_are_binned():
    curve = curve_of(STEPS.astype(float))
    assert len(curve.x) == NUM_BINS
    np.testing.assert_allclose(curve.x, curve.middle)  # a straight line stays one
    assert curve.x[0] == np.mean(STEPS[:10])
    assert curve.x[-1] == np.mean(STEPS[-10:])


def test_a_bin_is_weighted_and_leaves_out_what_was_not_measured():
    steps = np.array([10, 10, 10, 10, 1000])
    values, weights = np.array([1.0, 2.0, np.nan, 8.0, 0.0]), np.array([1, 3, 5, 0, 1])
    curve = curve_of(values, steps=steps, weights=weights)
    assert curve.middle == [1.75, 0.0]
    assert curve.x == [10, 1000]


def test_few_rows_keep_their_values():
    curve = curve_of(np.array([3.0, 1.0, 2.0]), steps=np.array([100, 200, 300]))
    assert curve.x == [100, 200, 300]
    assert curve.middle == [3, 1, 2]


def test_only_steps_that_all_seeds_have_are_drawn():
    curve = learning_curve(
        [STEPS, STEPS[300:500]], [np.ones(1000), np.zeros(200)], [np.ones(1000), np.ones(200)]
    )
    assert 300 < curve.x[0] < 310
    assert 490 < curve.x[-1] < 500
    np.testing.assert_allclose(curve.middle, 0.5)


def test_a_seed_without_values_is_refused():
    with pytest.raises(ValueError, match="no episode has ended"):
        curve_of(np.ones(1000), np.full(1000, np.nan))
