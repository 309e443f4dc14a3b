"""What gets behind a reset: nothing with a right core, something with each core whose reset is wrong."""

from __future__ import annotations

import faults
import pytest
from cores import CORES

from s5rl.conformance import measure_contamination
from s5rl.cores import ResettableS5Core

IN_THE_FAST_SUITE = ("s5",)


@pytest.mark.parametrize(
    "name",
    [name if name in IN_THE_FAST_SUITE else pytest.param(name, marks=pytest.mark.slow) for name in CORES],
)
def test_nothing_gets_behind_the_reset_of_a_right_core(name):
    assert measure_contamination(CORES[name]) == (0.0, 0.0)


@pytest.mark.parametrize(
    "core",
    [
        faults.ShiftedFlag(),
        faults.ResetBehindInput(),
        faults.IgnoredFlags(),
        ResettableS5Core(state_size=4, model_size=3, num_layers=1, ignore_resets=True),
    ],
    ids=lambda core: type(core).__name__,
)
def test_a_wrong_reset_lets_through(core):
    contamination = measure_contamination(core)
    assert contamination.outputs > 1e-3
    assert contamination.gradients > 1e-3
