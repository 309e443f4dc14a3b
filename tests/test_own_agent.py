"""The agent of docs/your_own_agent.md: shipped as shown, short, lawful, and it learns."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_docs import python_blocks

from s5rl import make_environment, train
from s5rl.conformance import check_agent, load_subject
from s5rl.training.metrics import final_returns

ROOT = Path(__file__).parent.parent
FILE = ROOT / "examples" / "my_agent.py"


@pytest.fixture(scope="module")
def agent():
    return load_subject(f"{FILE}:my_agent")


def test_the_page_shows_the_file():
    page = (ROOT / "docs" / "your_own_agent.md").read_text()
    assert python_blocks(page)[0].lstrip("\n") == FILE.read_text()


def test_it_is_short():
    assert len(FILE.read_text().splitlines()) < 60


def test_the_laws_hold(agent):
    report = check_agent(agent)
    assert report.passed, report.failed


@pytest.mark.slow
def test_it_learns_to_remember(agent):
    result = train(agent, make_environment("memory_chain", memory_length=4), num_steps=64_000, progress=False)
    assert final_returns(result.metrics) > 0.8


def test_its_own_setting_is_checked(agent):
    with pytest.raises(ValueError, match="temperature must be a number above 0, got 0"):
        type(agent.config)(temperature=0)
