"""The machine that a benchmark runs on: what it is, how to stay on one core of it, and its clock."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax


@contextlib.contextmanager
def one_core() -> Iterator[ThreadPoolExecutor]:
    """Confines this thread and all of JAX's to one core of the CPU, where the operating system (Linux) can.

    JAX must not have been used before: it starts its threads then, as many as there are cores.

    Yields:
      Threads that may use all cores, for compiling.
    """
    jax.config.update("jax_platforms", "cpu")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    jax.devices()
    with ThreadPoolExecutor(os.cpu_count(), initializer=_use_all_cores) as threads:
        yield threads


def _use_all_cores() -> None:
    """Frees this thread of what it inherited from one that was pinned."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))


def cpu_seconds(function: Callable[[], Any]) -> float:
    """Returns the CPU time of all threads of this process, until the result is there."""
    start = time.process_time()
    jax.block_until_ready(function())
    return time.process_time() - start


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
    """Returns on what was measured, and with what; called where it was measured, pinned or not.

    Args:
      load_before: the `load` before the run.
    """
    is_pinned = hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) == 1
    return (
        f"{cpu_model()}, {os.cpu_count()} CPUs, load {load_before:.1f} before the run (on a loaded machine, "
        "compare the ratios).\n"
        f"Python {platform.python_version()}, jax {jax.__version__} on {jax.default_backend()}, "
        + ("pinned to one core." if is_pinned else "not pinned to one core.")
    )
