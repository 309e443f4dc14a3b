"""Growth of cost with the length of sequences: the paper's Table 1 as measured facts.

Time and memory of a forward and backward pass of one layer, width 256, batch 1, over T, beside the paper's
formulation of S5, in turns: medians of CPU time of one core. The exponent is the slope of a straight line
through their logarithms for T >= 512. Acting is measured after T steps.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import machine
import numpy as np
import paper
import report
import tyro
from rich.progress import track

from s5rl.cores import AttentionCore, LSTMCore, RecurrentCore, ResettableS5Core
from s5rl.plots import Curve, Panel, plot_panels
from s5rl.types import Array
from s5rl.validation import check_positive

WIDTH = 256
Curves = dict[str, list[float]]
"""What was measured over T, by core."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Measures time and memory over T on one core of the CPU."""

    max_steps: int = 4096
    """The longest sequence; the lengths are powers of two from 128."""
    repeats: int = 5
    """Measurements of each contender; all contenders take turns."""
    page: Path | None = None
    """Markdown file to write, with a picture of the same name beside it."""

    def __post_init__(self) -> None:
        check_positive(max_steps=self.max_steps, repeats=self.repeats)
        if self.max_steps < 1024:
            raise ValueError(f"--max-steps must be at least 1024 for a slope, got {self.max_steps}.")

    @property
    def lengths(self) -> list[int]:
        """All T."""
        return [2**n for n in range(7, int(np.log2(self.max_steps)) + 1)]


def cores(num_steps: int) -> dict[str, RecurrentCore]:
    """Returns one layer of each kind."""
    return {
        "S5, the paper's": paper.PaperS5Core(WIDTH, WIDTH, 1),
        "S5": ResettableS5Core(WIDTH, WIDTH, 1),
        "LSTM": LSTMCore(WIDTH),
        "attention, window 128": AttentionCore(num_layers=1, window=128),
        "attention, full": AttentionCore(num_layers=1, window=num_steps),
    }


def training(core: RecurrentCore, num_steps: int) -> tuple[functools.partial[Any], int]:
    """Returns a compiled pass and the bytes that it holds beside its arguments."""

    def value(params: Any, inputs: Array) -> Array:
        return jnp.sum(jnp.square(core.unroll(params, inputs, core.initial_state(1))[0]))

    arguments = core.init(jax.random.key(0), WIDTH), jnp.ones((num_steps, 1, WIDTH))
    program = jax.jit(jax.grad(value)).lower(*arguments).compile()
    memory = program.memory_analysis()
    assert memory is not None, "the CPU gives it"
    return functools.partial(program, *arguments), memory.temp_size_in_bytes


def acting(core: RecurrentCore, num_steps: int) -> functools.partial[Any]:
    """Returns 64 compiled steps behind a memory of T steps."""
    params = core.init(jax.random.key(0), WIDTH)
    prepared = jax.jit(core.prepare)(params)
    inputs = jnp.ones((1, WIDTH))
    state = jax.jit(core.unroll)(params, jnp.ones((num_steps, 1, WIDTH)), core.initial_state(1))[1]

    @jax.jit
    def run(prepared: Any, state: Any) -> Array:
        def body(state: Any, _: None) -> tuple[Any, Array]:
            outputs, state = core.step(prepared, inputs, state)
            return state, outputs[0, 0]

        return jax.lax.scan(body, state, None, 64)[1]

    return functools.partial(run, prepared, state)


def warm_seconds(run: Callable[[], Any]) -> float:
    """Returns the CPU time of a second call: what ran before the first one has filled the caches."""
    jax.block_until_ready(run())
    return machine.cpu_seconds(run)


def exponent(lengths: list[int], values: list[float]) -> float:
    """Returns the slope of log(values) over log(T), from T = 512 on."""
    start = lengths.index(512)
    return float(np.polyfit(np.log(lengths[start:]), np.log(values[start:]), 1)[0])


def main() -> None:
    """Measures, prints the tables, writes the page and the picture."""
    settings = tyro.cli(Settings, description=__doc__)
    load_before = machine.load()
    lengths = settings.lengths
    names = list(cores(1))
    seconds, memory, steps = (Curves({name: [] for name in names}) for _ in range(3))
    with machine.one_core():
        for num_steps in track(lengths, "measuring"):
            passes = {name: training(core, num_steps) for name, core in cores(num_steps).items()}
            acts = {name: acting(core, num_steps) for name, core in cores(num_steps).items()}
            turns = [
                {name: (warm_seconds(passes[name][0]), warm_seconds(acts[name])) for name in names}
                for _ in range(settings.repeats + 1)
            ]
            for name in names:
                # The first turn has warmed up what all share.
                seconds[name].append(median(turn[name][0] for turn in turns[1:]))
                memory[name].append(passes[name][1])
                steps[name].append(median(turn[name][1] / 64 for turn in turns[1:]))
        conditions = machine.conditions(load_before)
    conditions += f"\nMedians of {settings.repeats}. Written by `benchmarks/scaling.py`."
    sections = []
    for title, unit, scale, values in (
        ("Time of training", "ms", 1e3, seconds),
        ("Memory of training", "MB", 1e-6, memory),
        ("Time of one step of acting", "µs", 1e6, steps),
    ):
        headings = ("T", *(f"{length} ({unit})" for length in lengths), "exponent, T >= 512")
        rows = [
            (name, *(f"{scale * x:.4g}" for x in of_name), f"{exponent(lengths, of_name):.2f}")
            for name, of_name in values.items()
        ]
        sections.append(report.Section(title, "One layer, width 256, batch 1.", headings, rows))
    if settings.page is not None:
        picture = settings.page.with_suffix(".png")
        plot(lengths, seconds, memory, steps, picture)
        conditions += f"\n\n![Time and memory over the length of the sequence]({picture.name})"
    report.publish("Growth with T", sections, conditions, settings.page)


def plot(lengths: list[int], seconds: Curves, memory: Curves, steps: Curves, file: Path) -> None:
    """Draws what was measured over T, by core, in logarithms."""
    measured = (
        ("time of training", "seconds", seconds),
        ("memory of training", "bytes", memory),
        ("time of a step of acting", "seconds", steps),
    )
    panels = []
    for title, unit, values in measured:
        curves = {
            name: Curve(np.log2(lengths).tolist(), *([np.log10(of_name).tolist()] * 3))
            for name, of_name in values.items()
        }
        panels.append(Panel(title, "log2 T", f"log10 {unit}", curves))
    plot_panels(panels, file)


if __name__ == "__main__":
    main()
