"""The linear recurrence on an NVIDIA GPU: the Pallas kernel beside associative scan and the memory floor.

First the kernel is checked against a loop in complex128 on the CPU, in both directions. Then
`linear_recurrence` is timed with either implementation, forward and forward+backward (gradients of decay,
inputs and state). Times are wall times of one call among many that were queued together, medians of the
repeats, compilation excluded; the contenders take turns.

The floor is what must move through memory at the speed of a large copy that is timed in the same run: with
U = 8 T B P bytes, one pass over the states, 2 U forward and 5 U forward+backward. Where a problem fits into
the cache of the GPU, a time can be below it.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import machine
import numpy as np
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table

from s5rl.compat import supports_gpu_kernels
from s5rl.cores.gpu_recurrence import solve_on_gpu
from s5rl.cores.linear_recurrence import linear_recurrence
from s5rl.types import Array
from s5rl.validation import check_positive

IMPLEMENTATIONS = ("associative", "pallas")
PASSES = {"forward": 2, "forward+backward": 5}
"""How often the states move through memory at least, in units of U."""
TOLERANCE = 1e-5
"""Of max|a - b| / max|b|, in float32."""
COPY_BYTES = 2**30


@dataclasses.dataclass(frozen=True)
class Settings:
    """Checks and measures the recurrence on an NVIDIA GPU."""

    sizes: tuple[tuple[int, int, int], ...] = (
        (1024, 8, 128),
        (4096, 1, 128),
        (128, 64, 128),
        (1024, 64, 128),
        (1024, 256, 128),
        (1024, 64, 256),
    )
    """T, B and P, the number of complex modes, of each problem."""
    reset_rate: float = 0.01
    """Probability of a reset at each step."""
    calls: int = 50
    """Calls that are queued together."""
    repeats: int = 9
    """Measurements of each contender."""

    def __post_init__(self) -> None:
        check_positive(calls=self.calls, repeats=self.repeats)
        for size in self.sizes:
            check_positive(**dict(zip("TBP", size, strict=True)))


class Problem(NamedTuple):
    """Random arguments of the recurrence in complex128, exact in float32."""

    decay: np.ndarray
    inputs: np.ndarray
    state: np.ndarray
    should_reset: np.ndarray


class Measurement(NamedTuple):
    """The medians of one problem and one kind of pass, in seconds."""

    size: tuple[int, int, int]
    kind: str
    floor: float
    seconds: dict[str, float]
    """By implementation."""


def make_problem(size: tuple[int, int, int], reset_rate: float) -> Problem:
    """Returns a problem with decays just inside of the unit circle, as those of S5 are."""
    rng = np.random.default_rng(0)

    def exact(x: np.ndarray) -> np.ndarray:
        return x.astype(np.complex64).astype(np.complex128)

    def draw(*shape: int) -> np.ndarray:
        return exact(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))

    decay = rng.uniform(0.9, 0.999, size[-1]) * np.exp(1j * rng.uniform(-3, 3, size[-1]))
    return Problem(exact(decay), draw(*size), draw(*size[1:]), rng.random(size[:-1]) < reset_rate)


def pair(x: np.ndarray) -> tuple[Array, Array]:
    """Returns real and imaginary part in float32."""
    return jnp.asarray(x.real, jnp.float32), jnp.asarray(x.imag, jnp.float32)


def deviation(problem: Problem, reverse: bool) -> float:
    """Returns max|a - b| / max|b| of the kernel's states a and those b of a loop on the CPU."""
    times = range(len(problem.inputs))
    expected, state = np.zeros_like(problem.inputs), np.zeros_like(problem.state)
    for t in reversed(times) if reverse else times:
        state = np.where(problem.should_reset[t, :, None], 0, state)
        expected[t] = state = problem.inputs[t] + problem.decay * state
    solve = jax.jit(lambda *x: solve_on_gpu(*x, reverse=reverse))
    re, im = solve(pair(problem.decay), pair(problem.inputs), jnp.asarray(problem.should_reset))
    return float(np.abs(np.asarray(re) + 1j * np.asarray(im) - expected).max() / np.abs(expected).max())


def check(problem: Problem) -> None:
    """Ends the benchmark if the kernel is wrong."""
    for reverse in (False, True):
        error = deviation(problem, reverse)
        if not error <= TOLERANCE:
            raise SystemExit(
                f"The kernel is wrong at T, B, P = {problem.inputs.shape}, reverse={reverse}: it deviates "
                f"from float64 by {error:.1e} of the largest state, at most {TOLERANCE:.0e} is allowed."
            )


