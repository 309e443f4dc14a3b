"""Compiled programs are kept, found again, and change nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from s5rl import enable_compilation_cache
from s5rl.cli import main

HIT, COMPILED = "/jax/compilation_cache/cache_hits", "/jax/compilation_cache/cache_misses"
SETTINGS = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A user without caches, and a process that has enabled none; both as before when the test is done."""
    before = [getattr(jax.config, name) for name in SETTINGS]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    for name in SETTINGS:
        monkeypatch.delenv(name.upper(), raising=False)
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path
    for name, value in zip(SETTINGS, before, strict=True):
        jax.config.update(name, value)
    reset_cache()


@pytest.fixture
def events():
    """What JAX reports from now on."""
    seen, on = [], [True]
    jax.monitoring.register_event_listener(lambda event, **_: seen.append(event) if on else None)
    yield seen
    on.clear()


def programs(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*-cache")}


def compute():
    """Compiles two small programs as a new process would, and returns what they compute."""
    jax.clear_caches()
    x = jnp.linspace(0.1, 1, 7)
    return np.asarray(jax.jit(lambda x: jnp.sin(x).cumsum() / x)(x))


def test_programs_are_loaded_instead_of_compiled_and_results_are_equal(home, events):
    plain = compute()
    assert not programs(home)
    folder = enable_compilation_cache()
    assert folder is not None
    assert folder.is_relative_to(home)
    assert folder.parts[-2:] == ("s5rl", "compilation")
    assert COMPILED not in events
    stored = compute()
    kept = programs(folder)
    assert kept
    assert events.count(COMPILED) == len(kept)
    events.clear()
    loaded = compute()
    assert (HIT in events, COMPILED in events) == (True, False)
    assert programs(folder) == kept
    for result in (stored, loaded):
        np.testing.assert_array_equal(result, plain)


def test_only_the_user_may_write(home):
    assert enable_compilation_cache().stat().st_mode & 0o777 == 0o700


def test_a_folder_of_ones_own_may_come_later(home):
    enable_compilation_cache()
    compute()
    assert enable_compilation_cache(home / "mine") == home / "mine"
    compute()
    assert programs(home / "mine")


def test_what_the_user_has_set_stays(home):
    jax.config.update("jax_compilation_cache_dir", str(home / "chosen"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 7.0)
    assert enable_compilation_cache() == home / "chosen"
    assert [getattr(jax.config, name) for name in SETTINGS] == [str(home / "chosen"), 7.0]
    assert not (home / ".cache").exists()


@pytest.mark.parametrize("folder", [None, "file/folder"])
def test_a_folder_that_cannot_be_used_is_a_warning_that_names_it(home, monkeypatch, folder):
    (home / "file").touch()
    monkeypatch.setenv("HOME", str(home / "file"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
    with pytest.warns(UserWarning, match="compiled programs are not kept: .*file.* cannot be used: ") as seen:
        assert enable_compilation_cache(folder and home / folder) is None
    assert seen[0].filename == __file__
    compute()


def test_old_programs_go_from_the_folder_that_nobody_looks_after(home):
    folder = enable_compilation_cache()
    compute()
    old = next(folder.glob("*-cache"))
    month = 31 * 24 * 3600
    os.utime(old, (time.time() - month,) * 2)
    jax.config.update("jax_compilation_cache_dir", None)
    kept = set(programs(folder)) - {old.name}
    enable_compilation_cache()
    assert set(programs(folder)) == kept != set()
    os.utime(next(folder.glob("*-cache")), (0, 0))
    enable_compilation_cache(folder)
    assert set(programs(folder)) == kept


def test_a_damaged_program_is_compiled_again(home):
    folder = enable_compilation_cache()
    expected = compute()
    for file in folder.glob("*-cache"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    reset_cache()
    with pytest.warns(UserWarning, match="Error reading persistent compilation cache entry"):
        np.testing.assert_array_equal(compute(), expected)


def test_on_macos_it_takes_jax_0_10(home, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(jax, "__version_info__", (0, 9, 2))
    with pytest.warns(UserWarning, match="it takes jax 0.10 on macOS"):
        assert enable_compilation_cache() is None
    assert jax.config.jax_compilation_cache_dir is None


def test_a_flag_switches_it_off(home, capsys):
    for words, is_on in ((["--no-compilation-cache"], False), ([], True)):
        with pytest.raises(SystemExit) as exit_:
            main(["envs", "memory_chain", *words])
        assert exit_.value.code == 0
        assert bool(programs(home)) == is_on
        assert (jax.config.jax_compilation_cache_dir is not None) == is_on


COUNTING = f"""
import sys, jax
from s5rl.cli import main
counts = dict.fromkeys([{HIT!r}, {COMPILED!r}], 0)
def count(event, **_):
    if event in counts:
        counts[event] += 1
jax.monitoring.register_event_listener(count)
try:
    main()
finally:
    print(*counts.values())
"""


def train(home: Path, name: str) -> tuple[int, int]:
    """Trains in a process of its own, and returns how many programs were loaded and compiled."""
    words = "memory_chain --env memory_length=2 --num-steps 32 --num-envs 2 --unroll-length 8 --algorithm a2c"
    core = "--core gru --core.hidden-size 4 --torso-sizes 4"
    process = subprocess.run(
        [sys.executable, "-c", COUNTING, "train", *words.split(), *core.split(), "--directory", name],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    hits, compiled = process.stdout.split()[-2:]
    return int(hits), int(compiled)


def test_a_second_process_compiles_nothing_and_trains_alike(home):
    _, compiled = train(home, "first")
    assert compiled > 10
    kept = programs(home)
    hits, compiled_again = train(home, "second")
    assert (hits >= compiled, compiled_again) == (True, 0)
    assert programs(home) == kept
    first, second = ((home / name / "metrics.csv").read_bytes() for name in ("first", "second"))
    assert first == second
