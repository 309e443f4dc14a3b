"""`train(memory_budget=...)`: the largest microbatches that fit, the same results, and clear refusals."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from agents import ENVIRONMENT, SPEC, small_agent
from numerics import assert_close

from s5rl.cores import ResettableS5Core
from s5rl.envs import DmEnvBatch, as_dm_env
from s5rl.training import RunDirectoryError, train
from s5rl.training.compiled_loop import CompiledLoop
from s5rl.training.fit_to_memory import fit_to_memory
from s5rl.training.host_loop import HostLoop
from s5rl.training.layout import make_layout
from s5rl.training.memory_needed import MemoryNeeded, format_bytes, parse_bytes

MIB = 1024**2
# Without time chunks, so that the activations of all slots are kept for the gradient, as on a GPU.
CORE = ResettableS5Core(state_size=32, model_size=32, num_layers=2, chunk_length=32)
SETTINGS = {"num_envs": 64, "unroll_length": 32}


def compiled_loop(agent, num_devices=1):
    return CompiledLoop(agent, ENVIRONMENT, 64, np.asarray(0), make_layout(num_devices, 64, 1))


def bound(algorithm, **settings):
    return small_agent(algorithm, CORE, **SETTINGS, **settings).bind(SPEC)


@pytest.mark.parametrize(
    "algorithm", ["a2c", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ppo", "muesli"))]
)
def test_a_quarter_of_the_rows_takes_less_than_half_of_the_memory(algorithm):
    agent = bound(algorithm)
    loop = compiled_loop(agent)
    size = agent.config.minibatch_size(64) // 4
    whole, parts = (
        loop.memory_needed(dataclasses.replace(agent, microbatch_size=size)) for size in (None, size)
    )
    assert parts.kept == whole.kept
    assert parts.total - parts.kept < (whole.total - whole.kept) / 2


def test_what_is_needed_is_at_least_what_is_kept_and_the_trajectory():
    agent = bound("a2c")
    loop = compiled_loop(agent)
    needed = loop.memory_needed(agent)
    run = sum(leaf.nbytes for leaf in jax.tree.leaves(loop.snapshot()))
    assert run <= needed.kept <= run + 16  # with the number of updates, an argument too
    assert needed.total > needed.kept + needed.trajectory


class FormulaLoop:
    """A run whose program needs what a formula says: what the search asks for can be counted."""

    def __init__(self, needed):
        self.needed, self.asked, self.agent = needed, [], None

    def memory_needed(self, agent):
        self.asked.append(agent.microbatch_size)
        return MemoryNeeded(self.needed(agent.microbatch_size), kept=5, trajectory=6)

    def take_agent(self, agent):
        self.agent = agent


@pytest.mark.parametrize("budget", [11, 12, 40, 74, 75, 76, 139, 140, 265, 266, 1000])
@pytest.mark.parametrize("num_shares", [1, 4])
@pytest.mark.parametrize(("algorithm", "num_rows"), [("a2c", 64), ("ppo", 32)])
def test_the_largest_microbatch_that_fits_is_found_by_few_compilations(
    algorithm, num_rows, budget, num_shares
):
    # PPO computes the values of all 64 rows at once, unless it learns in microbatches.
    def needed(size):
        return 10 + max(1 * (size or 64), 4 * min(size or 64, num_rows))

    loop = FormulaLoop(needed)
    if budget < needed(num_shares):
        with pytest.raises(ValueError, match="memory_budget"):
            fit_to_memory(loop, bound(algorithm), 64, budget, num_shares)
        return
    fit = fit_to_memory(loop, bound(algorithm), 64, budget, num_shares)
    sizes = [None, *(size for size in (64, 32, 16, 8, 4, 2, 1) if num_shares <= size <= num_rows)]
    assert loop.agent.microbatch_size == next(size for size in sizes if needed(size) <= budget)
    assert len(loop.asked) <= 4
    assert loop.agent == dataclasses.replace(bound(algorithm), microbatch_size=loop.agent.microbatch_size)
    assert fit == (loop.agent.microbatch_size, num_rows, needed(loop.agent.microbatch_size))


def test_microbatches_divide_rows_that_devices_do_not_share_evenly():
    agent = bound("muesli", replay_fraction=0.24, replay_capacity=64)
    fit = fit_to_memory(FormulaLoop(lambda size: 10 + (size or 64)), agent, 64, budget=60, num_shares=4)
    assert fit == (42, 42, 52)  # 32 new rows, 10 replayed ones


def budget_between(make_loop, agent):
    """A budget into which all rows at once do not fit."""
    loop = make_loop(agent)
    size = agent.config.minibatch_size(64) // 2
    whole, half = (
        loop.memory_needed(dataclasses.replace(agent, microbatch_size=each)).total for each in (None, size)
    )
    return (whole + half) // 2


@pytest.mark.parametrize("num_seeds", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_with_a_budget_gives_the_same_and_goes_on_with_another(num_seeds, tmp_path, capsys):
    agent, num_slots = bound("a2c"), 64 * 32
    seeds = np.asarray(0) if num_seeds == 1 else np.arange(2)
    budget = budget_between(
        lambda agent: CompiledLoop(agent, ENVIRONMENT, 64, seeds, make_layout(1, 64, num_seeds)), agent
    )
    free = train(agent, ENVIRONMENT, 2 * num_slots, num_seeds=num_seeds, progress=False)
    settings = {"num_seeds": num_seeds, "directory": tmp_path}
    train(agent, ENVIRONMENT, num_slots, memory_budget=budget, **settings)
    assert "learns from 32 of the 64 rows of a minibatch at a time" in capsys.readouterr().err
    result = train(agent, ENVIRONMENT, 2 * num_slots, memory_budget="1GiB", progress=False, **settings)
    assert capsys.readouterr().err == ""
    assert result.agent == agent
    assert_close(result.metrics["loss"], free.metrics["loss"], 1e-5)
    assert_close(result.state.params, free.state.params, 1e-4)


def test_a_run_on_the_host_fits_too(capsys):
    agent = bound("a2c")
    environments = [as_dm_env(ENVIRONMENT, seed) for seed in range(64)]
    budget = budget_between(
        lambda agent: HostLoop(agent, DmEnvBatch(environments), 0, make_layout(1, 64, 1)), agent
    )
    fitted, free = (
        train(agent, [as_dm_env(ENVIRONMENT, seed) for seed in range(64)], 1, memory_budget=each)
        for each in (budget, None)
    )
    assert "learns from 32 of the 64 rows of a minibatch at a time" in capsys.readouterr().err
    assert_close(fitted.state.params, free.state.params, 1e-4)


def test_the_program_that_was_asked_about_is_the_one_that_runs(caplog):
    agent, budget = bound("a2c", learning_rate=1e-5), 64 * MIB
    with caplog.at_level("WARNING"), jax.log_compiles():
        train(agent, ENVIRONMENT, 1, memory_budget=budget, progress=False)
    compiled = [
        record.getMessage() for record in caplog.records if "XLA compilation of" in record.getMessage()
    ]
    assert sum("_run_updates" in message for message in compiled) == 1, compiled


def test_a_budget_that_cannot_be_met_is_refused_before_training():
    agent, told = bound("a2c"), []
    with pytest.raises(ValueError, match="memory_budget") as refusal:
        train(agent, ENVIRONMENT, 1, memory_budget="100 kB", on_chunk=lambda *_: told.append(1))
    least = compiled_loop(agent).memory_needed(dataclasses.replace(agent, microbatch_size=1))
    for words in ("97.7 KiB", format_bytes(least.total), format_bytes(least.trajectory), "Most of it is for"):
        assert words in str(refusal.value)
    assert told == []


def test_a_budget_that_cannot_be_met_claims_no_folder_and_changes_none(tmp_path):
    agent = bound("a2c")
    with pytest.raises(ValueError, match="memory_budget"):
        train(agent, ENVIRONMENT, 1, memory_budget="1kB", directory=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    train(agent, ENVIRONMENT, 1, directory=tmp_path, progress=False)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="memory_budget"):
        train(agent, ENVIRONMENT, 10_000, memory_budget="1kB", directory=tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_folder_of_another_run_is_refused_before_anything_is_compiled(tmp_path):
    train(bound("a2c"), ENVIRONMENT, 1, directory=tmp_path, progress=False)
    with pytest.raises(RunDirectoryError, match="holds another run"):  # not that the budget is too small
        train(bound("a2c"), ENVIRONMENT, 1, seed=1, memory_budget="1kB", directory=tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (8, 8),
        (np.int64(8), 8),
        ("8", 8),
        ("8GiB", 8 * 1024**3),
        ("1" + 400 * "0" + "B", 10**400),
        ("1.5 GB", 1_500_000_000),
        ("20kB", 20_000),
        ("3MiB", 3 * MIB),
    ],
)
def test_sizes_in_words(text, expected):
    assert parse_bytes("memory_budget", text) == expected


@pytest.mark.parametrize("size", ["", "much", "8 G", "-1GiB", "1e9", 0, -5, 8e9, True, "0GiB", "8iB"])
def test_sizes_that_are_none_are_refused(size):
    with pytest.raises(
        ValueError, match=r'memory_budget must be an integer of .* such as "8GiB" or "500MB", got'
    ):
        train(bound("a2c"), ENVIRONMENT, 1, memory_budget=size)


@pytest.mark.parametrize(
    ("num_bytes", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 * MIB, "1.5 GiB"),
        (5000 * 1024**4, "5000.0 TiB"),
    ],
)
def test_bytes_in_words(num_bytes, words):
    assert format_bytes(num_bytes) == words
