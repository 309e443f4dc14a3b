"""The machine that a benchmark runs on: what it is, and how to stay on one core of it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import jax


def pin_to_one_core() -> bool:
    """Confines this thread, and those that it starts from now on, to one core.

    JAX starts its threads when it is first used, as many as there are cores then.

    Returns:
      Whether the operating system can do it; Linux can.
    """
    if not hasattr(os, "sched_setaffinity"):
        return False
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    return True


def use_all_cores() -> None:
    """Frees this thread of what it inherited from one that was pinned."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))


def cpu_model() -> str:
    """Returns the name that the operating system gives to the processor."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def load() -> float:
    """Returns how many processes wanted to run in the last minute, this one included."""
    return os.getloadavg()[0]


def conditions(load_before: float) -> str:
    """Returns on what was measured, and with what.

    Args:
      load_before: the `load` before the run.
    """
    return (
        f"{cpu_model()}, {os.cpu_count()} CPUs, load {load_before:.1f} before the run (on a loaded machine, "
        "compare the ratios).\n"
        f"Python {platform.python_version()}, jax {jax.__version__} on {jax.default_backend()}."
    )
