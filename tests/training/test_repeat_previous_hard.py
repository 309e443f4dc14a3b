"""The paper's clearest result, the last column of Table 2, at the size of examples/popgym_ppo.py.

S5 names the 64th latest card; a GRU and the memoryless core stay where guessing leads.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from s5rl.agents import make_agent
from s5rl.envs import make_environment
from s5rl.training import evaluate, train

NUM_STEPS = 3_000_000


@pytest.mark.slow
@pytest.mark.parametrize("core", ["s5", "gru", "feed_forward"])
def test_only_s5_names_the_64th_latest_card(core, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
    example = importlib.import_module("popgym_ppo")
    environment = make_environment("popgym/RepeatPreviousHard")
    agent = make_agent(core=example.SMALL_CORES[core], config=example.small_config(NUM_STEPS))
    result = train(agent, environment, NUM_STEPS, progress=False)
    params = result.agent.acting_params(result.state)
    mean_return = evaluate(result.agent, params, environment, 100).episode_returns.mean()
    if core == "s5":  # the return lies in [-1, 1]; guessing one of four suits brings -0.5
        assert mean_return >= 0.85
    else:
        assert mean_return < 0.0
