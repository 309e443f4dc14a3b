"""Finding cores, agents and environments by name, and `s5rl check` with its exit status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from s5rl.cli import main
from s5rl.conformance import LoadError, load_core
from s5rl.cores import FeedForwardCore, HaikuCore, LSTMCore

HERE = Path(__file__).parent
MY_CORES = """
from __future__ import annotations
import dataclasses
import haiku as hk
import jax.numpy as jnp
from s5rl.cores import CheckedCore, FeedForwardCore

instance = FeedForwardCore((4,))
number = 3

class Vanilla(hk.VanillaRNN):
    def __init__(self):
        super().__init__(4)

def make_gru():
    return hk.GRU(4)

def make_linear():
    return hk.Linear(4)

def with_size(size):
    return hk.GRU(size)

@dataclasses.dataclass(frozen=True)
class Late(CheckedCore):
    output_size = 4
    def init(self, key, input_size): return {"w": jnp.ones((input_size, 4))}
    def initial_state(self, batch_size=None):
        return (jnp.zeros((4,) if batch_size is None else (batch_size, 4)),)
    def _step(self, prepared, inputs, state):
        h = inputs @ prepared["w"] + 0.5 * state[0]
        return h, (h,)
    def _unroll(self, prepared, inputs, state, should_reset):
        return super()._unroll(prepared, inputs, state, None)

class Unhashable(Late):
    __hash__ = None
unhashable = Unhashable()
"""


@pytest.fixture
def my_cores(tmp_path, monkeypatch):
    (tmp_path / "my_cores.py").write_text(MY_CORES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_cores", raising=False)
    yield tmp_path
    sys.modules.pop("my_cores", None)


def test_instances_classes_and_factories_are_loaded(my_cores):
    assert load_core("my_cores:instance") == FeedForwardCore((4,))
    assert load_core("my_cores.py:instance").output_size == 4
    assert load_core("s5rl.cores:LSTMCore") == LSTMCore()
    for name in ("my_cores:Vanilla", "my_cores:make_gru", f"{my_cores}/my_cores.py:make_gru"):
        core = load_core(name)
        assert isinstance(core, HaikuCore)
        assert core.output_size == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_cores", "expected MODULE:NAME.*'my_cores'"),
        ("my_cores:", "expected MODULE:NAME"),
        ("no_such_module:Core", "importing 'no_such_module' failed: ModuleNotFoundError"),
        ("no_such_file.py:Core", "there is no file 'no_such_file.py'"),
        ("my_cores:make_gro", "has no 'make_gro'; did you mean make_gru"),
        ("my_cores:number", "is 3; expected a RecurrentCore"),
        ("my_cores:with_size", "needs the arguments size"),
        ("haiku:LSTM", "needs the arguments hidden_size"),
        ("my_cores:make_linear", "must return an hk.RNNCore, got Linear"),
    ],
)
def test_other_names_are_refused(my_cores, name, message):
    with pytest.raises(LoadError, match=message):
        load_core(name)


@pytest.mark.parametrize(
    ("arguments", "status", "shown"),
    [
        (["check", "my_cores:instance"], 0, "All laws hold"),
        (["check", "my_cores:Late", "--input-size", "2", "--agents"], 1, "Laws that fail: 1, 2, 4."),
        (["check", "my_cores:nothing"], 2, "has no 'nothing'"),
        (
            ["check", "my_cores:number"],
            2,
            "is 3; expected a RecurrentCore, an Agent, a JaxEnvironment, a class",
        ),
        (["check", "my_cores:unhashable"], 2, "Unhashable is not hashable"),
        (["check", f"{HERE}/agent_faults.py:NoLogProb", "--agents"], 2, "NoLogProb is no core"),
        (["check", f"{HERE}/agent_faults.py:NoLogProb"], 1, "Laws that fail: 1."),
        (
            ["check", f"{HERE}/environment_faults.py:BeginsWithMid", "--num-steps", "20"],
            1,
            "Laws that fail: 1.",
        ),
        (["check", f"{HERE}/environment_faults.py:Unhashable"], 2, "Unhashable is not hashable"),
        (["check", "my_cores:instance", "--input-size", "0"], 2, "--input-size must be at least 1"),
        (["check", "my_cores:instance", "--num-steps", "0"], 2, "--num-steps must be at least 1"),
        (["chekc"], 2, "chekc"),
    ],
)
def test_exit_status_and_output(my_cores, capsys, arguments, status, shown):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == status
    output = capsys.readouterr()
    assert shown in " ".join((output.out + output.err).split())


def test_the_command_runs_in_a_process(my_cores):
    command = "from s5rl.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", command, "check", f"{my_cores}/my_cores.py:number"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "expected a RecurrentCore" in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
