"""Running `s5rl` in this process."""

from __future__ import annotations

import contextlib
import io
from typing import NamedTuple

import pytest

from s5rl.cli import main


class Outcome(NamedTuple):
    """What a command has left behind."""

    status: int
    shown: str
    complaint: str
    """What it said on stderr, in one line."""


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
