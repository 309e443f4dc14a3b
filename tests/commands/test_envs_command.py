"""`s5rl envs`: the listing, and an episode to look at."""

from __future__ import annotations

import functools
import re
import sys

import numpy as np
import pytest
from dm_env import specs

from s5rl.commands.envs import SHOWN, describe
from s5rl.envs.popgym import ENVIRONMENTS


@pytest.fixture
def run(s5rl):
    """Runs `s5rl envs`; returns its status, what it printed, and its complaints in one line."""
    return functools.partial(s5rl, "envs")


def test_the_listing_names_every_environment_and_its_longest_episode(run):
    status, shown, _ = run()
    assert status == 0
    table, _, _ = shown.partition("\n\n")
    rows = {line.split()[0]: line.split() for line in table.splitlines()}
    for name, environment in ENVIRONMENTS.items():
        assert rows[f"popgym/{name}"][-1] == str(environment.max_episode_length)
    for name, environment in SHOWN.items():
        assert rows[name][-1] == str(environment.memory_length + 1)
    assert "popgym/AutoencodeEasy                   2 values, 4 values  4 values         103\n" in shown
    assert all(len(line.rstrip()) <= 80 for line in shown.splitlines())
    assert "Stateless" in shown
    assert "VelocityOnlyCartpole" in shown


def test_the_listing_names_the_experiments_of_bsuite(run):
    pytest.importorskip("bsuite")
    lines = run()[1].split()
    assert "bsuite/memory_len/0..22" in lines
    assert "bsuite/memory_size/0..16" in lines
    assert "bsuite/catch/0..19" in lines


def test_the_listing_says_how_to_install_bsuite(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "bsuite", None)
    _, shown, _ = run()
    assert "pip install 's5rl[bsuite]'" in shown
    assert "memory_len/" not in shown


def test_the_listing_names_the_tasks_of_dm_control(run, monkeypatch):
    pytest.importorskip("dm_control")
    shown = run()[1]
    assert "  cartpole/ balance, balance_sparse, swingup," in shown
    assert "projected_dm_control/train" in shown
    monkeypatch.setitem(sys.modules, "dm_control", None)
    shown = run()[1]
    assert "pip install 's5rl[dm_control]'" in shown
    assert "balance_sparse" not in shown


def test_an_episode_shows_its_boards(run):
    status, shown, _ = run("popgym/MineSweeperEasy", "--num-steps", "2")
    assert status == 0
    assert shown.startswith("popgym/MineSweeperEasy: MineSweeper(board_size=4, num_mines=2)\n")
    beginning, first, *_ = shown.split("step ")
    assert beginning.count("*") == 2  # the mines
    assert beginning.count(". ") + beginning.count(".\n") == 14  # the other cells
    board = first.split("\n", 1)[1]
    assert len(re.findall(r"\d", board)) == 1  # the cell viewed


def test_the_last_step_the_return_and_the_length_are_told(run):
    _, shown, _ = run("memory_chain", "--num-steps", "3")
    lines = shown.splitlines()
    assert lines[0] == "memory_chain: MemoryChain(memory_length=10, num_bits=1)"
    steps = [line.split(":")[0] for line in lines if line.startswith("step ")]
    assert steps == ["step 1", "step 2", "step 3", "step 11"]
    assert "... 7 more steps ..." in lines
    assert re.fullmatch(r"step 11: action [01], reward -?1, terminated, observation \[\[0 0 0\]\]", lines[-2])
    assert lines[-1] in ("Return 1, 11 steps.", "Return -1, 11 steps.")


def test_an_episode_that_is_cut_off_is_truncated(run):
    _, shown, _ = run("popgym/MineSweeperEasy", "--num-steps", "99")  # seed 0 hits no mine
    assert re.search(r"step 14: .*, truncated, observation", shown)
    assert shown.count("step ") == 14
    assert "more steps" not in shown


def test_the_same_seed_shows_the_same(run):
    shown = [run("popgym/MineSweeperEasy", "--seed", seed) for seed in ("1", "1", "2")]
    assert shown[0] == shown[1]
    assert shown[0] != shown[2]


def test_environments_of_dm_env_are_played_without_pictures(run):
    pytest.importorskip("bsuite")
    status, shown, _ = run("bsuite/memory_len/2")
    assert status == 0
    assert "bsuite/memory_len/2\nobservation: 1 x 3 numbers\naction: 2 values" in shown
    assert "step 4: " in shown
    assert shown.splitlines()[-1] in ("Return 1, 4 steps.", "Return -1, 4 steps.")


@pytest.mark.parametrize("name", ["dm_control/cartpole/swingup", "projected_dm_control/test"])
def test_tasks_of_dm_control_are_played_with_the_seed(run, name):
    pytest.importorskip("dm_control")
    shown = [run(name, "--seed", seed, "--num-steps", "2")[1] for seed in ("1", "1", "2")]
    assert re.search(r"step 1000: .*, truncated,", " ".join(shown[0].split()))
    assert shown[0] == shown[1]
    assert shown[0].split("step 1")[0] != shown[2].split("step 1")[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["popgym/MineSwepperEasy"], "the nearest are ['MineSweeperEasy'"),
        (["MineSweeperEasy"], "'popgym/MineSweeperEasy'"),
        (["xyz"], "unknown environment 'xyz'"),
        (["memory_chain", "--num-steps", "-1"], "--num-steps must be at least 1, got -1"),
        (["memory_chain", "--seed", "-1"], "--seed must be from 0 to 4294967295, got -1"),
    ],
)
def test_what_cannot_be_played_is_refused(run, arguments, message):
    status, shown, complaint = run(*arguments)
    assert status == 2
    assert shown == ""
    assert message in complaint


@pytest.mark.parametrize("error", [ImportError, OSError])
def test_environments_that_cannot_be_made_are_refused(run, monkeypatch, error):
    def fail(name):
        raise error("no such thing here")

    monkeypatch.setattr("s5rl.commands.envs.make_environment", fail)
    status, _, complaint = run("bsuite/mnist/0")
    assert status == 2
    assert "no such thing here" in complaint


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (specs.DiscreteArray(3), "3 values"),
        ((specs.DiscreteArray(2), specs.DiscreteArray(4)), "2 values, 4 values"),
        (specs.BoundedArray((2,), np.int32, 0, 7), "2 x 8 values"),
        (specs.BoundedArray((2,), np.int32, 1, 7), "2 x [1, 7]"),
        (specs.BoundedArray((1,), np.float32, -2, 2), "1 x [-2, 2]"),
        (specs.BoundedArray((2,), np.float32, [-4, -1], [4, 1]), "2 bounded numbers"),
        (specs.Array((1, 3), np.float32), "1 x 3 numbers"),
        (specs.Array((), np.float32), "a number"),
    ],
)
def test_specs_are_described_in_a_few_words(spec, text):
    assert describe(spec) == text
