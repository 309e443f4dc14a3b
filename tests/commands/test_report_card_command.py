"""`s5rl report-card`."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from s5rl.report_card import SMALL_CORES, read_cards

FAULTS = Path(__file__).parents[1] / "conformance" / "faults.py"


def test_the_command_shows_what_a_faulty_core_lets_through(s5rl, tmp_path):
    words = (
        f"--core {FAULTS}:IgnoredFlags --tasks chain/1 --num-seeds 1 --seed 3 --num-steps 2048 --directory"
    )
    outcome = s5rl("report-card", *words.split(), tmp_path)
    assert outcome.status == 0, outcome.complaint
    (card,) = read_cards(tmp_path)
    assert (card.core, card.seed) == ("IgnoredFlags now", 3)
    assert card.contamination.outputs > 1e-3
    assert card.contamination.gradients > 1e-3
    assert np.isfinite(card.scores[0].mean)
    assert card.costs.act_microseconds > 0
    assert card.costs.update_microseconds > 20 * card.costs.act_microseconds  # of 4096 slots and one step
    assert (card.costs.parameters, card.costs.state) == (64 * 4, 4)
    lines = outcome.shown.splitlines()
    (line,) = (line for line in lines if line.startswith("contamination: outputs"))
    assert float(line.split()[2]) > 1e-3
    assert set(line.split()[3:]) == {"0"}
    (line,) = (line for line in lines if line.startswith("chain/1 "))
    assert len(line.split()) == 2 + len(SMALL_CORES)
    assert max(len(line.rstrip()) for line in lines if not line.startswith(("wrote", "costs"))) <= 80
    for name in ("scores.csv", "cores.csv", "scores.png", "scores.svg"):
        assert (tmp_path / name).stat().st_size > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--core s6", "--core must be one of 's5', "),
        ("--core nothing.py:Core", "there is no file 'nothing.py'"),
        ("--tasks chain/5", "got 'chain/5'"),
        ("--num-seeds 0", "num_seeds must be an integer of at least 1, got 0"),
        ("--num-steps 0", "num_steps must be an integer of at least 1, got 0"),
        ("--seed -1", "seed must be an integer from 0 to 2**32 - 1, got -1"),
        ("--directory a_file", "'a_file'"),
        ("--core own.py:Unhashable", "Unhashable is not hashable, but cores are values"),
    ],
)
def test_wrong_words_are_refused_before_work_is_lost(s5rl, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    Path("a_file").touch()
    Path("own.py").write_text(
        "from s5rl.cores import GRUCore\n\nclass Unhashable(GRUCore):\n    __hash__ = None\n"
    )
    start = time.monotonic()
    outcome = s5rl("report-card", *words.split())
    assert outcome.status == 2
    assert message in outcome.complaint
    assert time.monotonic() - start < 5  # nothing was compiled, let alone trained
