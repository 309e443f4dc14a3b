"""The command line: `s5rl COMMAND`."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence

import tyro

from s5rl import __version__
from s5rl.commands.check import check
from s5rl.commands.console import refuse, warn
from s5rl.commands.cores import cores
from s5rl.commands.envs import envs
from s5rl.commands.evaluate import evaluate
from s5rl.commands.export import export
from s5rl.commands.launch import launch_command
from s5rl.commands.plot import plot
from s5rl.commands.report_card import report_card
from s5rl.commands.resume import resume
from s5rl.commands.train import train_command
from s5rl.conformance import UnhashableCoreError
from s5rl.training import CheckpointError, NonFiniteError, RunDirectoryError, TableError
from s5rl.training.distributed import end_soon

COMMANDS: dict[str, Callable[..., int]] = {
    "train": train_command([]),
    "launch": launch_command([]),
    "resume": resume,
    "evaluate": evaluate,
    "plot": plot,
    "export": export,
    "envs": envs,
    "cores": cores,
    "check": check,
    "report-card": report_card,
}
"""What each command runs; the result is the exit status."""

FAILED, REFUSED, INTERRUPTED = 1, 2, 130
"""Exit statuses: something went wrong on the way, was asked wrongly, or was stopped by Ctrl-C."""

TRACEBACK = "S5RL_TRACEBACK"
"""The variable of the environment that turns messages back into errors of Python."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits with its status.

    Args:
      arguments: the words after `s5rl`, by default those of the process.

    Raises:
      SystemExit: always.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    status = FAILED
    try:
        with warnings.catch_warnings():
            warnings.showwarning = warn
            status = _status(words)
    finally:
        if status not in (0, INTERRUPTED):
            end_soon(status)
    sys.exit(status)


def _status(words: list[str]) -> int:
    """Runs a command; an error that explains itself is shown without its traceback."""
    try:
        return _run(words)
    except KeyboardInterrupt as stop:
        return refuse(str(stop) or "stopped.", INTERRUPTED)
    except (NonFiniteError, CheckpointError) as error:
        return _explain(error, FAILED)
    except (ValueError, ImportError, OSError, RunDirectoryError, TableError, UnhashableCoreError) as error:
        return _explain(error, REFUSED)


def _run(words: list[str]) -> int:
    if words == ["--version"]:
        print(f"s5rl {__version__}")
        return 0
    commands = dict(COMMANDS)
    if words[:1] == ["train"]:
        commands["train"] = train_command(words[1:])
    if words[:1] == ["launch"] and "--" in words:
        words, behind = words[: words.index("--")], words[words.index("--") + 1 :]
        commands["launch"] = launch_command(behind)
    return tyro.extras.subcommand_cli_from_dict(
        commands, prog="s5rl", description="Memory for reinforcement learning in JAX.", args=words
    )


def _explain(error: Exception, status: int) -> int:
    if os.environ.get(TRACEBACK):
        raise error
    return refuse(str(error), status)
