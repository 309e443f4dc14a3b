"""The core of docs/your_own_core.md: short, lawful, and trained like one of ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_docs import python_blocks

from s5rl import A2CConfig, make_agent, make_environment, train
from s5rl.conformance import check_core, load_core

PAGE = Path(__file__).parent.parent / "docs" / "your_own_core.md"


@pytest.fixture(scope="module")
def source():
    """The first block of the page, which is the whole file."""
    return python_blocks(PAGE.read_text())[0].lstrip("\n")


@pytest.fixture(scope="module")
def core(source, tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "my_core.py"
    path.write_text(source)
    return load_core(f"{path}:MyCore")


def test_it_is_short(source):
    assert len(source.splitlines()) < 40


def test_the_laws_hold(core):
    report = check_core(core)
    assert report.passed, report.failed


def test_it_trains(core):
    environment = make_environment("memory_chain", memory_length=3)
    config = A2CConfig(torso_sizes=(16,), unroll_length=8)
    result = train(make_agent(core=core, config=config), environment, num_steps=160, num_envs=4)
    assert result.metrics["step"].shape == (5,)
    assert np.isfinite(result.metrics["loss"]).all()
    assert (result.metrics["gradient_norm"] > 0).all()
