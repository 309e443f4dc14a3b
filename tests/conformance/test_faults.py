"""The kit finds planted faults: each fails its laws, and where it can, no other."""

from __future__ import annotations

import faults
import pytest

from s5rl.conformance import LAWS, Subject, check_core, check_law
from s5rl.cores import ResettableS5Core


def test_a_right_core_passes():
    assert check_core(faults.Right()).failed == ()


S5_WITHOUT_RESET = ResettableS5Core(state_size=4, model_size=3, num_layers=1, ignore_resets=True)


# Law 9 tries law 1 again in x64, and fails with it.
@pytest.mark.parametrize(
    ("core", "failing"),
    [
        (faults.ShiftedFlag(), {1, 2, 3, 4, 9}),
        (faults.ResetBehindInput(), {3, 4}),
        (faults.MultipliedMask(), {3, 4}),
        (faults.WhereBehindProduct(), {4}),
        (faults.ResetToZeros(), {4}),
        (faults.IgnoredState(), {1, 2, 9}),
        (faults.HiddenConvolution(), {1, 2, 3, 9}),
        (faults.LookingAhead(), {1, 2, 3, 5, 9}),
        (faults.IgnoredFlags(), {1, 3, 4, 9}),
        (faults.MixedRows(), {3, 6}),
        (faults.FlagsByDefault(), {7}),
        (faults.LostFlag(), {8}),
        (faults.OperatorAlone(), {8}),
        (faults.ListState(), {9}),
        (faults.NarrowState(), {9}),
        (S5_WITHOUT_RESET, {3, 4}),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, set) else "",
)
def test_a_fault_fails_its_laws_and_no_other(core, failing):
    assert set(check_core(core).failed) == failing


def test_a_growing_state_is_compiled_again_and_again():
    report = check_law(LAWS[9], Subject(faults.GrowingState()), LAWS[9].cases)
    assert report.verdict == "FAILS"
    assert report.worst.size > 1


def test_an_operator_without_elements_is_told_what_is_missing():
    report = check_law(LAWS[7], Subject(faults.OperatorAlone()), LAWS[7].cases)
    assert report.verdict == "FAILS"
    assert "elements(params, inputs, should_reset) is missing" in str(report.worst)


@pytest.mark.parametrize(
    ("core", "law", "case"),
    [
        (faults.ShiftedFlag(), 1, "T=1, B=1, reset at t=0"),
        (faults.IgnoredFlags(), 3, "T=1, B=1, reset at t=0"),
        (faults.ResetToZeros(), 4, "T=1, B=1, no reset"),
        (faults.IgnoredState(), 1, "T=1, B=1, no reset"),
        (faults.HiddenConvolution(), 1, "T=3, B=1, no reset"),
        (faults.HiddenConvolution(), 3, "T=3, B=1, reset at t=1"),
        (faults.MixedRows(), 6, "T=1, B=1, reset at t=0"),
    ],
)
def test_the_smallest_failing_case_is_named(core, law, case):
    report = check_law(LAWS[law - 1], Subject(core), LAWS[law - 1].cases)
    assert str(report.case) == case
