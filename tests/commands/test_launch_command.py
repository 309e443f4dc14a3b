"""What `s5rl launch` starts, and what it refuses; how processes are watched is tested in tests/launching."""

from __future__ import annotations

import sys

import pytest

from s5rl.commands.launch import commands

TRAIN = ["train", "memory_chain", "--num-steps", "100"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["-n", "2"], "expected a `train` behind `--`, got ''"),
        (["-n", "2", "--", "evaluate", "runs/a b"], "got \"evaluate 'runs/a b'\""),
        (["-n", "0", "--", *TRAIN], "--num-processes must be an integer of at least 1, got 0."),
        (["-n", "2", "--grace", "-1", "--", *TRAIN], "--grace must be a number of at least 0, got -1.0."),
        (["-n", "2", "--timeout", "0", "--", *TRAIN], "--timeout must be a number above 0, got 0.0."),
        (["-n", "2", "--max-restarts", "-1", "--", *TRAIN], "--max-restarts must be a number of at least 0"),
    ],
)
def test_what_cannot_be_launched_is_refused(s5rl, words, complaint):
    outcome = s5rl("launch", *words)
    assert outcome.status == 2
    assert complaint in outcome.complaint


def test_the_processes_differ_in_their_index_and_meet_at_one_port():
    first, second = commands(TRAIN, 2)
    program = ["env", "JAX_LOCAL_DEVICE_IDS=0", sys.executable, "-m", "s5rl", *TRAIN]
    assert first[: len(program)] == program
    flags = first[len(program) :]
    coordinator = flags[flags.index("--coordinator") + 1]
    host, port = coordinator.split(":")
    assert (host, port.isdecimal()) == ("localhost", True)
    assert flags == [
        *("--distributed", "--coordinator", coordinator, "--num-processes", "2", "--process-index", "0")
    ]
    assert second == ["env", "JAX_LOCAL_DEVICE_IDS=1", *first[2:-1], "1"]
    assert commands(TRAIN, 2)[0] != first  # the port may still be taken
