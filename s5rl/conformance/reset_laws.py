"""The laws of a reset: 3 it separates past and future, 4 it is a new start, 8 the operator."""

from __future__ import annotations

import itertools
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from s5rl.conformance import measure
from s5rl.conformance.case import Case
from s5rl.conformance.fills import fill_floats, fills
from s5rl.conformance.measure import Deviation, compare
from s5rl.conformance.separation import separate
from s5rl.conformance.sequence_laws import compare_results
from s5rl.conformance.subject import Result, Subject
from s5rl.types import Array, Params, PyTree


@runtime_checkable
class HasOperator(Protocol):
    """A core that shows what its parallel scan combines."""

    def operator(self, earlier: Any, later: Any) -> Any:
        """Returns earlier (+) later."""

    def elements(self, params: Params, inputs: Array, should_reset: Array) -> PyTree:
        """Returns the elements [T, B, ...] of a scan over inputs [T, B, F] with flags [T, B]."""


def resets_separate(subject: Subject, case: Case) -> list[Deviation]:
    """Law 3: nothing before a row's last reset reaches an output or a gradient from it on."""
    if not case.flags.any():
        return []
    separation = separate(subject, case)
    data, before, behind, has_reset = separation
    found = []
    for name, run in (("unroll", subject.whole), ("step", subject.scan)):
        clean = run(data)
        found += [
            measure.vanishes(f"gradient to inputs before the reset, {name}", clean.gradients.inputs[before]),
            measure.vanishes(
                f"gradient to the state before the reset, {name}",
                [leaf[has_reset] for leaf in clean.gradients.state],
            ),
        ]
        for fill_name, fill in fills(case.seed):
            dirty = run(separation.with_other_past(fill))
            what = f"{name} with {fill_name} before the reset"
            found += _compare_behind(what, dirty, clean, behind, has_reset)
            if fill_name == "other numbers":
                found.append(
                    compare(
                        f"gradient to params, {what}",
                        dirty.gradients.params,
                        clean.gradients.params,
                        measure.GRADIENTS,
                        measure.NOISE,
                    )
                )
    return found


def resets_start_anew(subject: Subject, case: Case) -> list[Deviation]:
    """Law 4: a reset at t=0 of any state, NaN and inf included, equals the initial state without one."""
    at_start = np.arange(case.length)[:, None] == 0
    data = subject.data(case)
    initial = data._replace(
        state=jax.device_get(subject.core.initial_state(case.batch_size)), flags=case.flags & ~at_start
    )
    everyone = np.ones(case.batch_size, bool)
    states = [("a later state", data.state)]
    states += [
        (f"{name} in the state", fill_floats(data.state, everyone, fill))
        for name, fill in fills(case.seed)[1:]
    ]
    found = []
    for name, run in (("unroll", subject.whole), ("step", subject.scan)):
        want = run(initial)
        found.append(
            measure.demand(f"finite results of {name} from the initial state", measure.is_finite(want))
        )
        # The initial state that nothing resets has a gradient; a state that is reset has none.
        no_gradient = jax.tree.map(np.zeros_like, want.gradients.state)
        want = want._replace(gradients=want.gradients._replace(state=no_gradient))
        for state_name, state in states:
            got = run(data._replace(state=state, flags=case.flags | at_start))
            what = f"{name} with {state_name}, reset at t=0, against the initial state"
            found += compare_results(what, got, want)
    return found


def has_operator(subject: Subject) -> bool:
    """Returns whether law 8 applies: the core shows the operator of its parallel scan."""
    return hasattr(subject.core, "operator")


def operator_is_associative(subject: Subject, case: Case) -> list[Deviation]:
    """Law 8: (x + y) + z = x + (y + z) for three elements under all eight combinations of their flags."""
    core = subject.core
    if not isinstance(core, HasOperator):
        what = "elements(params, inputs, should_reset) is missing, which makes what operator combines"
        return [measure.demand(what, False)]
    flags = jnp.array(list(itertools.product([False, True], repeat=3))).T
    inputs = jnp.asarray(subject.random(np.random.default_rng(case.seed), *flags.shape))
    elements = core.elements(subject.params, inputs, flags)
    x, y, z = (jax.tree.map(lambda leaf, t=t: leaf[t], elements) for t in range(3))
    left = core.operator(core.operator(x, y), z)
    right = core.operator(x, core.operator(y, z))
    return [compare("(x + y) + z against x + (y + z)", left, right, measure.VALUES)]


def _compare_behind(
    what: str, got: Result, want: Result, behind: np.ndarray, rows: np.ndarray
) -> list[Deviation]:
    def states(result: Result) -> PyTree:
        return jax.tree.map(lambda leaf: leaf[rows], result.final_state)

    return [
        compare(f"outputs of {what}", got.outputs[behind], want.outputs[behind], measure.VALUES),
        compare(f"final state of {what}", states(got), states(want), measure.VALUES),
    ]