def compile_passes(problem: Problem, implementation: str) -> dict[str, Callable[[], Any]]:
    """Returns a call for each kind of pass, compiled and run once."""
    variables = (pair(problem.decay), pair(problem.inputs), pair(problem.state))
    cotangents = pair(np.ones_like(problem.inputs))
    should_reset = jnp.asarray(problem.should_reset)

    def forward(decay: Any, inputs: Any, state: Any, should_reset: Array, cotangents: Any) -> Any:
        del cotangents
        return linear_recurrence(decay, inputs, state, should_reset, implementation)

    def forward_and_backward(*arguments: Any) -> Any:
        *variables, should_reset, cotangents = arguments
        states, pullback = jax.vjp(
            lambda decay, inputs, state: forward(decay, inputs, state, should_reset, None), *variables
        )
        return states, pullback(cotangents)

    arguments = (*variables, should_reset, cotangents)
    calls: dict[str, Callable[[], Any]] = {}
    for kind, function in zip(PASSES, (forward, forward_and_backward), strict=True):
        compiled = jax.jit(function).lower(*arguments).compile()
        jax.block_until_ready(compiled(*arguments))
        calls[kind] = functools.partial(compiled, *arguments)
    return calls


def seconds_per_call(call: Callable[[], Any], calls: int) -> float:
    """Returns the wall time of one of so many calls; the GPU runs them one after the other."""
    start = time.perf_counter()
    for _ in range(calls - 1):
        call()
    jax.block_until_ready(call())
    return (time.perf_counter() - start) / calls


def copy_bandwidth(settings: Settings) -> float:
    """Returns bytes a second that a large copy reads and writes."""
    add = jax.jit(lambda x: x + 1)
    source = jax.block_until_ready(add(jnp.zeros(COPY_BYTES // 4, jnp.float32)))
    return 2 * COPY_BYTES / median(seconds_per_call(lambda: add(source), 5) for _ in range(settings.repeats))


def measure(settings: Settings, size: tuple[int, int, int], bandwidth: float) -> list[Measurement]:
    """Checks the kernel at one size, and returns the medians of each kind of pass."""
    problem = make_problem(size, settings.reset_rate)
    check(problem)
    calls = {name: compile_passes(problem, name) for name in IMPLEMENTATIONS}
    measurements = []
    for kind, num_passes in PASSES.items():
        turns = [
            {name: seconds_per_call(calls[name][kind], settings.calls) for name in IMPLEMENTATIONS}
            for _ in range(settings.repeats)
        ]
        medians = {name: median(turn[name] for turn in turns) for name in IMPLEMENTATIONS}
        floor = num_passes * 8 * int(np.prod(size)) / bandwidth
        measurements.append(Measurement(size, kind, floor, medians))
    return measurements


def results_table(measurements: list[Measurement]) -> Table:
    """Returns a line for each problem and kind of pass, in microseconds."""
    table = Table("T", "B", "P", "pass", title="The recurrence, microseconds a call")
    for heading in ("floor", *IMPLEMENTATIONS, "speed-up", "of floor"):
        table.add_column(heading, justify="right")
    for size, kind, floor, seconds in measurements:
        table.add_row(
            *map(str, size),
            kind,
            *(f"{1e6 * value:.1f}" for value in (floor, *(seconds[name] for name in IMPLEMENTATIONS))),
            f"{seconds['associative'] / seconds['pallas']:.2f}",
            f"{seconds['pallas'] / floor:.2f}",
        )
    return table


def main() -> None:
    """Runs the benchmark and prints a table and the conditions."""
    settings = tyro.cli(Settings, description=__doc__)
    load_before = machine.load()
    if jax.default_backend() != "gpu":
        print(f"Nothing is measured: this needs an NVIDIA GPU, and jax runs on {jax.default_backend()} here.")
        return
    if not supports_gpu_kernels():
        print(f"Nothing is measured: the kernel needs newer than jax {jax.__version__} and {jax.devices()}.")
        return
    bandwidth = copy_bandwidth(settings)
    measurements = [
        measurement
        for size in track(settings.sizes, "measuring")
        for measurement in measure(settings, size, bandwidth)
    ]
    console = Console()
    console.print(results_table(measurements))
    console.print(
        f"{jax.devices()[0].device_kind}, a copy moves {bandwidth / 1e9:.0f} GB/s.\n"
        f"{machine.conditions(load_before)}\n"
        f"Medians of {settings.repeats} times {settings.calls} calls in turns, compilation excluded; the "
        f"kernel is within {TOLERANCE:.0e} of float64 at every size.",
        highlight=False,
        markup=False,
    )


if __name__ == "__main__":
    main()
