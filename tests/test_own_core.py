"""The core of docs/your_own_core.md: shipped as shown, short, lawful, and trained like one of ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_docs import python_blocks

from s5rl import A2CConfig, make_agent, make_environment, train
from s5rl.conformance import check_core, load_core

ROOT = Path(__file__).parent.parent
FILE = ROOT / "examples" / "my_core.py"


@pytest.fixture(scope="module")
def core():
    return load_core(f"{FILE}:MyCore")


def test_the_page_shows_the_file():
    page = (ROOT / "docs" / "your_own_core.md").read_text()
    assert python_blocks(page)[0].lstrip("\n") == FILE.read_text()


def test_it_is_short():
    assert len(FILE.read_text().splitlines()) < 40


def test_the_laws_hold(core):
    report = check_core(core)
    assert report.passed, report.failed


def test_it_trains(core):
    environment = make_environment("memory_chain", memory_length=3)
    config = A2CConfig(torso_sizes=(16,), unroll_length=8)
    agent = make_agent(core=core, algorithm="a2c", config=config)
    result = train(agent, environment, num_steps=160, num_envs=4)
    assert result.metrics["step"].shape == (5,)
    assert np.isfinite(result.metrics["loss"]).all()
    assert (result.metrics["gradient_norm"] > 0).all()
