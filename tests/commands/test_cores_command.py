"""`s5rl cores`."""

from __future__ import annotations

import jax
import pytest

from s5rl.commands.choices import CORES


@pytest.mark.parametrize("name", ["gru", "feed_forward", "attention"])
def test_a_core_is_listed_with_its_sizes(s5rl, name):
    outcome = s5rl("cores")
    assert outcome.status == 0
    core = CORES[name]()
    params = sum(leaf.size for leaf in jax.tree.leaves(core.init(jax.random.key(0), 64)))
    state = sum(leaf.size for leaf in jax.tree.leaves(core.initial_state()))
    (line,) = (line for line in outcome.shown.splitlines() if line.startswith(f"{name} "))
    assert line.split()[-3:] == [f"{number:,}" for number in (core.output_size, params, state)]
    assert "--core MODULE:CORE" in outcome.shown


def test_every_core_is_listed_within_80_columns(s5rl):
    lines = s5rl("cores").shown.splitlines()
    assert {line.split()[0] for line in lines if line[:1].isalpha()} >= set(CORES)
    assert max(len(line.rstrip()) for line in lines) <= 80
