"""Cost of acting: microseconds a step, in a Python loop and inside a compiled scan, for every core.

Ratios are to the paper's formulation of S5 with four layers, in the same run, in turns: medians of CPU time
of one core. Weights are prepared once, as agents do for a rollout.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import jax
import machine
import paper
import report
import tyro
from rich.progress import track

from s5rl.cores import AttentionCore, GRUCore, LRUCore, LSTMCore, RecurrentCore, ResettableS5Core
from s5rl.types import Array, CoreState
from s5rl.validation import check_positive, check_sizes

CORES: dict[str, RecurrentCore] = {
    "S5 x 4, the paper's": paper.PaperS5Core(),
    "ResettableS5Core x 4": ResettableS5Core.popgym(),
    "LRUCore x 4": LRUCore.popgym(),
    "LSTMCore(256)": LSTMCore(),
    "GRUCore(256)": GRUCore(),
    "AttentionCore x 2, window 128": AttentionCore(),
    "AttentionCore x 2, window 1024": AttentionCore(window=1024),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Measures one step of acting of every core on one core of the CPU."""

    batch_sizes: tuple[int, ...] = (1, 64)
    """Numbers of environments that act at once."""
    steps: int = 50
    """Steps of one measurement."""
    repeats: int = 5
    """Measurements of each contender; all contenders take turns."""
    page: Path | None = None
    """Markdown file to write."""

    def __post_init__(self) -> None:
        check_sizes("batch_sizes", self.batch_sizes, at_least=1)
        check_positive(steps=self.steps, repeats=self.repeats)


def loops(
    core: RecurrentCore, batch_size: int, num_steps: int
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Returns acting in a Python loop, and inside a scan; both compiled."""
    prepared = jax.jit(core.prepare)(core.init(jax.random.key(0), 256))
    inputs = jax.random.normal(jax.random.key(1), (batch_size, 256))
    flags = jax.numpy.zeros(batch_size, bool)
    state = core.initial_state(batch_size)
    step = jax.jit(core.step)

    def in_python() -> Array:
        state, outputs = core.initial_state(batch_size), inputs
        for _ in range(num_steps):
            outputs, state = step(prepared, inputs, state, flags)
        return outputs

    @jax.jit
    def in_scan(prepared: Any, inputs: Array, state: CoreState) -> Array:
        def body(state: CoreState, _: None) -> tuple[CoreState, Array]:
            outputs, state = core.step(prepared, inputs, state, flags)
            return state, outputs[:, 0]

        return jax.lax.scan(body, state, None, num_steps)[1]

    return in_python, functools.partial(in_scan, prepared, inputs, state)


def measure(batch_size: int, settings: Settings) -> list[tuple[str, ...]]:
    """Returns a row for each core; ratios are to the first."""
    contenders = [loops(core, batch_size, settings.steps) for core in CORES.values()]
    for pair in contenders:
        for run in pair:
            jax.block_until_ready(run())
    times: list[tuple[list[float], list[float]]] = [([], []) for _ in contenders]
    for _ in track(range(settings.repeats), f"batch {batch_size}"):
        for pair, of_pair in zip(contenders, times, strict=True):
            for run, of_run in zip(pair, of_pair, strict=True):
                of_run.append(1e6 * machine.cpu_seconds(run) / settings.steps)
    first = [median(of_run) for of_run in times[0]]
    rows: list[tuple[str, ...]] = []
    for name, (python, scan) in zip(CORES, times, strict=True):
        rows.append(
            (
                name,
                f"{median(python):.0f}",
                f"{first[0] / median(python):.1f}x",
                f"{median(scan):.0f}",
                f"{first[1] / median(scan):.1f}x",
            )
        )
    return rows


def main() -> None:
    """Measures, prints the tables and writes the page."""
    settings = tyro.cli(Settings, description=__doc__)
    load_before = machine.load()
    headings = ("", "Python loop, µs", "ratio", "inside a scan, µs", "ratio")
    with machine.one_core():
        sections = [
            report.Section(f"Batch {size}", "Microseconds a step.", headings, measure(size, settings))
            for size in settings.batch_sizes
        ]
        conditions = machine.conditions(load_before)
    conditions += (
        f"\nMedians of {settings.repeats}, {settings.steps} steps each. Written by `benchmarks/acting.py`."
    )
    report.publish("Cost of acting", sections, conditions, settings.page)


if __name__ == "__main__":
    main()
