"""Speed on bsuite's memory length: each core in either loop, beside bsuite's own recurrent actor-critic.

All contenders run in one process on one machine, in turns. The environment is memory length 30, the sizes are
those of the paper's Table 3: width 256, unrolls of 32 slots, one environment. What is counted are environment
steps a second of CPU time (of all threads), acting and learning together, without compilation. The host loop
steps the real bsuite environment, the compiled loop its JAX twin, `MemoryChain`.

The baseline is `bsuite.baselines.jax.actor_critic_rnn` as it comes, an LSTM of width 256 in bsuite's own loop
on the real environment. Its learning rate is 3e-3 instead of Table 3's 3e-4, and it learns at the end of each
episode (31 steps) instead of after 32 slots.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import machine
import tyro
from bsuite.baselines import experiment
from bsuite.baselines.jax import actor_critic_rnn
from rich.console import Console
from rich.progress import track
from rich.table import Table

from s5rl import A2CConfig, EnvironmentSpec, make_agent, make_environment, train
from s5rl.cores import AttentionCore, FeedForwardCore, GRUCore, LSTMCore, RecurrentCore, ResettableS5Core

MEMORY_LENGTH = 30
BSUITE_NAME = "bsuite/memory_len/15"
STEPS_OF_AN_EPISODE = MEMORY_LENGTH + 1
CONFIG = A2CConfig.bsuite()

CORES: dict[str, RecurrentCore] = {
    "s5": ResettableS5Core.bsuite(),
    "lstm": LSTMCore.bsuite(),
    "gru": GRUCore.bsuite(),
    "attention": AttentionCore.bsuite(),
    "feed_forward": FeedForwardCore.bsuite(),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Measures steps per CPU-second on memory length 30, for each core and for bsuite's baseline."""

    steps: int = 4_000
    """Environment steps of one measurement, rounded up to whole episodes or unrolls."""
    repeats: int = 3
    """Measurements of each contender; all contenders take turns."""

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value < 1:
                raise ValueError(f"--{name} must be at least 1, got {value}.")


class Contender(NamedTuple):
    """An agent in a loop."""

    agent: str
    loop: str
    run: Callable[[int], int]
    """Trains for about this number of environment steps; returns how many were done."""


def baseline() -> Contender:
    """Returns bsuite's recurrent actor-critic in bsuite's loop."""
    environment = make_environment(BSUITE_NAME)
    agent = actor_critic_rnn.default_agent(environment.observation_spec(), environment.action_spec())

    def run(steps: int) -> int:
        num_episodes = -(-steps // STEPS_OF_AN_EPISODE)
        experiment.run(agent, environment, num_episodes)
        return num_episodes * STEPS_OF_AN_EPISODE

    return Contender("bsuite actor_critic_rnn", "its own", run)


def ours(name: str, core: RecurrentCore, *, compiled: bool) -> Contender:
    """Returns our agent with a core, in the compiled loop or in the host loop."""
    if compiled:
        environment = make_environment("memory_chain", memory_length=MEMORY_LENGTH)
    else:
        environment = make_environment(BSUITE_NAME)
    # Bound here, since binding in `train` would be measured too.
    spec = EnvironmentSpec.from_environment(environment)
    agent = make_agent(spec, core=core, algorithm="a2c", config=CONFIG)

    def run(steps: int) -> int:
        return int(train(agent, environment, steps, progress=False).metrics["step"][-1])

    return Contender(name, "compiled" if compiled else "host", run)


def steps_per_cpu_second(contender: Contender, steps: int) -> float:
    """Runs once and returns the speed, in the CPU time of all threads of this process."""
    start = time.process_time()
    done = contender.run(steps)
    return done / (time.process_time() - start)


def measure(contenders: list[Contender], settings: Settings) -> list[list[float]]:
    """Returns the speeds of each contender, one a repeat; the contenders take turns."""
    for contender in track(contenders, "compiling"):
        contender.run(2 * CONFIG.unroll_length)  # equal agents and environments share the compilation
    speeds: list[list[float]] = [[] for _ in contenders]
    for _ in track(range(settings.repeats), "measuring"):
        for contender, of_contender in zip(contenders, speeds, strict=True):
            of_contender.append(steps_per_cpu_second(contender, settings.steps))
    return speeds


def results_table(contenders: list[Contender], speeds: list[list[float]]) -> Table:
    """Returns a line for each contender; the first one is the baseline of the ratios."""
    table = Table("agent", "loop", title="Environment steps per CPU-second")
    for heading in ("median", "min", "max", "ratio"):
        table.add_column(heading, justify="right")
    for (agent, loop, _), of_contender in zip(contenders, speeds, strict=True):
        middle = median(of_contender)
        table.add_row(
            agent,
            loop,
            *(f"{speed:,.0f}" for speed in (middle, min(of_contender), max(of_contender))),
            f"{middle / median(speeds[0]):.2f}",
        )
    return table


def conditions(settings: Settings, load_before: float) -> str:
    """Returns on what, with what and how was measured."""
    sizes = "\n".join(f"  {name}: {core}" for name, core in CORES.items())
    return (
        f"{machine.conditions(load_before)}\n"
        f"Memory length {MEMORY_LENGTH}; {settings.repeats} measurements of {settings.steps} steps each, in "
        "turns, compilation excluded; acting and learning.\n"
        f"{CONFIG}\n{sizes}"
    )


def main() -> None:
    """Runs the benchmark and prints a table and the conditions."""
    settings = tyro.cli(Settings, description=__doc__)
    load_before = machine.load()
    contenders = [baseline()]
    for compiled in (False, True):
        contenders += [ours(name, core, compiled=compiled) for name, core in CORES.items()]
    speeds = measure(contenders, settings)
    console = Console()
    console.print(results_table(contenders, speeds))
    console.print(conditions(settings, load_before), highlight=False, markup=False)


if __name__ == "__main__":
    main()
