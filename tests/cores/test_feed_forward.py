"""The memoryless core against a plain multilayer perceptron."""

from __future__ import annotations

import numpy as np
import pytest
from numerics import X64, assert_close, linear, random_params, sequence

from s5rl.compat import enable_x64
from s5rl.cores import FeedForwardCore

INPUT_SIZE = 3


@pytest.mark.parametrize("hidden_sizes", [(4,), (6, 5)])
def test_equals_a_multilayer_perceptron(hidden_sizes):
    core = FeedForwardCore(hidden_sizes)
    inputs, flags = sequence(5, 2, INPUT_SIZE)
    with enable_x64():
        params = random_params(core, INPUT_SIZE)
        unrolled = core.unroll(params, inputs, core.initial_state(2), flags)
        stepped = core.step(params, inputs[0], core.initial_state(2), flags[0])
    expected = inputs
    for index in range(len(hidden_sizes)):
        expected = np.maximum(linear(params[f"layer_{index}"], expected), 0)
    assert (expected == 0).any()
    assert_close(unrolled, (expected, ()), X64)
    assert_close(stepped, (expected[0], ()), X64)


@pytest.mark.parametrize("batch_size", [None, 2])
def test_has_no_state(batch_size):
    assert FeedForwardCore().initial_state(batch_size) == ()


def test_a_reset_changes_nothing():
    core = FeedForwardCore((4,))
    params = random_params(core, INPUT_SIZE)
    inputs, _ = sequence(5, 2, INPUT_SIZE)
    resets = np.ones((5, 2), bool)
    np.testing.assert_array_equal(
        core.unroll(params, inputs, (), resets)[0], core.unroll(params, inputs, ())[0]
    )


def test_output_size_is_the_last_width():
    assert FeedForwardCore((7, 5)).output_size == 5
