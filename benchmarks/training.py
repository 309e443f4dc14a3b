"""Speed, compile time and memory of a whole training update: each core beside plain references, in one run.

An update is what `train` repeats: acting for `unroll_length` slots in `num_envs` environments, then learning
from that trajectory. Two programs are compiled for each core, the whole update and its rollout alone; the
update proper is the difference, taken within each turn. All contenders act in the same environment and share
algorithm, settings, torso and heads; only the memory differs. Two references always take part: `hk.GRU(256)`
as Haiku scans it, and S5 in the paper's formulation, in the sizes of --width and --num-layers.

Steps are real environment steps: a slot that begins an episode is none. All times are CPU time of one core,
medians of the repeats; the contenders take turns. Memory is what the compiled update holds at most by its own
account: arguments, outputs and temporaries (`memory_analysis()`), nothing donated.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from statistics import median
from typing import Any, Literal, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import machine
import paper
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table

from s5rl import make_agent, make_environment
from s5rl.agents import A2CConfig, Agent, AgentState, PPOConfig
from s5rl.conformance import load_core
from s5rl.cores import (
    AttentionCore,
    FeedForwardCore,
    GRUCore,
    HaikuCore,
    LSTMCore,
    RecurrentCore,
    ResettableS5Core,
)
from s5rl.envs import JaxEnvironment
from s5rl.training import Actors, rollout, start_actors
from s5rl.training.keys import run_keys
from s5rl.types import Array, EnvironmentSpec, PRNGKey, Trajectory
from s5rl.validation import check_positive


def haiku_gru() -> hk.RNNCore:
    """Returns the memory of the reference."""
    return hk.GRU(256)


HAIKU_GRU, PAPER_S5 = "hk.GRU(256)", "S5, the paper's"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Measures whole updates of an algorithm on one core of the CPU, for each memory."""

    cores: tuple[str, ...] = ("s5", "gru", "lstm", "attention", "feed_forward")
    """Names of cores, s5, gru, lstm, attention and feed_forward, or MODULE:CORE for cores of your own."""
    width: int = 256
    """Features of the cores; of Haiku's GRU it is always 256."""
    num_layers: int = 4
    """Layers of the S5 and attention cores."""
    algorithm: Literal["ppo", "a2c"] = "ppo"
    """With its default settings, but for those that follow."""
    num_envs: int = 16
    """Environments that act in parallel."""
    unroll_length: int = 128
    """Slots of a trajectory."""
    num_epochs: int = 4
    """Passes of PPO over a trajectory."""
    num_minibatches: int = 4
    """Parts of a pass of PPO."""
    environment: str = "popgym/RepeatPreviousHard"
    """Where they act; any name of a JaxEnvironment."""
    repeats: int = 5
    """Measurements of each contender."""

    def __post_init__(self) -> None:
        check_positive(
            width=self.width,
            num_layers=self.num_layers,
            num_envs=self.num_envs,
            unroll_length=self.unroll_length,
            num_epochs=self.num_epochs,
            num_minibatches=self.num_minibatches,
            repeats=self.repeats,
        )

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

    def core(self, name: str) -> RecurrentCore:
        """Returns the core of one of the names.

        Raises:
          ValueError: there is no such core.
        """
        width, num_layers = self.width, self.num_layers
        makers: dict[str, Callable[[], RecurrentCore]] = {
            "s5": lambda: ResettableS5Core(state_size=width, model_size=width, num_layers=num_layers),
            "gru": lambda: GRUCore(width),
            "lstm": lambda: LSTMCore(width),
            "attention": lambda: AttentionCore(model_size=width, num_layers=num_layers),
            "feed_forward": lambda: FeedForwardCore((width,)),
        }
        if name not in makers and ":" not in name:
            raise ValueError(f"--cores must be among {', '.join(makers)}, or MODULE:CORE, got {name!r}.")
        return makers[name]() if name in makers else load_core(name)


class Contender(NamedTuple):
    """One memory in its agent, compiled."""

    name: str
    num_params: int
    """Of the whole network."""
    steps: int
    """Environment steps of an update."""
    update: Callable[[], Any]
    """The whole update: acting and learning."""
    rollout: Callable[[], Any]
    """The acting alone."""
    compile_seconds: float
    """CPU time to trace and compile the whole update."""
    num_bytes: int
    """What the whole update holds at most."""


class Measurement(NamedTuple):
    """What came out for one contender; times are medians."""

    name: str
    num_params: float
    steps_per_second: float
    rollout_seconds: float
    update_seconds: float
    compile_seconds: float
    num_bytes: float

    def relative_to(self, reference: Measurement) -> Measurement:
        """Returns every number divided by the reference's."""
        return Measurement(self.name, *(a / b for a, b in zip(self[1:], reference[1:], strict=True)))


def act(
    agent: Agent, environment: JaxEnvironment, state: AgentState, actors: Actors
) -> tuple[Trajectory, Actors]:
    """Returns a trajectory and the actors behind it."""
    return rollout(agent, environment, agent.acting_params(state), actors, agent.config.unroll_length)


