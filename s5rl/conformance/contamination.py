"""How much of what was before a reset gets behind it: 0 for a right core."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from s5rl.conformance.case import make_case
from s5rl.conformance.fills import fills
from s5rl.conformance.measure import largest, relative_deviation
from s5rl.conformance.separation import separate
from s5rl.conformance.subject import Subject
from s5rl.cores import RecurrentCore

CASE = make_case(160, ((40,), (0, 97), ()), cut=160)
"""Longer than the window of most memories that have one, and than the chunks in which cores unroll."""


class Contamination(NamedTuple):
    """What gets behind a reset, the worst of `step` and `unroll`."""

    outputs: float
    """max|a - b| / max|b| of outputs and final states behind a reset, with other numbers before it (a) and
    without (b)."""
    gradients: float
    """The largest gradient of those to anything before the reset, over the largest to an input behind it; inf
    where it is not finite, or no input behind has one."""


def measure_contamination(core: RecurrentCore, input_size: int = 3) -> Contamination:
    """Measures what a reset lets through, with random parameters, as law 3 of the conformance kit does.

    Args:
      core: the core.
      input_size: number of features of its inputs.

    Raises:
      UnhashableCoreError: the core is not hashable.
    """
    with jax.default_matmul_precision("highest"):
        return _measure(Subject(core, input_size))


def _measure(subject: Subject) -> Contamination:
    separation = separate(subject, CASE)
    data, before, behind, has_reset = separation
    (_, other_numbers), *_ = fills(CASE.seed)
    other_past = separation.with_other_past(other_numbers)
    outputs, gradients = [], []
    for run in (subject.whole, subject.scan):
        clean, dirty = run(data), run(other_past)
        outputs.append(relative_deviation(dirty.outputs[behind], clean.outputs[behind]))
        states = (jax.tree.leaves(result.final_state) for result in (dirty, clean))
        outputs += [relative_deviation(a[has_reset], b[has_reset]) for a, b in zip(*states, strict=True)]
        past = [clean.gradients.inputs[before], *(leaf[has_reset] for leaf in clean.gradients.state)]
        scale = largest(clean.gradients.inputs[behind])
        gradients += [relative_deviation(leaf, np.zeros(leaf.shape), scale) for leaf in past]
    return Contamination(max(outputs), max(gradients))
