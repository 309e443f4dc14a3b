"""The laws of a sequence: 1 unroll is a scan of step, 2 cuts, 5 causality, 7 flags that are not given."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from s5rl.conformance import measure
from s5rl.conformance.case import Case
from s5rl.conformance.measure import Deviation, compare
from s5rl.conformance.subject import Result, Subject


def compare_results(
    what: str, got: Result, want: Result, values: float = measure.VALUES, gradients: float = measure.GRADIENTS
) -> list[Deviation]:
    """Compares outputs, final states and gradients, the first two under `values`, the last `gradients`."""
    return [
        compare(f"outputs of {what}", got.outputs, want.outputs, values),
        compare(f"final state of {what}", got.final_state, want.final_state, values),
        *(
            compare(f"gradient to {name}, {what}", a, b, gradients, measure.NOISE)
            for name, a, b in zip(want.gradients._fields, got.gradients, want.gradients, strict=True)
        ),
    ]


def unroll_is_a_scan(subject: Subject, case: Case) -> list[Deviation]:
    """Law 1: `unroll` equals a scan of `step`, which takes prepared parameters as it takes raw ones."""
    data = subject.data(case)
    whole = subject.whole(data)
    found = compare_results("unroll against a scan of step", whole, subject.scan(data))
    first = data._replace(inputs=data.inputs[:1], flags=data.flags[:1])
    want = subject.step(subject.params, first.inputs[0], first.state, first.flags[0])
    got = subject.step(subject.prepared, first.inputs[0], first.state, first.flags[0])
    return [*found, compare("step with prepared parameters", got, want, measure.VALUES)]


def cuts_change_nothing(subject: Subject, case: Case) -> list[Deviation]:
    """Law 2: cutting a sequence and carrying the state changes nothing."""
    if case.cut == case.length:
        return []
    data = subject.data(case)
    what = f"unroll with a cut before t={case.cut}"
    return compare_results(what, subject.in_two(data, case.cut), subject.whole(data))


def outputs_are_causal(subject: Subject, case: Case) -> list[Deviation]:
    """Law 5: other inputs and flags from the cut on leave the outputs before it as they were."""
    if case.cut == case.length:
        return []
    data = subject.data(case)
    past = np.arange(case.length) < case.cut
    data = data._replace(
        output_weights=data.output_weights * past[:, None, None],
        state_weights=[np.zeros_like(weights) for weights in data.state_weights],
    )
    random = np.random.default_rng(case.seed + 1)
    other = data._replace(
        inputs=np.where(past[:, None, None], data.inputs, subject.random(random, *data.flags.shape)),
        flags=np.where(past[:, None], data.flags, ~data.flags),
    )
    was, now = subject.whole(data), subject.whole(other)
    what = f"before t={case.cut} with another future"
    return [
        compare(f"outputs {what}", now.outputs[past], was.outputs[past], measure.VALUES),
        compare(
            f"gradient to params {what}",
            now.gradients.params,
            was.gradients.params,
            measure.GRADIENTS,
            measure.NOISE,
        ),
        measure.vanishes(
            f"gradient of outputs before t={case.cut} to later inputs", was.gradients.inputs[~past]
        ),
    ]


def no_flags_are_false_flags(subject: Subject, case: Case) -> list[Deviation]:
    """Law 7: no flags equals all False, in `step` and in `unroll`."""
    data = subject.data(case)
    data = data._replace(flags=np.zeros_like(data.flags))
    want = tuple(subject.whole(data)[:2])
    got = subject.unroll(subject.params, data.inputs, data.state)
    now = data.inputs[0], data.state
    return [
        compare("unroll without flags", got, want, measure.VALUES),
        compare(
            "step without flags",
            subject.step(subject.params, *now),
            subject.step(subject.params, *now, jnp.asarray(data.flags[0])),
            measure.VALUES,
        ),
    ]