def act_and_learn(
    agent: Agent, environment: JaxEnvironment, state: AgentState, actors: Actors, key: PRNGKey
) -> tuple[AgentState, Actors, dict[str, Array]]:
    """Returns what an update leaves behind."""
    trajectory, actors = act(agent, environment, state, actors)
    state, metrics = agent.update(state, trajectory, key)
    return state, actors, metrics


def prepare(settings: Settings, environment: JaxEnvironment, name: str, core: RecurrentCore) -> Contender:
    """Compiles a contender and lets it take its first update."""
    spec = EnvironmentSpec.from_environment(environment)
    agent = make_agent(spec, core=core, algorithm=settings.algorithm, config=settings.config)
    keys = run_keys(0)
    state = jax.jit(agent.init)(keys.init)
    actors = jax.jit(lambda: start_actors(agent, environment, keys, settings.num_envs))()

    start = time.process_time()
    whole = jax.jit(functools.partial(act_and_learn, agent, environment))
    update = whole.lower(state, actors, keys.updates).compile()
    compile_seconds = time.process_time() - start
    acting = jax.jit(functools.partial(act, agent, environment)).lower(state, actors).compile()

    state, actors, _ = update(state, actors, keys.updates)
    _, after = acting(state, actors)
    memory = update.memory_analysis()
    assert memory is not None, "the CPU gives it"
    return Contender(
        name=name,
        num_params=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        steps=int(jnp.sum(after.streams.num_steps - actors.streams.num_steps)),
        update=lambda: update(state, actors, keys.updates),
        rollout=lambda: acting(state, actors),
        compile_seconds=compile_seconds,
        num_bytes=memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes,
    )


def measure(contenders: list[Contender], repeats: int) -> list[Measurement]:
    """Returns the medians of each contender; they take turns, and so do update and rollout."""
    times: list[list[tuple[float, float]]] = [[] for _ in contenders]
    for _ in track(range(repeats), "measuring"):
        for contender, of_contender in zip(contenders, times, strict=True):
            of_contender.append(
                (machine.cpu_seconds(contender.update), machine.cpu_seconds(contender.rollout))
            )
    return [
        Measurement(
            contender.name,
            contender.num_params,
            contender.steps / median(whole for whole, _ in of_contender),
            median(acting for _, acting in of_contender),
            median(whole - acting for whole, acting in of_contender),
            contender.compile_seconds,
            contender.num_bytes,
        )
        for contender, of_contender in zip(contenders, times, strict=True)
    ]


HEADINGS = ("parameters", "steps/s", "rollout s", "update s", "update share", "compile s", "memory MB")


def results_table(measurements: list[Measurement]) -> Table:
    """Returns a line for each contender."""
    table = Table("core", title="A whole update")
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for name, num_params, speed, acting, learning, compiling, num_bytes in measurements:
        table.add_row(
            name,
            f"{num_params:,}",
            f"{speed:,.0f}",
            f"{acting:.3f}",
            f"{learning:.3f}",
            f"{learning / (acting + learning):.0%}",
            f"{compiling:.1f}",
            f"{num_bytes / 1e6:.1f}",
        )
    return table


def ratios_table(measurements: list[Measurement], reference: Measurement) -> Table:
    """Returns a line for each contender, in multiples of the reference."""
    table = Table("core", title=f"In multiples of {reference.name}")
    for heading in HEADINGS:
        if heading != "update share":
            table.add_column(heading.removesuffix(" s").removesuffix(" MB"), justify="right")
    for measurement in measurements:
        name, *ratios = measurement.relative_to(reference)
        table.add_row(name, *(f"{ratio:.2f}" for ratio in ratios))
    return table


def main() -> None:
    """Runs the benchmark and prints two tables and the conditions."""
    settings = tyro.cli(Settings, description=__doc__)
    load_before = machine.load()
    with machine.one_core() as threads:
        environment = make_environment(settings.environment)
        if not isinstance(environment, JaxEnvironment):
            raise SystemExit(f"--environment must name a JaxEnvironment, got {settings.environment!r}.")
        cores: dict[str, RecurrentCore] = {
            HAIKU_GRU: HaikuCore(haiku_gru),
            PAPER_S5: paper.PaperS5Core(settings.width, settings.width, settings.num_layers),
            **{name: settings.core(name) for name in settings.cores},
        }
        contenders = [
            threads.submit(prepare, settings, environment, name, core).result()
            for name, core in track(cores.items(), "compiling")
        ]
        measurements = measure(contenders, settings.repeats)
    console = Console()
    console.print(results_table(measurements))
    for reference in measurements[:2]:
        console.print(ratios_table(measurements, reference))
    sizes = "\n".join(f"  {name}: {core}" for name, core in cores.items())
    console.print(
        f"{machine.conditions(load_before)}\n"
        f"{settings.environment}; medians of {settings.repeats} updates in turns, compilation excluded.\n"
        f"{settings.config}\n{sizes}",
        highlight=False,
        markup=False,
    )


if __name__ == "__main__":
    main()
