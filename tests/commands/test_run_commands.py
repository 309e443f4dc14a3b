"""`s5rl train`, `resume` and `evaluate`, on one tiny run."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from s5rl.agents import A2CConfig, make_agent
from s5rl.commands.environments import make_named
from s5rl.cores import GRUCore
from s5rl.envs import MemoryChain
from s5rl.training import evaluate, train
from s5rl.training.saved import load_run

SLOTS = 2 * 8
"""Of an update."""
CONFIG = A2CConfig(num_envs=2, unroll_length=8, torso_sizes=(4,), learning_rate=0.01)
CORE = GRUCore(4)
WORDS = [
    *("train", "memory_chain", "--env", "memory_length=2", "--num-seeds", "2", "--seed", "5"),
    *("--algorithm", "a2c", "--core", "gru", "--core.hidden-size", "4", "--num-envs", "2"),
    *("--unroll-length", "8", "--torso-sizes", "4", "--learning-rate", "0.01"),
]
EVALUATED = ["--evaluate-every", "64", "--num-evaluation-episodes", "3"]
TABLES = ("metrics.csv", "metrics.jsonl", "evaluations.csv", "evaluations.jsonl")


@pytest.fixture(scope="module")
def trained(s5rl, tmp_path_factory):
    """The folder of a run of ten updates and two seeds, which no test changes, and what was said."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, s5rl(*WORDS, *EVALUATED, "--num-steps", 10 * SLOTS, "--directory", folder)


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of that folder."""
    return shutil.copytree(trained[0], tmp_path / "copy")


def rows_of(file):
    with file.open(newline="") as text:
        return list(csv.DictReader(text))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_run_leaves_tables_and_says_what_to_do_next(trained):
    folder, outcome = trained
    assert outcome.status == 0, outcome.complaint
    rows = rows_of(folder / "metrics.csv")
    assert [(row["seed"], row["update"]) for row in rows[-2:]] == [("5", "10"), ("6", "10")]
    assert len(rows) == 2 * 10
    assert len(rows_of(folder / "evaluations.csv")) == 2 * 2
    for words in ("return", "MMER", "evaluation", "±", "over 2 seeds"):
        assert words in outcome.shown
    summary = json.loads((folder / "summary.json").read_text())
    assert f"{summary['mmer']['mean']:.4g} ± {summary['mmer']['std']:.2g}" in outcome.shown
    for command in ("plot", "evaluate", "resume"):
        assert f"  s5rl {command} {folder}" in outcome.shown
    assert "10/10 updates" in outcome.complaint


def test_the_flags_are_those_of_train(trained, tmp_path):
    agent = make_agent(core=CORE, algorithm="a2c", config=CONFIG)
    train(agent, MemoryChain(2), 10 * SLOTS, 5, num_seeds=2, directory=tmp_path, progress=False)
    assert (tmp_path / "metrics.csv").read_bytes() == (trained[0] / "metrics.csv").read_bytes()
    assert (tmp_path / "run.json").read_bytes() == (trained[0] / "run.json").read_bytes()


def test_the_same_command_trains_nothing_anew_and_a_longer_one_goes_on(s5rl, trained, folder):
    before = contents(folder)
    outcome = s5rl(*WORDS, *EVALUATED, "--num-steps", 10 * SLOTS, "--directory", folder)
    assert outcome.status == 0
    assert outcome.shown == trained[1].shown.replace(str(trained[0]), str(folder))
    assert contents(folder) == before
    assert s5rl(*WORDS, "--num-steps", 12 * SLOTS, "--directory", folder).status == 0
    after = (folder / "metrics.csv").read_bytes()
    assert after.startswith(before["metrics.csv"])
    assert len(rows_of(folder / "metrics.csv")) == 2 * 12
    assert json.loads((folder / "command.json").read_text())["num_steps"] == 12 * SLOTS


def test_another_config_is_refused_and_changes_nothing(s5rl, folder):
    before = contents(folder)
    outcome = s5rl(*WORDS, "--core.hidden-size", 5, "--discount", 0.5, "--directory", folder)
    assert outcome.status == 2
    assert "agent.core.hidden_size: 4 in the folder, 5 now" in outcome.complaint
    assert "agent.config.discount: 0.99 in the folder, 0.5 now" in outcome.complaint
    assert contents(folder) == before


def test_resume_prolongs_a_run_bit_for_bit(s5rl, folder, tmp_path):
    assert s5rl("resume", folder, "--num-steps", 20 * SLOTS).status == 0
    whole = tmp_path / "whole"
    assert s5rl(*WORDS, *EVALUATED, "--num-steps", 20 * SLOTS, "--directory", whole).status == 0
    for table in TABLES:
        assert (folder / table).read_bytes() == (whole / table).read_bytes()
    resumed, at_once = load_run(folder), load_run(whole)
    assert resumed.num_updates == at_once.num_updates == 20
    for a, b in zip(jax.tree.leaves(resumed.state), jax.tree.leaves(at_once.state), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_goes_on_with_another_memory_budget(s5rl, folder):
    outcome = s5rl("resume", folder, "--num-steps", 11 * SLOTS, "--memory-budget", "1GiB")
    assert outcome.status == 0, outcome.complaint
    assert "An update learns from all of the 2 rows of a minibatch at a time" in outcome.complaint
    assert json.loads((folder / "command.json").read_text())["memory_budget"] == "1GiB"
    outcome = s5rl(*WORDS, "--num-steps", 12 * SLOTS, "--memory-budget", "1kB", "--directory", folder)
    assert outcome.status == 2
    assert "memory_budget is 1000 B, but an update needs" in outcome.complaint
    assert len(rows_of(folder / "metrics.csv")) == 2 * 11


def test_resume_without_more_steps_does_what_is_left(s5rl, folder):
    settings = json.loads((folder / "command.json").read_text())
    (folder / "command.json").write_text(json.dumps({**settings, "num_steps": 12 * SLOTS}))
    assert s5rl("resume", folder).status == 0
    assert load_run(folder).num_updates == 12
    assert len(rows_of(folder / "evaluations.csv")) == 2 * 3


def test_a_run_of_python_is_resumed_and_evaluated(s5rl, folder):
    (folder / "command.json").unlink()
    stored = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**stored, "num_steps": 10 * SLOTS}))
    assert s5rl("resume", folder).status == 0
    assert load_run(folder).num_updates == 10
    assert s5rl("resume", folder, "--num-steps", 11 * SLOTS).status == 0
    assert load_run(folder).num_updates == 11
    assert "after 11 updates" in s5rl("evaluate", folder, "--num-episodes", 2).shown


def test_a_run_of_python_on_the_host_is_refused(s5rl, folder):
    (folder / "command.json").unlink()
    stored = json.loads((folder / "run.json").read_text())
    stored["run"]["environment"] = {"host": "my_package:MyBatch"}
    (folder / "run.json").write_text(json.dumps(stored))
    for command in (["resume", folder, "--num-steps", 1000], ["evaluate", folder]):
        outcome = s5rl(*command)
        assert outcome.status == 2
        assert "started by train(...) in Python" in outcome.complaint


def test_evaluate_shows_the_mean_of_each_seed(s5rl, trained):
    folder, _ = trained
    outcome = s5rl("evaluate", folder, "--num-episodes", 7, "--seed", 3)
    assert outcome.status == 0, outcome.complaint
    saved = load_run(folder)
    means = []
    for index, seed in enumerate((5, 6)):
        params = saved.agent.acting_params(saved.of_seed(index))
        returns, _ = evaluate(saved.agent, params, MemoryChain(2), 7, 3)
        numbers = (returns.mean(), returns.std(), returns.min(), returns.max(), 3)
        assert [str(seed), *(f"{x:.4g}" for x in numbers)] in [
            line.split() for line in outcome.shown.splitlines()
        ]
        means.append(returns.mean())
    assert f"return {np.mean(means):.4g} ± {np.std(means):.2g} over 2 seeds" in outcome.shown


def test_evaluate_takes_other_environments_and_checkpoints(s5rl, trained):
    folder, _ = trained
    longer = s5rl("evaluate", folder, "--env", "memory_length=4", "--num-episodes", 2)
    assert all(line.split()[-1] == "5" for line in longer.shown.splitlines()[3:5])
    same = s5rl("evaluate", folder, "--num-episodes", 2, "--checkpoint", 10)
    assert same.shown == s5rl("evaluate", folder, "--num-episodes", 2).shown
    other = s5rl("evaluate", folder, "--environment", "popgym/RepeatPreviousEasy")
    assert (other.status, "bound to another environment" in other.complaint) == (2, True)
    missing = s5rl("evaluate", folder, "--checkpoint", 3)
    assert (missing.status, "one of [10], got 3" in missing.complaint) == (1, True)


def test_environments_on_the_host_are_several_and_go_on(s5rl, tmp_path):
    pytest.importorskip("bsuite")
    words = ["train", "bsuite/memory_len/1", *WORDS[4:], "--num-seeds", 1, *EVALUATED]
    words += ["--num-steps", 6 * SLOTS, "--directory", tmp_path]
    outcome = s5rl(*words)
    assert outcome.status == 0, outcome.complaint
    rows = rows_of(tmp_path / "metrics.csv")
    assert len(rows) == 6
    assert len(rows_of(tmp_path / "evaluations.csv")) == 1
    outcome = s5rl("resume", tmp_path, "--num-steps", 7 * SLOTS)
    assert outcome.status == 0
    assert "Warning: These environments have no get_state and set_state" in outcome.complaint
    assert "7 updates" in s5rl("evaluate", tmp_path, "--num-episodes", 3).shown
    outcome = s5rl(*words, "--num-seeds", 2)
    assert (outcome.status, "num_seeds must be 1" in outcome.complaint) == (2, True)


def test_environments_on_the_host_differ():
    pytest.importorskip("bsuite")

    def cues(seed, purpose, num_updates=0):
        environments = make_named(
            "bsuite/memory_len/5", (), num_envs=3, seed=seed, purpose=purpose, num_updates=num_updates
        )
        return [tuple(int(each.reset().observation[0, 2]) for _ in range(30)) for each in environments]

    assert cues(1, 0) == cues(1, 0)
    assert len({*cues(1, 0), *cues(1, 1), *cues(2, 0), *cues(1, 0, 7)}) == 12


@pytest.mark.parametrize("words", [("bsuite/memory_len/5",), ("memory_chain", "--env", "memory_length=9")])
def test_another_environment_in_the_folder_of_a_run_is_refused(s5rl, folder, words):
    before = (folder / "command.json").read_text()
    outcome = s5rl("train", *words, "--directory", folder)
    assert outcome.status != 0
    complaint = " ".join(outcome.complaint.split())
    assert "holds another run" in complaint
    assert f"in the folder, {' '.join(words).replace('--env ', '')} now" in complaint
    assert (folder / "command.json").read_text() == before


# A test run in the background ignores Ctrl-C, and would leave that to its child.
IN_FOREGROUND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from s5rl.cli import main
main()
"""


def test_ctrl_c_saves_and_the_run_goes_on(s5rl, trained, tmp_path):
    command = [*WORDS, "--num-steps", "1e9", "--checkpoint-seconds", "0", "--directory", "run"]
    process = subprocess.Popen(
        [sys.executable, "-c", IN_FOREGROUND, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("run/checkpoints/[0-9]*")) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, complaint
    assert "s5rl resume run" in complaint
    assert "Traceback" not in complaint
    done = load_run(tmp_path / "run").num_updates
    outcome = s5rl("resume", tmp_path / "run", "--num-steps", (done + 2) * SLOTS)
    assert outcome.status == 0, outcome.complaint
    assert load_run(tmp_path / "run").num_updates == done + 2
    first = (trained[0] / "metrics.csv").read_bytes()
    assert (tmp_path / "run" / "metrics.csv").read_bytes().startswith(first)
