"""Cost of unrolling: S5 beside the paper's formulation, and every core at about equal size.

Ratios are to the reference in the same row's group, measured in the same run, in turns: medians of CPU time
of one core. A layer is B_bar u, the recurrence and 2 Re(C x) + D u; a core adds gates and projections. Memory
is what the compiled program holds beside its arguments. The last column says which share of its time the
matrix products that cannot be avoided would take at the highest rate that this machine reached on one alone:
where it is near 100 %, nothing but a faster machine makes it faster.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import machine
import numpy as np
import paper
import report
import tyro
from rich.progress import track

from s5rl.cores import (
    AttentionCore,
    GRUCore,
    HaikuCore,
    LRUCore,
    LSTMCore,
    RecurrentCore,
    ResettableS5Core,
)
from s5rl.cores.diagonal_layer import PreparedLayer, layer_inputs, readout
from s5rl.cores.linear_recurrence import linear_recurrence
from s5rl.cores.recurrence_solvers import ComplexPair
from s5rl.cores.time_chunks import default_chunk_length, unroll_in_chunks
from s5rl.types import Array
from s5rl.validation import check_positive

LAYERS = (
    (1024, 8, 128),
    (128, 64, 128),
    (1024, 8, 256),
    (4096, 1, 128),
    (1024, 1, 128),
    (32, 1, 128),
)
"""T, B and P = H of the layers."""
SHAPES = ((1024, 8), (1024, 1), (32, 1))
"""T and B of the cores."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Measures forward and backward passes of S5 layers and of all cores on one core of the CPU."""

    repeats: int = 5
    """Measurements of each contender; all contenders of a group take turns."""
    only: str = ""
    """Measures only the groups whose name contains this."""
    page: Path | None = None
    """Markdown file to write."""

    def __post_init__(self) -> None:
        check_positive(repeats=self.repeats)


class Contender(NamedTuple):
    """A function of parameters and inputs, and how many multiplications its matrix products need."""

    name: str
    function: Callable[[Any, Array], Array]
    params: Any
    num_products: int
    """Multiply-adds of a forward pass in real matrix products; a training pass needs three times as many."""


class Compiled(NamedTuple):
    """What a contender costs before it runs."""

    run: Callable[[], Any]
    seconds: float
    num_bytes: int


def compile_(function: Callable[..., Any], *arguments: Any) -> Compiled:
    """Compiles a function, and runs it once."""
    start = time.process_time()
    program = jax.jit(function).lower(*arguments).compile()
    seconds = time.process_time() - start
    jax.block_until_ready(program(*arguments))
    memory = program.memory_analysis()
    assert memory is not None, "the CPU gives it"
    num_bytes = memory.temp_size_in_bytes + memory.output_size_in_bytes
    return Compiled(lambda: program(*arguments), seconds, num_bytes)


def measure(contenders: list[Contender], inputs: Array, repeats: int, rate: float) -> list[tuple[str, ...]]:
    """Returns a row for each contender; ratios are to the first."""
    weights = jax.random.normal(jax.random.key(1), jax.eval_shape(*contenders[0][1:3], inputs).shape)
    programs: list[tuple[Compiled, Compiled]] = []
    for contender in contenders:
        gradient = jax.grad(functools.partial(_value, contender.function, weights), argnums=(0, 1))
        arguments = contender.params, inputs
        programs.append((compile_(contender.function, *arguments), compile_(gradient, *arguments)))
    times: list[tuple[list[float], list[float]]] = [([], []) for _ in contenders]
    for _ in range(repeats):
        for pair, of_pair in zip(programs, times, strict=True):
            for program, of_program in zip(pair, of_pair, strict=True):
                jax.block_until_ready(program.run())  # what ran before it has filled the caches
                of_program.append(machine.cpu_seconds(program.run))
    rows = []
    for contender, (forward, both), (forward_times, both_times) in zip(
        contenders, programs, times, strict=True
    ):
        least = contender.num_products / rate
        rows.append(
            [
                median(forward_times),
                median(both_times),
                both.num_bytes / 1e6,
                forward.seconds + both.seconds,
                least / median(forward_times),
                3 * least / median(both_times),
            ]
        )
    table: list[tuple[str, ...]] = []
    for contender, row in zip(contenders, rows, strict=True):
        ratios = [first / own for first, own in zip(rows[0][:4], row[:4], strict=True)]
        table.append(
            (
                contender.name,
                f"{1e3 * row[0]:.2f}",
                f"{ratios[0]:.1f}x",
                f"{1e3 * row[1]:.2f}",
                f"{ratios[1]:.1f}x",
                f"{row[2]:.1f}",
                f"{ratios[2]:.1f}x",
                f"{row[3]:.1f}",
                f"{ratios[3]:.1f}x",
                f"{row[4]:.0%} / {row[5]:.0%}" if contender.num_products else "",
            )
        )
    return table


def _value(function: Callable[..., Array], weights: Array, params: Any, inputs: Array) -> Array:
    return jnp.vdot(weights, function(params, inputs))


HEADINGS = (
    "",
    "forward ms",
    "ratio",
    "forward + backward ms",
    "ratio",
    "memory MB",
    "ratio",
    "compile s",
    "ratio",
    "share of the matmul rate",
)


