"""The laws of arrays: 6 batch axes, 9 transformations and types, 10 shapes that stay."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from s5rl.compat import enable_x64
from s5rl.conformance import measure
from s5rl.conformance.case import Case
from s5rl.conformance.measure import Deviation, compare, demand
from s5rl.conformance.sequence_laws import compare_results
from s5rl.conformance.subject import Data, Subject, cast_floats, floats
from s5rl.types import Array, CoreState, PyTree

STATE_TYPES = (jnp.float32, jnp.int32, jnp.bool_)


def batch_axes_agree(subject: Subject, case: Case) -> list[Deviation]:
    """Law 6: a batch axis, no batch axis and vmap agree, in `step` and in `unroll`."""
    core, params = subject.core, subject.params
    data = subject.data(case)
    found = []
    step = subject.step(params, data.inputs[0], data.state, data.flags[0])
    unroll = tuple(subject.whole(data)[:2])
    for name, want, call, over_rows, inputs, flags, axis in (
        ("step", step, subject.step, subject.step_over_rows, data.inputs[0], data.flags[0], 0),
        ("unroll", unroll, subject.unroll, subject.unroll_over_rows, data.inputs, data.flags, 1),
    ):
        mapped = over_rows(params, inputs, data.state, flags)
        found.append(compare(f"{name} under vmap over the batch", mapped, want, measure.VALUES))
        for row in range(case.batch_size):
            got = call(params, inputs.take(row, axis), _row(data.state, row), flags.take(row, axis))
            expected = want[0].take(row, axis), _row(want[1], row)
            found.append(compare(f"{name} without a batch axis", got, expected, measure.VALUES))
    initial = core.initial_state(case.batch_size)
    found.append(
        compare("initial state without a batch axis", core.initial_state(), _row(initial, 0), measure.VALUES)
    )
    for name, state in (("initial", initial), ("final", unroll[1])):
        axes = [np.shape(leaf)[:1] == (case.batch_size,) for leaf in jax.tree.leaves(state)]
        found.append(demand(f"the leading axis B of every leaf of the {name} state", all(axes)))
    return found


def transformations_work(subject: Subject, case: Case) -> list[Deviation]:
    """Law 9: jit, grad, vmap over seeds, x64 and bfloat16 inputs work, on states of plain real arrays."""
    data = subject.data(case)
    return [
        *_plain_state("initial", subject.core.initial_state(case.batch_size)),
        *_plain_state("later", data.state),
        *_eager(subject, data),
        *_over_seeds(subject, data),
        *_x64(subject, data),
        *_bfloat16(subject, data),
    ]


def shapes_stay(subject: Subject, case: Case) -> list[Deviation]:
    """Law 10: `step` compiled once serves a whole episode; states keep structure, shapes and types."""
    core = subject.core
    data = subject.data(case)
    num_traces = 0

    def step(*arguments: Any) -> tuple[Array, CoreState]:
        nonlocal num_traces
        num_traces += 1
        return core.step(*arguments)

    compiled = jax.jit(step)
    initial = state = core.initial_state(case.batch_size)
    found = []
    for time in range(case.length):
        _, state = compiled(subject.params, data.inputs[time], state, data.flags[time])
        found.append(_same_form(f"the state after {time + 1} steps", state, initial))
    found.append(
        Deviation(f"times that step was compiled beyond the first, in {case.length} steps", num_traces - 1, 0)
    )
    if any(deviation.fails for deviation in found):
        return found  # a state that changes its form cannot be unrolled
    _, final = jax.eval_shape(core.unroll, subject.params, data.inputs, initial, data.flags)
    return [*found, _same_form("the state after unroll", final, initial)]


def _plain_state(name: str, state: CoreState) -> list[Deviation]:
    types = sorted({str(leaf.dtype) for leaf in jax.tree.leaves(state) if leaf.dtype not in STATE_TYPES})
    return [
        demand(f"tuples and dicts, no list, in the {name} state", not _holds_list(state)),
        demand(f"float32, int32 or bool in the {name} state{_instead(types)}", not types),
    ]


def _instead(types: list[str]) -> str:
    return f", got {', '.join(types)}" if types else ""


def _holds_list(state: CoreState) -> bool:
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, list))
    return any(isinstance(node, list) for node in nodes)


def _eager(subject: Subject, data: Data) -> list[Deviation]:
    arguments = jax.tree.map(jnp.asarray, (subject.params, data.inputs[0], data.state, data.flags[0]))
    return [
        compare("step without jit", subject.core.step(*arguments), subject.step(*arguments), measure.VALUES)
    ]


def _over_seeds(subject: Subject, data: Data) -> list[Deviation]:
    both = jax.tree.map(lambda a, b: np.stack([a, b]), subject.params, subject.make_params(seed=1))
    got = subject.over_seeds(both, data)
    first = jax.tree.map(lambda leaf: leaf[0], got)
    return compare_results("unroll under vmap over seeds", first, subject.whole(data))


def _x64(subject: Subject, data: Data) -> list[Deviation]:
    with enable_x64():
        wide = cast_floats(data, np.float64)
        got, want = subject.whole(wide), subject.scan(wide)
    types = sorted({str(leaf.dtype) for leaf in floats(got) if leaf.dtype != np.float64})
    return [
        demand(f"float64 results under x64{_instead(types)}", not types),
        *compare_results("unroll against a scan of step in x64", got, want, measure.X64, measure.X64),
    ]


def _bfloat16(subject: Subject, data: Data) -> list[Deviation]:
    narrow = data.inputs.astype(jnp.bfloat16)
    want = subject.whole(data._replace(inputs=narrow.astype(np.float32)))
    found = []
    for name, call, inputs, flags, expected in (
        ("unroll", subject.unroll, narrow, data.flags, (want.outputs, want.final_state)),
        (
            "step",
            subject.step,
            narrow[0],
            data.flags[0],
            subject.step(subject.params, narrow[0].astype(np.float32), data.state, data.flags[0]),
        ),
    ):
        got = call(subject.params, inputs, data.state, flags)
        types = [str(leaf.dtype) for leaf in jax.tree.leaves(got) if leaf.dtype == jnp.bfloat16]
        found += [
            demand(f"outputs and states of {name} that stay float32 for bfloat16 inputs", not types),
            compare(f"{name} of bfloat16 inputs", got, expected, measure.BFLOAT16),
        ]
    return found


def _same_form(what: str, got: CoreState, want: CoreState) -> Deviation:
    same = measure.same_structure(got, want) and all(
        (a.shape, a.dtype) == (b.shape, b.dtype)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True)
    )
    return demand(f"structure, shapes and types of {what} as in the initial state", same)


def _row(tree: PyTree, row: int) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[row], tree)
