"""What the commands of `s5rl` say alike."""

from __future__ import annotations

from typing import Any

from rich.console import Console


def refuse(message: str, status: int = 2) -> int:
    """Prints on stderr why a command does nothing, or has failed; returns its exit status.

    Args:
      message: for the user.
      status: 2 for what was asked wrongly, 1 for what went wrong.
    """
    Console(stderr=True).print(message, style="bold red", markup=False, highlight=False, soft_wrap=True)
    return status


def say(*lines: Any) -> None:
    """Prints texts, which may be copied since no line is broken, and tables."""
    console = Console(highlight=False, markup=False)
    for line in lines:
        console.print(line, soft_wrap=isinstance(line, str))


def warn(message: Warning | str, *_: Any, **__: Any) -> None:
    """Prints a warning on stderr; takes the place of `warnings.showwarning`."""
    Console(stderr=True).print(f"Warning: {message}", style="yellow", markup=False, highlight=False)
