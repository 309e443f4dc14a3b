"""Running `s5rl` in this process."""

from __future__ import annotations

import contextlib
import io
from typing import NamedTuple

import jax
import pytest

from s5rl.cli import main


class Outcome(NamedTuple):
    """What a command has left behind."""

    status: int
    shown: str
    complaint: str
    """What it said on stderr, in one line."""


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """A cache that was chosen already, which commands do not change for that of the user."""
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("programs")))


@pytest.fixture(scope="session")
def s5rl():
    """Runs a command in 80 columns."""

    def run(*words):
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.setenv("COLUMNS", "80")
            with pytest.raises(SystemExit) as exit_:
                main([str(word) for word in words])
        return Outcome(exit_.value.code, out.getvalue(), " ".join(err.getvalue().replace("│", " ").split()))

    return run
