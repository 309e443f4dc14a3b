"""Swing-up behind fresh random projections, by Muesli: what a memory finds out in context, and none cannot.

The example is run as it stands, at its default settings but for the number of steps.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

TASK = "cartpole/swingup"
STEPS = 20_000_000
LAST = 2
"""Evaluations that count, of 40 episodes each."""


@pytest.fixture(scope="module")
def returns(tmp_path_factory):
    """The mean return of each memory at the end of its training, and of random actions."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples"))
        example = importlib.import_module("projected_dm_control")
    directory = tmp_path_factory.mktemp("projected")
    flags = ["--num-steps", str(STEPS), "--num-evaluations", "10", "--num-episodes", "40"]
    example.main([*flags, "--tasks", TASK, "--directory", str(directory)])
    evaluations = example.Evaluations(directory / "evaluations.csv")
    names = ("s5", "lstm", "feed_forward", "random")
    return {name: float(np.mean(evaluations.curve(name, TASK)[1][-LAST:])) for name in names}


@pytest.mark.parametrize("core", ["s5", "lstm"])
def test_a_memory_finds_out_what_it_moves(returns, core):
    assert returns[core] > 4 * returns["random"], returns
    assert returns[core] > 1.2 * returns["feed_forward"], returns
