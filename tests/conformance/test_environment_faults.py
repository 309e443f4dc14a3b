"""The kit finds planted faults of environments: each fails its laws and no other."""

from __future__ import annotations

import environment_faults as faults
import pytest

from s5rl.conformance import UnhashableEnvironmentError, check_environment
from s5rl.cores import FeedForwardCore
from s5rl.envs import DistractedCue, MemoryChain, make_environment
from s5rl.envs.popgym import ENVIRONMENTS


# Where nothing can be recorded, all laws fail that look at what was.
@pytest.mark.parametrize(
    ("environment", "failing"),
    [
        (faults.Right(), set()),
        (faults.BeginsWithNone(), {1, 2, 3, 4, 6}),
        (faults.BeginsWithMid(), {1}),
        (faults.SometimesPaidAtFirst(), {1}),
        (faults.OtherState(), {2, 3, 4, 6}),
        (faults.OutOfBounds(), {3}),
        (faults.OtherDtype(), {3}),
        (faults.NeverEnds(), {3, 4}),  # the time that is seen leaves its bounds
        (faults.ResetsItself(), {4}),
        (faults.NoDiscount(), {4}),
        (faults.HiddenCounter(), {5, 6}),
        (faults.NoBounds(), {2, 3, 4, 5, 6, 7}),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, set) else "",
)
def test_a_fault_fails_its_laws_and_no_other(environment, failing):
    assert set(check_environment(environment, num_steps=20).failed) == failing


@pytest.mark.parametrize("environment", [MemoryChain(3), DistractedCue(3, 0.5)], ids=str)
def test_ours_pass(environment):
    assert check_environment(environment, num_steps=20).failed == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_those_of_popgym_pass(name):
    assert check_environment(make_environment(f"popgym/{name}"), num_steps=1100).failed == ()


def test_what_is_wrong_is_told():
    laws = check_environment(faults.NeverEnds(), num_steps=20).laws
    assert "an episode that ends within num_steps=20 random actions" in str(laws[3].worst)
    laws = check_environment(faults.SometimesPaidAtFirst(), num_steps=20).laws
    assert "reward 0 at FIRST, got 1.0" in str(laws[0].worst)
    laws = check_environment(faults.OutOfBounds(), num_steps=20).laws
    assert "observation in the bounds of its spec, got numbers from 0.0 to 2.0" in str(laws[2].worst)


def test_what_cannot_be_tried_is_refused():
    with pytest.raises(TypeError, match="environment must be a JaxEnvironment, got FeedForwardCore"):
        check_environment(FeedForwardCore((4,)))
    with pytest.raises(UnhashableEnvironmentError, match="Unhashable is not hashable"):
        check_environment(faults.Unhashable())
    with pytest.raises(ValueError, match="num_steps must be an integer of at least 1, got 0"):
        check_environment(faults.Right(), num_steps=0)
