"""What the commands of `s5rl` say alike."""

from __future__ import annotations

from rich.console import Console


def refuse(message: str) -> int:
    """Prints on stderr why a command does nothing; returns its exit status."""
    Console(stderr=True).print(message, style="bold red", markup=False, highlight=False)
    return 2
