"""Memory of an update at several budgets: what `train(memory_budget=...)` chooses, needs, takes and lasts.

What an update needs is what the compiler says of its program; what it takes is the peak that was seen. Each
budget has a process of its own, since the peak of a process never falls. What needs more than --run-up-to is
compiled, but not run. On a CPU the peak is that of the whole process, with Python, JAX and the compiler: the
peak before the first update stands beside it. On other devices it is what JAX says of the device.

By default the sizes are those of the paper's meta-RL experiment: 1024 environments, 10 layers, 1000 slots.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import resource
import time
from typing import Literal, NamedTuple

import jax
import machine
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from s5rl import make_agent, make_environment
from s5rl.agents import A2CConfig, PPOConfig
from s5rl.cores import ResettableS5Core
from s5rl.envs import JaxEnvironment
from s5rl.training.compiled_loop import CompiledLoop
from s5rl.training.fit_to_memory import fit_to_memory
from s5rl.training.layout import make_layout
from s5rl.training.memory_needed import format_bytes, parse_bytes
from s5rl.types import EnvironmentSpec

NO_BUDGET = 2**62


@dataclasses.dataclass(frozen=True)
class Settings:
    """Compiles and runs updates of S5 within budgets of memory."""

    budgets: tuple[str, ...] = ("none", "8GiB", "2GiB")
    """Of memory; "none" for no limit."""
    algorithm: Literal["ppo", "a2c"] = "ppo"
    """With its default settings, but for those that follow."""
    num_envs: int = 1024
    """Environments that act in parallel."""
    unroll_length: int = 1000
    """Slots of a trajectory."""
    num_layers: int = 10
    """Of S5, of 256 features and 256 states."""
    chunk_length: int | None = None
    """Of S5; the unroll length for no chunks of time, as on a GPU."""
    num_epochs: int = 1
    """Passes of PPO over a trajectory: they change the time only."""
    num_minibatches: int = 8
    """Parts of a pass of PPO."""
    num_updates: int = 1
    """Updates that are timed; there is no warm-up."""
    environment: str = "popgym/RepeatPreviousEasy"
    """Where they act; any name of a JaxEnvironment."""
    run_up_to: str = "10GiB"
    """What needs more is not run."""

    @property
    def config(self) -> PPOConfig | A2CConfig:
        """The settings of the algorithm."""
        if self.algorithm == "a2c":
            return A2CConfig(num_envs=self.num_envs, unroll_length=self.unroll_length)
        return PPOConfig(
            num_envs=self.num_envs,
            unroll_length=self.unroll_length,
            num_epochs=self.num_epochs,
            num_minibatches=self.num_minibatches,
        )


class Measurement(NamedTuple):
    """What came out for one budget; None where it was not run."""

    choice: str
    num_bytes: int
    """What the update needs, by the compiler's account."""
    fitting_seconds: float
    """Until the program was chosen and compiled."""
    peak_before: int | None
    peak: int | None
    seconds: float | None
    """Of an update."""


def measure(settings: Settings, budget: str) -> Measurement:
    """Chooses, compiles and runs; in a process of its own."""
    environment = make_environment(settings.environment)
    if not isinstance(environment, JaxEnvironment):
        raise SystemExit(f"--environment must name a JaxEnvironment, got {settings.environment!r}.")
    core = ResettableS5Core(num_layers=settings.num_layers, chunk_length=settings.chunk_length)
    agent = make_agent(
        EnvironmentSpec.from_environment(environment),
        core=core,
        algorithm=settings.algorithm,
        config=settings.config,
    )
    layout = make_layout(1, settings.num_envs, 1)
    loop = CompiledLoop(agent, environment, settings.num_envs, np.asarray(0), layout)
    num_bytes = NO_BUDGET if budget == "none" else parse_bytes("--budgets", budget)
    start = time.perf_counter()
    fitted = fit_to_memory(loop, agent, settings.num_envs, num_bytes, num_shares=1)
    fitting_seconds = time.perf_counter() - start
    chosen = Measurement(
        "all rows" if fitted.microbatch_size is None else str(fitted.microbatch_size),
        fitted.needed,
        fitting_seconds,
        None,
        None,
        None,
    )
    if chosen.num_bytes > parse_bytes("--run-up-to", settings.run_up_to):
        return chosen
    peak_before, start = peak(), time.perf_counter()
    for _ in range(settings.num_updates):
        loop.advance(1)
    seconds = (time.perf_counter() - start) / settings.num_updates
    return chosen._replace(peak_before=peak_before, peak=peak(), seconds=seconds)


def peak() -> int:
    """Returns the most bytes that were ever in use, of the device where JAX says it, else of the process."""
    stats = jax.local_devices()[0].memory_stats()
    if stats is not None and "peak_bytes_in_use" in stats:
        return int(stats["peak_bytes_in_use"])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def row(settings: Settings, budget: str, measurement: Measurement) -> tuple[str, ...]:
    """Returns a line of the table."""
    needed, seconds = measurement.num_bytes, measurement.seconds
    peaks = [
        "not run" if num_bytes is None else format_bytes(num_bytes)
        for num_bytes in (measurement.peak_before, measurement.peak)
    ]
    return (
        budget,
        f"{measurement.choice} of {settings.config.minibatch_size(settings.num_envs)}",
        format_bytes(needed),
        *peaks,
        f"{measurement.fitting_seconds:.0f}",
        "not run" if seconds is None else f"{seconds:.1f}",
    )


def main() -> None:
    """Runs the benchmark and prints a table and the conditions."""
    settings = tyro.cli(Settings, description=__doc__)
    load_before = machine.load()
    table = Table("budget", "rows at a time", title=f"An update of {settings.algorithm}")
    for heading in ("needed", "peak before", "peak", "fitting s", "update s"):
        table.add_column(heading, justify="right")
    console = Console(width=110)
    for budget in settings.budgets:
        with multiprocessing.get_context("spawn").Pool(1) as process:
            table.add_row(*row(settings, budget, process.apply(measure, (settings, budget))))
        console.print(table)
    console.print(f"{settings}\n{machine.conditions(load_before)}", highlight=False, markup=False)


if __name__ == "__main__":
    main()
