"""A run of two processes: one is killed, and it goes on and loses no more than a checkpoint interval."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

GRACE = 15
TIME_LIMIT = 240
"""Seconds until the test fails, on a busy machine."""
TRAIN = [
    *("train", "memory_chain", "--env", "memory_length=2", "--algorithm", "a2c", "--core", "gru"),
    *("--core.hidden-size", "4", "--num-envs", "2", "--unroll-length", "8", "--torso-sizes", "4"),
    *("--num-steps", "1e9", "--checkpoint-seconds", "0", "--directory", "run"),
]


@pytest.fixture
def launched(tmp_path):
    """Two processes in a folder; what the launcher says is in `said`."""
    launch = ["launch", "-n", "2", "--max-restarts", "1", "--grace", str(GRACE), "--", *TRAIN]
    variables = {"PYTHONPATH": str(Path(__file__).parents[2]), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment = {**os.environ, **variables}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)  # small programs are kept too, for the second start
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "s5rl", *launch], cwd=tmp_path, env=environment, stdout=said, stderr=said
        )
    yield process
    process.kill()
    process.wait()


def updates_saved(folder):
    """Returns the updates after which there are checkpoints."""
    return [int(path.name) for path in folder.glob("run/checkpoints/[0-9]*") if path.name.isdecimal()]


def process_number(launcher, index):
    """Returns the number of a process that the launcher has started."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words = (folder / "cmdline").read_text().split("\0")
        except OSError:  # has just ended
            continue
        if parent == launcher.pid and words[-3:-1] == ["--process-index", str(index)]:
            return int(folder.name)
    raise AssertionError(f"no process {index}")


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the process in /proc")
def test_a_run_survives_the_death_of_a_process_and_stops_with_a_checkpoint(launched, tmp_path):
    def said():
        return (tmp_path / "said").read_text()

    def wait_until(condition):
        while not condition():
            assert launched.poll() is None, said()
            assert time.monotonic() < deadline, said()
            time.sleep(0.05)

    deadline = time.monotonic() + TIME_LIMIT
    wait_until(lambda: updates_saved(tmp_path))
    victim = process_number(launched, 1)
    saved = max(updates_saved(tmp_path))
    os.kill(victim, signal.SIGKILL)
    killed_at = time.monotonic()
    wait_until(lambda: "restart 1 of 1" in said())
    assert time.monotonic() - killed_at < GRACE + 10
    assert "process 1 was killed by signal 9 (SIGKILL): process 0 must end within" in said()

    at_restart = updates_saved(tmp_path)
    assert max(at_restart) >= saved
    wait_until(lambda: max(updates_saved(tmp_path)) > max(at_restart))
    launched.send_signal(signal.SIGTERM)
    assert launched.wait(deadline - time.monotonic()) == 130, said()
    with (tmp_path / "run" / "metrics.csv").open(newline="") as rows:
        updates = [int(row["update"]) for row in csv.DictReader(rows)]
    assert updates == list(range(1, max(updates_saved(tmp_path)) + 1))
