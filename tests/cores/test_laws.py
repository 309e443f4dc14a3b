"""Every law on every core, over random lengths, cuts, flags and batch sizes."""

from __future__ import annotations

import functools

import pytest
from cores import CORES, INPUT_SIZE
from hypothesis import given, settings
from hypothesis import strategies as st

from s5rl.conformance import LAWS, Subject, check_law, make_case
from s5rl.conformance.case import Case

# Every shape and every cut is compiled anew: few of them here, and all of them among the slow tests.
FEW = {(1, 1): (1,), (2, 3): (1,), (7, 2): (3,)}
MANY = {(t, b): tuple(range(1, t + 1)) for t in (1, 2, 3, 4, 6, 9, 17) for b in (1, 2, 5)}
LONG = 4096


@functools.cache
def subject_of(name):
    return Subject(CORES[name], INPUT_SIZE)


@st.composite
def cases(draw, shapes):
    length, batch_size = draw(st.sampled_from(list(shapes)))
    flags = st.lists(st.booleans(), min_size=batch_size, max_size=batch_size).map(tuple)
    return Case(
        resets=tuple(draw(st.lists(flags, min_size=length, max_size=length))),
        cut=draw(st.sampled_from(shapes[length, batch_size])),
        seed=draw(st.integers(0, 1000)),
    )


def try_law(law, name, shapes, max_examples):
    subject = subject_of(name)
    if not law.applies_to(subject):
        pytest.skip("the core has no operator")

    @settings(deadline=None, derandomize=True, max_examples=max_examples, database=None)
    @given(cases(shapes))
    def holds(case):
        for deviation in law.check(subject, case):
            assert not deviation.fails, f"{case}: {deviation}"

    holds()


@pytest.mark.parametrize("law", LAWS, ids=lambda law: f"law_{law.number}")
@pytest.mark.parametrize("name", CORES)
def test_law_holds(name, law):
    # The flags are the point of the first five laws; for the others one shape and few examples do.
    if law.number <= 5:
        try_law(law, name, FEW, max_examples=12)
    else:
        try_law(law, name, {(7, 2): (3,)}, max_examples=2)


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS[:7], ids=lambda law: f"law_{law.number}")
@pytest.mark.parametrize("name", CORES)
def test_law_holds_for_any_shape(name, law):
    try_law(law, name, MANY, max_examples=60)


# An associative scan of 4096 steps takes a minute to compile.
LONG_IN_THE_FAST_SUITE = ("lstm", "attention_short_window", "s5", "s5_chunked", "lru", "haiku_stack")


@pytest.mark.parametrize(
    "name",
    [
        name if name in LONG_IN_THE_FAST_SUITE else pytest.param(name, marks=pytest.mark.slow)
        for name in CORES
    ],
)
def test_unroll_is_a_scan_of_step_over_a_long_sequence(name):
    case = make_case(LONG, (tuple(range(1000, LONG, 1500)),), cut=LONG)
    report = check_law(LAWS[0], subject_of(name), [case])
    assert report.verdict == "holds", report
