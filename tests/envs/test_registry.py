"""Environments by name."""

from __future__ import annotations

import sys

import pytest

from s5rl.envs import DistractedCue, MemoryChain, environment_names, make_environment


def test_diagnostics():
    assert make_environment("memory_chain", memory_length=64) == MemoryChain(64)
    assert make_environment("memory_chain", memory_length=5, num_bits=2) == MemoryChain(5, 2)
    assert make_environment("distracted_cue", memory_length=5, noise=0.5) == DistractedCue(5, 0.5)


def test_bsuite_with_options(tmp_path):
    pytest.importorskip("bsuite")
    environment = make_environment("bsuite/bandit/0", results_dir=tmp_path)
    assert environment.action_spec().num_values == 11
    environment.reset()
    environment.step(0)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("memory_chian", r"unknown environment 'memory_chian'; the nearest are \['memory_chain'\]"),
        ("bsuit/catch/0", r"unknown environment 'bsuit/catch/0'; .*'bsuite/'"),
        ("bsuite", r"unknown environment 'bsuite'; the nearest are \['bsuite/'\]"),
        (
            "xyz",
            r"unknown environment 'xyz'; known are \['memory_chain', 'distr.*, 'projected_.*, 'popgym/'\]",
        ),
        ("bsuite/cach/0", r"unknown bsuite id 'cach/0'; .*'catch/0'"),
    ],
)
def test_unknown_names_list_the_nearest(name, message):
    with pytest.raises(ValueError, match=message):
        make_environment(name)


def test_options_that_an_environment_does_not_take_are_refused():
    with pytest.raises(TypeError, match="memory_size"):
        make_environment("memory_chain", memory_length=2, memory_size=3)


def test_every_name_is_listed_once():
    names = environment_names()
    assert len(names) == len(set(names))
    assert names[:2] == ["memory_chain", "distracted_cue"]
    assert sum(name.startswith("popgym/") for name in names) == 48
    for name in ("popgym/AutoencodeEasy", "popgym/VelocityOnlyCartPoleHard"):
        assert name in names
        make_environment(name)


def test_the_names_of_bsuite_are_listed_where_it_is_installed(monkeypatch):
    sweep = pytest.importorskip("bsuite.sweep")
    names = [name for name in environment_names() if name.startswith("bsuite/")]
    assert names == [f"bsuite/{bsuite_id}" for bsuite_id in sweep.SWEEP]
    monkeypatch.setitem(sys.modules, "bsuite", None)
    assert not any(name.startswith("bsuite/") for name in environment_names())
