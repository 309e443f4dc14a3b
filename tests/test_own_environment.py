"""The environment of docs/your_own_environment.md: as shown, short, lawful, solved by a memory."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from test_docs import python_blocks

from s5rl import GRUCore, PPOConfig, make_agent, train
from s5rl.conformance import check_environment, load_subject
from s5rl.training.metrics import final_returns

ROOT = Path(__file__).parent.parent
FILE = ROOT / "examples" / "my_environment.py"
WALK, LEFT, RIGHT = range(3)


@pytest.fixture(scope="module")
def environment():
    return load_subject(f"{FILE}:TMaze")


def play(environment, seed, actions):
    """The observations and rewards of an episode, and its last step."""
    state, timestep = environment.reset(jax.random.key(seed))
    seen, rewards = [np.asarray(timestep.observation)], []
    for action in actions:
        state, timestep = environment.step(state, action)
        seen.append(np.asarray(timestep.observation))
        rewards.append(float(timestep.reward))
    return np.stack(seen), rewards, timestep


def test_the_page_shows_the_file():
    page = (ROOT / "docs" / "your_own_environment.md").read_text()
    assert python_blocks(page)[0].lstrip("\n") == FILE.read_text()


def test_it_is_short():
    assert len(FILE.read_text().splitlines()) < 60


def test_the_laws_hold(environment):
    report = check_environment(environment)
    assert report.passed, report.failed


@pytest.mark.parametrize("seed", range(4))
def test_the_turn_that_the_sign_names_pays(environment, seed):
    seen, rewards, last = play(environment, seed, [WALK] * 5 + [RIGHT])
    assert (seen[:, 0] != 0).tolist() == [True] + 6 * [False]
    assert seen[:, 1].tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert rewards == [0, 0, 0, 0, 0, seen[0, 0]]
    assert last.last()
    assert last.discount == 0


def test_walls_cost_and_time_is_short(environment):
    _, rewards, last = play(environment, 0, [LEFT] * 50)
    np.testing.assert_allclose(rewards, -0.1, rtol=1e-6)
    assert last.last()
    assert last.discount == 1


@pytest.mark.slow
def test_a_memory_solves_it(environment):
    config = PPOConfig(learning_rate=3e-3, num_envs=8, unroll_length=32, torso_sizes=(16,), num_minibatches=2)
    result = train(make_agent(core=GRUCore(16), config=config), environment, 60_000, progress=False)
    assert final_returns(result.metrics) > 0.8
