"""Stock agents of dm-acme, as the examples make them: they train, end their waits, and learn to remember."""

from __future__ import annotations

import importlib
import time
from pathlib import Path

import haiku as hk
import jax
import numpy as np
import pytest
from cores import CORES

from s5rl.cores import FeedForwardCore, GRUCore, HaikuCore, LSTMCore
from s5rl.envs import make_bsuite

pytest.importorskip("reverb", reason="Reverb is not installed: make test-acme runs this")

import acme
from acme import specs, wrappers
from acme.agents.jax import r2d2
from acme.utils import loggers

from s5rl.acme.is_first import IsFirstWrapper
from s5rl.acme.networks import make_r2d2_networks
from s5rl.acme.time_limit import TimeLimit

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
SECONDS = 20.0
"""Of one call in the tests of waits."""


@pytest.fixture(autouse=True)
def path_of_examples(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)


def make_environment(bsuite_id="memory_len/10"):
    return wrappers.SinglePrecisionWrapper(make_bsuite(bsuite_id, seed=0))


def make_loop(environment, agent, seconds=300.0):
    return acme.EnvironmentLoop(environment, TimeLimit(agent, seconds), logger=loggers.NoOpLogger())


def make_agent(algorithm, core):
    """Returns an agent of an example, and its environment."""
    environment = IsFirstWrapper(make_environment())
    module = importlib.import_module(f"acme_{algorithm}")
    return module.make_agent(specs.make_environment_spec(environment), core, 0), environment


def learned_params(agent):
    return jax.tree.map(np.asarray, agent._learner.get_variables([""])[0])


def stop_server(agent):
    server = agent._replay_server if hasattr(agent, "_replay_server") else agent._server
    server.stop()


@pytest.mark.parametrize("name", CORES)
@pytest.mark.parametrize(("algorithm", "episodes"), [("impala", 40), ("r2d2", 25)])
def test_an_agent_trains_with_every_memory(algorithm, episodes, name):
    agent, environment = make_agent(algorithm, CORES[name])
    before = learned_params(agent)
    loop = make_loop(environment, agent)
    returns = {float(loop.run_episode()["episode_return"]) for _ in range(episodes)}
    assert returns == {-1.0, 1.0}
    after = learned_params(agent)
    memory = type(CORES[name]).__name__
    assert any(memory in module for module in before)
    for module, params in before.items():
        assert all(np.all(np.isfinite(leaf)) for leaf in after[module].values())
        if memory in module:
            assert any(np.any(after[module][key] != leaf) for key, leaf in params.items())
    stop_server(agent)


def test_a_table_that_never_fills_is_an_error_in_time(monkeypatch):
    config = r2d2.R2D2Config
    monkeypatch.setattr(r2d2, "R2D2Config", lambda **given: config(**{**given, "min_replay_size": 10_000}))
    agent, environment = make_agent("r2d2", LSTMCore(4))
    loop = make_loop(environment, agent, SECONDS)
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"LocalLayout\.update has not returned within 20 s.*never fill"):
        loop.run(num_episodes=25)
    assert time.monotonic() - start < 60 + SECONDS
    stop_server(agent)


@pytest.mark.parametrize("algorithm", ["impala", "r2d2"])
def test_a_dead_server_is_an_error_in_time(algorithm):
    agent, environment = make_agent(algorithm, LSTMCore(4))
    loop = make_loop(environment, agent, SECONDS)
    loop.run(num_episodes=20)
    stop_server(agent)
    start = time.monotonic()
    # What says it first: the call that waits, or Reverb itself where it notices, in the words of gRPC.
    causes = r"Reverb server is gone|Where Reverb says it, its server is gone"
    with pytest.raises((TimeoutError, RuntimeError), match=causes):
        loop.run(num_episodes=500)
    assert time.monotonic() - start < 10 + SECONDS


@pytest.mark.parametrize("algorithm", ["impala", "r2d2"])
@pytest.mark.parametrize(
    "other", [make_environment, lambda: IsFirstWrapper(make_environment("memory_size/3"))]
)
def test_an_environment_of_another_spec_is_an_error_at_once(algorithm, other):
    agent, _ = make_agent(algorithm, LSTMCore(4))
    loop = make_loop(other(), agent, SECONDS)
    with pytest.raises(ValueError, match=r"observation does not fit the spec|inconsistent with the table"):
        loop.run(num_episodes=20)
    stop_server(agent)


def test_a_table_for_the_states_of_another_memory_is_an_error_at_once(monkeypatch):
    def other_tables(builder, environment_spec):
        networks = make_r2d2_networks(environment_spec, GRUCore(4), batch_size=16)
        return tables(r2d2.R2D2Builder(networks, builder._config), environment_spec)

    tables = r2d2.R2D2Builder.make_replay_tables
    monkeypatch.setattr(r2d2.R2D2Builder, "make_replay_tables", other_tables)
    agent, environment = make_agent("r2d2", LSTMCore(4))
    loop = make_loop(environment, agent, SECONDS)
    with pytest.raises(ValueError, match="inconsistent with the table signature"):
        loop.run(num_episodes=20)
    stop_server(agent)


def test_the_command_line_reports_returns(capsys):
    importlib.import_module("acme_r2d2").main(["--core", "gru", "--episodes", "12", "--seed", "1"])
    title, numbers = capsys.readouterr().out.splitlines()
    assert title == "gru on memory_len/10: mean return in each sixth of 12 episodes"
    assert len(numbers.split()) == 6
    assert all(-1 <= float(number) <= 1 for number in numbers.split())


@pytest.mark.parametrize("words", [["--episodes", "5"], ["--seed", "-1"]])
def test_the_command_line_refuses_numbers_out_of_range(words, capsys):
    with pytest.raises(SystemExit):
        importlib.import_module("acme_r2d2").main(words)
    assert f"{words[0]} must be at least" in capsys.readouterr().err


def last_third(algorithm, core, seed=0):
    """Returns the mean return over the last third of a training of the example's length."""
    module = importlib.import_module(f"acme_{algorithm}")
    train = importlib.import_module("acme_memory_length").train
    return train(module.make_agent, core, module.EPISODES, seed)[-module.EPISODES // 3 :].mean()


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["impala", "r2d2"])
@pytest.mark.parametrize("name", ["lstm", "s5", "attention"])
def test_a_memory_solves_memory_length(algorithm, name):
    core = importlib.import_module("acme_memory_length").CORES[name]
    assert last_third(algorithm, core) >= 0.7


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["impala", "r2d2"])
def test_haikus_own_lstm_solves_it_too(algorithm):
    assert last_third(algorithm, HaikuCore(lambda: hk.LSTM(32))) >= 0.7


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["impala", "r2d2"])
def test_without_memory_it_is_a_guess(algorithm):
    assert abs(last_third(algorithm, FeedForwardCore((32,)))) < 0.5
