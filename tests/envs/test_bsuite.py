"""The real bsuite behind `make_bsuite`."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from s5rl.envs import make_bsuite

pytest.importorskip("bsuite")


def test_a_bsuite_id_is_an_index_of_the_sweep():
    environment = make_bsuite("memory_len/22")
    num_steps = 0
    timestep = environment.reset()
    while not timestep.last():
        timestep = environment.step(0)
        num_steps += 1
    assert num_steps == 101


def test_the_log_is_read_by_bsuites_own_loader(tmp_path):
    from bsuite.logging import csv_load

    environment = make_bsuite("memory_len/1", results_dir=tmp_path / "new")
    returns = []
    rng = np.random.default_rng(0)
    for _ in range(10):
        timestep = environment.reset()
        while not timestep.last():
            timestep = environment.step(rng.integers(2))
        returns.append(timestep.reward)

    frame, _ = csv_load.load_bsuite(str(tmp_path / "new"))
    assert set(frame.bsuite_id) == {"memory_len/1"}
    last = frame[frame.episode == 10].iloc[0]
    assert (last.steps, last.total_return) == (30, sum(returns))
    assert last.total_perfect == returns.count(1.0)


def test_a_log_is_replaced_only_on_request(tmp_path):
    def play(overwrite: bool) -> None:
        environment = make_bsuite("bandit/0", results_dir=tmp_path, overwrite=overwrite)
        environment.reset()
        environment.step(0)

    play(overwrite=False)
    with pytest.raises(ValueError, match="already exists"):
        play(overwrite=False)
    play(overwrite=True)


def test_a_seed_takes_the_place_of_bsuites():
    def cues(**seed):
        environment = make_bsuite("memory_len/5", **seed)
        return [environment.reset().observation[0, 2] for _ in range(30)]

    assert cues(seed=1) == cues(seed=1)
    assert cues(seed=1) != cues(seed=2)
    assert cues() == cues() == cues(seed=0)
    make_bsuite("bandit/0", seed=1)  # takes none


@pytest.mark.parametrize(
    ("bsuite_id", "near"), [("memory_len/99", "memory_len/9"), ("memry_len/0", "memory_len/0")]
)
def test_an_unknown_id_lists_the_nearest(bsuite_id, near):
    with pytest.raises(ValueError, match=f"unknown bsuite id '{bsuite_id}'; .*'{near}'"):
        make_bsuite(bsuite_id)


def test_without_bsuite_the_rest_works_and_the_error_names_the_extra():
    code = """
import sys
sys.modules["bsuite"] = None
import s5rl.envs
s5rl.envs.make_environment("memory_chain", memory_length=2)
try:
    s5rl.envs.make_environment("bsuite/memory_len/0")
except ImportError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 's5rl[bsuite]'" in result.stdout, result.stderr
