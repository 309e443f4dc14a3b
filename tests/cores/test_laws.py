"""Every law on every core, over random lengths, cuts, flags and batch sizes."""

from __future__ import annotations

import functools

import pytest
from cores import CORES, INPUT_SIZE
from hypothesis import given, settings
from hypothesis import strategies as st

from s5rl.conformance import LAWS, Subject, check_law, make_case
from s5rl.conformance.case import Case

# Every shape and every cut is compiled anew, hence so few of them.
SHAPES = {(1, 2): [1], (7, 2): [3]}
LONG = 4096


@functools.cache
def subject_of(name):
    return Subject(CORES[name], INPUT_SIZE)


@st.composite
def cases(draw, shapes):
    length, batch_size = draw(st.sampled_from(shapes))
    flags = st.lists(st.booleans(), min_size=batch_size, max_size=batch_size).map(tuple)
    return Case(
        resets=tuple(draw(st.lists(flags, min_size=length, max_size=length))),
        cut=draw(st.sampled_from(SHAPES[length, batch_size])),
        seed=draw(st.integers(0, 1000)),
    )


@pytest.mark.parametrize("law", LAWS, ids=lambda law: f"law_{law.number}")
@pytest.mark.parametrize("name", CORES)
def test_law_holds(name, law):
    subject = subject_of(name)
    if not law.applies_to(subject.core):
        pytest.skip("the core has no operator")
    flags_matter = law.number <= 5

    @settings(deadline=None, derandomize=True, max_examples=8 if flags_matter else 2, database=None)
    @given(cases(list(SHAPES) if flags_matter else list(SHAPES)[1:]))
    def holds(case):
        for deviation in law.check(subject, case):
            assert not deviation.fails, f"{case}: {deviation}"

    holds()


@pytest.mark.parametrize("name", CORES)
def test_unroll_is_a_scan_of_step_over_a_long_sequence(name):
    case = make_case(LONG, (tuple(range(1000, LONG, 1500)),), cut=LONG)
    report = check_law(LAWS[0], subject_of(name), [case])
    assert report.verdict == "holds", report
