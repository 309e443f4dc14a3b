"""The reference of the benchmarks computes what it is compared with."""

from __future__ import annotations

import importlib
from pathlib import Path

import jax
import numpy as np

ROOT = Path(__file__).parent.parent


def test_the_papers_formulation_of_s5_equals_ours(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    theirs = importlib.import_module("paper").PaperS5Core(8, 6, 2)
    params = theirs.init(jax.random.key(0), 3)
    inputs = jax.random.normal(jax.random.key(1), (9, 2, 3))
    should_reset = jax.random.bernoulli(jax.random.key(2), 0.3, (9, 2))
    assert should_reset.any()
    state = jax.tree.map(lambda leaf: leaf + 0.5, theirs.initial_state(2))

    def run(core):
        def outputs_and_loss(params):
            outputs, final_state = core.unroll(params, inputs, state, should_reset)
            return (outputs**2).sum(), (outputs, final_state)

        return jax.value_and_grad(outputs_and_loss, has_aux=True)(params)

    got, want = jax.jit(run, static_argnums=0)(theirs), jax.jit(run, static_argnums=0)(theirs.ours)
    for one, other in zip(*map(jax.tree.leaves, (got, want)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5 * np.abs(other).max())
