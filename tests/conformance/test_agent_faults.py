"""The kit finds planted faults of agents: each fails its laws and no other."""

from __future__ import annotations

import functools

import agent_faults as faults
import pytest

from s5rl.agents import make_agent
from s5rl.conformance import check_agent
from s5rl.cores import FeedForwardCore
from s5rl.envs import MemoryChain
from s5rl.types import EnvironmentSpec

report_of = functools.cache(check_agent)


# What a wrong reset lets through is the dead slot before it, among other things: law 2.
@pytest.mark.parametrize(
    ("agent", "failing"),
    [
        (faults.Right(), set()),
        (faults.ZeroedMemory(), {1}),
        (faults.IgnoredResets(), {1, 2, 4}),
        (faults.LateResets(), {1, 2, 4}),
        (faults.ShiftedActions(), {1}),
        (faults.NoLogProb(), {1}),
        (faults.ConstantPolicy(), {1}),
        (faults.WeighedDeadSlots(), {2}),
        (faults.EntropyOfDeadSlots(), {2}),
        (faults.MultipliedWeights(), {2}),
        (faults.CarriedKey(), {3}),
        (faults.LeakedAction(), {2, 3, 4}),
        (faults.ResetBehindInput(), {2, 3, 4}),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, set) else "",
)
def test_a_fault_fails_its_laws_and_no_other(agent, failing):
    assert set(report_of(agent).failed) == failing


def test_the_worst_slot_and_the_smallest_window_are_named():
    law = report_of(faults.ZeroedMemory()).laws[0]
    assert "probability of the action at t=0 of row" in str(law.worst)
    assert str(law.case) == "from slot 7 of the stream on, each row 1 later than the one before"
    assert str(report_of(faults.IgnoredResets()).laws[0].case) == "from slot 0 of the stream on"


def test_what_is_missing_is_told():
    assert "log_prob in the extras of act" in str(report_of(faults.NoLogProb()).laws[0].worst)
    assert "a policy that starts out constant" in str(report_of(faults.ConstantPolicy()).laws[0].worst)


def test_what_cannot_be_tried_is_refused():
    with pytest.raises(TypeError, match="agent must be an instance of Agent, got FeedForwardCore"):
        check_agent(FeedForwardCore((4,)))
    with pytest.raises(TypeError, match="environment must be a JaxEnvironment, got 'memory_chain'"):
        check_agent(faults.Right(), "memory_chain")
    with pytest.raises(ValueError, match=r"unroll_length=8 slots .* got MemoryChain\(memory_length=30"):
        check_agent(faults.Right(), MemoryChain(30))
    other = EnvironmentSpec.from_environment(MemoryChain(3, num_bits=2))
    with pytest.raises(ValueError, match="bound to another environment"):
        check_agent(make_agent(other, core=FeedForwardCore((4,))))