def matmul_rate() -> float:
    """Returns the multiply-adds per second of one real matrix product, the best of several sizes."""
    best = 0.0
    for rows, size in ((256, 256), (512, 256), (4096, 256), (1024, 1024)):
        x, w = jnp.ones((rows, size)), jnp.ones((size, size))
        repeats = max(1, 2**30 // (rows * size * size))
        run = functools.partial(jax.jit(_multiply, static_argnums=2), x, w, repeats)
        jax.block_until_ready(run())
        seconds = min(machine.cpu_seconds(run) for _ in range(5))
        best = max(best, repeats * rows * size * size / seconds)
    return best


def _multiply(x: Array, w: Array, repeats: int) -> Array:
    product: Array = jax.lax.fori_loop(0, repeats, lambda _, y: (y @ w) * 1e-3, x)
    return product


def layer(
    prepared: PreparedLayer, inputs: Array, state: ComplexPair, should_reset: Array
) -> tuple[Array, ComplexPair]:
    """Returns what a layer computes before its gates, and the final state."""
    decay, b = prepared.decay, layer_inputs(prepared, inputs, "none")
    re, im = linear_recurrence(decay, b, state, should_reset)
    return readout(prepared, inputs, (re, im)), (re[-1], im[-1])


def resets(num_steps: int, batch_size: int) -> Array:
    """Returns flags [T, B], one in a hundred set."""
    return jnp.asarray(np.random.default_rng(0).random((num_steps, batch_size)) < 0.01)


def layer_group(num_steps: int, batch_size: int, size: int) -> list[Contender]:
    """Returns the paper's layer and ours."""
    core = ResettableS5Core(2 * size, size, 1)
    prepared = core.prepare(core.init(jax.random.key(0), size)).layers[0]
    prepared = prepared._replace(rest={})
    (state,) = core.initial_state(batch_size)
    flags = resets(num_steps, batch_size)

    def ours(prepared: PreparedLayer, inputs: Array) -> Array:
        def unroll(inputs: Array, state: ComplexPair, flags: Array) -> tuple[Array, ComplexPair]:
            return layer(prepared, inputs, state, flags)

        return unroll_in_chunks(unroll, inputs, state, flags, default_chunk_length(batch_size))[0]

    def papers(layer: paper.ComplexLayer, inputs: Array) -> Array:
        return paper.unroll_layer(layer, inputs, jax.lax.complex(*state), flags)[0]

    products = num_steps * batch_size * 4 * size * size
    return [
        Contender("the paper's", papers, paper.ComplexLayer.of(prepared), products),
        Contender("ours", ours, prepared, products),
    ]


def lstm_400() -> hk.RNNCore:
    """Returns Haiku's LSTM of about 1.05M parameters."""
    return hk.LSTM(400)


CORES: dict[str, RecurrentCore] = {
    "S5 x 4, the paper's": paper.PaperS5Core(),
    "ResettableS5Core x 4": ResettableS5Core.popgym(),
    "LRUCore x 4": LRUCore.popgym(),
    "hk.LSTM(400), scanned": HaikuCore(lstm_400),
    "LSTMCore(400)": LSTMCore(400),
    "GRUCore(479)": GRUCore(479),
    "GRUCore(256)": GRUCore(256),
    "AttentionCore x 1": AttentionCore(num_layers=1),
}
"""Of about 1.05M parameters for inputs of 256 features, but the last two: 0.39M and 0.83M."""


def core_group(num_steps: int, batch_size: int) -> list[Contender]:
    """Returns all cores."""
    flags = resets(num_steps, batch_size)
    contenders = []
    for name, core in CORES.items():

        def unroll(params: Any, inputs: Array, core: RecurrentCore = core) -> Array:
            return jnp.sum(core.unroll(params, inputs, core.initial_state(batch_size), flags)[0], axis=-1)

        params = core.init(jax.random.key(0), 256)
        matrices = sum(leaf.size for leaf in jax.tree.leaves(params) if leaf.ndim == 2)
        contenders.append(Contender(name, unroll, params, num_steps * batch_size * matrices))
    return contenders


def main() -> None:
    """Measures every group, prints the tables and writes the page."""
    settings = tyro.cli(Settings, description=__doc__)
    load_before = machine.load()
    groups: dict[str, tuple[Callable[[], list[Contender]], tuple[int, ...]]] = {}
    for t, b, p in LAYERS:
        groups[f"layer, T={t}, B={b}, P=H={p}"] = functools.partial(layer_group, t, b, p), (t, b, p)
    for t, b in SHAPES:
        groups[f"cores, T={t}, B={b}, 256 features"] = functools.partial(core_group, t, b), (t, b, 256)
    chosen = [name for name in groups if settings.only in name]
    if not chosen:
        raise SystemExit(f"--only must be a part of one of {', '.join(groups)}; got {settings.only!r}.")
    sections = []
    with machine.one_core():
        rate = matmul_rate()
        for name in track(chosen, "measuring"):
            make, shape = groups[name]
            rows = measure(make(), jax.random.normal(jax.random.key(2), shape), settings.repeats, rate)
            sections.append(report.Section(name, "Ratios to the first row.", HEADINGS, rows))
        conditions = machine.conditions(load_before)
    conditions += (
        f"\nMedians of {settings.repeats}. The matrix product reached {2e-9 * rate:.0f} GFLOP/s. "
        "Written by `benchmarks/cores.py`.\n"
        "T steps, B sequences, P features, H complex modes. The last column says which share of its time, "
        "forward and forward + backward, the products that cannot be avoided would take at the rate of that "
        "matrix product."
    )
    report.publish("Cost of unrolling", sections, conditions, settings.page)


if __name__ == "__main__":
    main()
