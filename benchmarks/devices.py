"""What several devices cost: the program for many on one, what is sent in an update, and how long that takes.

Three measurements, and a model made of them. `train` compiles one program for any number of devices; what
that costs on a single one is measured against the same update without a mesh, in the same run, in turns, on
one core of the CPU. What two devices send each other is read from the compiled program. How long an
all-reduce takes is measured between two devices of one process, and between two processes on this machine.
"""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import re
import socket
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import machine
import numpy as np
import report
import tyro
from jax.sharding import NamedSharding, PartitionSpec

from s5rl import PPOConfig, ResettableS5Core, make_agent, make_environment
from s5rl.agents import Agent
from s5rl.envs import JaxEnvironment
from s5rl.training import compiled_loop, connect_processes, rollout
from s5rl.training.compiled_loop import CompiledLoop, RunState
from s5rl.training.layout import ENVS, WHOLE, Layout, make_layout
from s5rl.training.metrics import track_episodes
from s5rl.types import Array, EnvironmentSpec
from s5rl.validation import check_positive

SIZES = (1_000_000, 10_000_000)
"""Numbers of float32 in an all-reduce."""
BYTES = {"f32": 4, "s32": 4, "u32": 4, "pred": 1}
SECONDS = 300
"""For which a process may be waited for."""
NETWORKS = {
    "8 GPUs in one machine": (8, 20e-6, 300e9),
    "64 chips in 8 machines": (64, 60e-6, 50e9),
}
"""Devices, seconds until an all-reduce flows, and bytes a second and device: assumed, not measured."""


SPEEDS = (1, 100)
"""How much faster than this core a device may be: assumed."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Measures what several devices cost."""

    environment: str = "popgym/RepeatPreviousEasy"
    """A JaxEnvironment."""
    width: int = 128
    """Features of the four layers of S5."""
    num_envs: int = 16
    """Environments of a device."""
    unroll_length: int = 128
    """Slots of a trajectory."""
    updates: int = 3
    """Of one measurement."""
    repeats: int = 15
    """Measurements of each contender; all contenders take turns."""
    page: Path | None = None
    """Markdown file to write."""

    def __post_init__(self) -> None:
        sizes = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        check_positive(**{name: sizes[name] for name in sizes if name not in ("environment", "page")})

    @property
    def jax_environment(self) -> JaxEnvironment:
        """Where it acts."""
        environment = make_environment(self.environment)
        if not isinstance(environment, JaxEnvironment):
            raise ValueError(f"--environment must be a JaxEnvironment, got {self.environment}.")
        return environment

    def agent(self, num_devices: int) -> Agent:
        """Returns PPO around S5, with environments for so many devices."""
        config = PPOConfig(num_envs=num_devices * self.num_envs, unroll_length=self.unroll_length)
        core = ResettableS5Core(state_size=self.width, model_size=self.width)
        return make_agent(EnvironmentSpec.from_environment(self.jax_environment), core=core, config=config)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def updates_without_mesh(
    agent: Agent, environment: JaxEnvironment, run: RunState, length: int
) -> tuple[RunState, Array]:
    """Returns a run after `length` updates, and the sum of the losses: nothing about devices."""

    def body(_: Array, carry: tuple[RunState, Any]) -> tuple[RunState, Any]:
        run, total = carry
        acting_params = agent.acting_params(run.agent_state)
        trajectory, actors = rollout(
            agent, environment, acting_params, run.actors, agent.config.unroll_length
        )
        key = jax.random.fold_in(run.keys.updates, run.num_updates)
        agent_state, metrics = agent.update(run.agent_state, trajectory, key)
        tracker = track_episodes(run.tracker, trajectory.timesteps)[0]
        run = RunState(agent_state, actors, tracker, run.keys, run.num_updates + 1)
        return run, total + metrics["loss"]

    result: tuple[RunState, Array] = jax.lax.fori_loop(0, length, body, (run, jnp.zeros(())))
    return result


def overhead(settings: Settings) -> tuple[float, float, float]:
    """Returns CPU seconds of an update with a mesh of one device and without, and the median ratio."""
    agent, environment = settings.agent(1), settings.jax_environment
    layout = make_layout(1, settings.num_envs, 1)
    loop = CompiledLoop(agent, environment, settings.num_envs, np.asarray(0), layout)
    chunk = compiled_loop._run_chunk
    runs = {name: jax.tree.map(jnp.copy, loop._layout.whole(loop._run)) for name in ("mesh", "none")}
    runs["mesh"] = loop._run

    def advance(name: str) -> None:
        if name == "mesh":
            runs[name], _ = chunk(agent, environment, layout, settings.updates, runs[name], settings.updates)
        else:
            runs[name], _ = updates_without_mesh(agent, environment, runs[name], settings.updates)
        jax.block_until_ready(runs[name].agent_state)

    times: dict[str, list[float]] = {"mesh": [], "none": []}
    for name in times:
        advance(name)
    for _ in range(settings.repeats):
        for name, seconds in times.items():
            seconds.append(machine.cpu_seconds(functools.partial(advance, name)) / settings.updates)
    ratios = [mesh / none for mesh, none in zip(times["mesh"], times["none"], strict=True)]
    return median(times["mesh"]), median(times["none"]), median(ratios)


class Sent(NamedTuple):
    """One collective operation of a compiled program."""

    operation: str
    num_bytes: int


def sent(agent: Agent, environment: JaxEnvironment, layout: Layout, num_envs: int) -> list[Sent]:
    """Returns the collective operations of an update, the largest first; what stands in a loop only once."""
    loop = CompiledLoop(agent, environment, num_envs, np.asarray(0), layout)
    lowered = compiled_loop._run_chunk.lower(agent, environment, layout, 1, loop._run, 1)
    names = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
    found = re.findall(rf"= (\S.*?) ({names})\(", lowered.compile().as_text() or "")
    operations = [
        Sent(operation, sum(map(_num_bytes, re.findall(r"(\w+)\[([\d,]*)\]", shapes))))
        for shapes, operation in found
    ]
    return sorted(operations, key=lambda each: -each.num_bytes)


def _num_bytes(shape: tuple[str, str]) -> int:
    dtype, sizes = shape
    return BYTES[dtype] * int(np.prod([int(size) for size in sizes.split(",") if size], initial=1))


def all_reduce_seconds(num_floats: int, repeats: int = 20) -> float:
    """Returns the time that all devices need to add up an array of each, the median."""
    layout = make_layout(jax.device_count(), jax.device_count(), 1)
    shape = (jax.device_count(), num_floats)
    sharding = NamedSharding(layout.mesh, PartitionSpec(ENVS))
    arrays = jax.make_array_from_callback(shape, sharding, lambda _: np.ones((1, num_floats), np.float32))
    add_up = jax.jit(lambda arrays: layout.constrain(arrays.sum(axis=0), WHOLE))
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        jax.block_until_ready(add_up(arrays))
        times.append(time.perf_counter() - start)
    return median(times[1:])


def _in_process(
    settings: Settings, index: int, num_processes: int, devices_each: int, port: int, found: Any
) -> None:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices_each)
    if num_processes > 1:
        connect_processes(f"localhost:{port}", num_processes, index, timeout=60)
    seconds = [all_reduce_seconds(size) for size in SIZES]
    if index == 0:
        found.put((seconds, sent_by_two(settings) if num_processes == 1 else []))


def sent_by_two(settings: Settings) -> list[Sent]:
    """Returns what two devices of this process send each other in an update."""
    num_envs = 2 * settings.num_envs
    layout = make_layout(2, num_envs, 1)
    return sent(settings.agent(2), settings.jax_environment, layout, num_envs)


def run_processes(
    settings: Settings, num_processes: int, devices_each: int
) -> tuple[list[float], list[Sent]]:
    """Returns the seconds of all-reduces, and what is sent, from processes of their own.

    Raises:
      queue.Empty: they did not answer in time.
    """
    with socket.socket() as meeting:
        meeting.bind(("localhost", 0))
        port = meeting.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    processes = [
        context.Process(
            target=_in_process, args=(settings, index, num_processes, devices_each, port, found), daemon=True
        )
        for index in range(num_processes)
    ]
    for process in processes:
        process.start()
    try:
        seconds, messages = found.get(timeout=SECONDS)
    finally:
        for process in processes:
            process.kill()
    return seconds, messages


def modelled(num_devices: int, latency: float, bandwidth: float, num_bytes: int) -> float:
    """Returns the seconds of an all-reduce in a ring: alpha + 2 (N - 1) / N * bytes / beta."""
    return latency + 2 * (num_devices - 1) / num_devices * num_bytes / bandwidth


def sections(
    settings: Settings,
    costs: tuple[float, float, float],
    between: dict[str, list[float]],
    messages: list[Sent],
) -> list[report.Section]:
    """Returns the tables of the page."""
    mesh, none, ratio = costs
    agent = settings.agent(1)
    steps = agent.config.num_envs * agent.config.unroll_length
    num_params = sum(leaf.size for leaf in jax.tree.leaves(agent.init(jax.random.key(0)).params))
    gradient_steps = agent.config.num_epochs * agent.config.num_minibatches  # type: ignore[attr-defined]
    computing = mesh / gradient_steps
    rows = []
    for name, (number, latency, bandwidth) in NETWORKS.items():
        for floats in (num_params, *SIZES):
            wait = modelled(number, latency, bandwidth, 4 * floats)
            row = [name, f"{floats / 1e6:.1f}M", f"{1e3 * wait:.2f}", f"{1e3 * 9 * wait:.1f}"]
            for speed in SPEEDS:
                efficiency = (computing / speed) / (computing / speed + wait)
                row.append(f"{efficiency:.1%}, {number * steps * speed / mesh * efficiency:,.0f}")
            rows.append(tuple(row))
    return [
        report.Section(
            "The price on one device",
            f"PPO, {steps} slots, S5 of {settings.width} features and four layers, {num_params:,} "
            f"parameters, on {settings.environment}; milliseconds of CPU time for an update, medians of "
            f"{settings.repeats} turns.",
            ("Program", "ms", "Ratio"),
            [
                ("without a mesh", f"{1e3 * none:.1f}", "1"),
                ("for any number", f"{1e3 * mesh:.1f}", f"{ratio:.3f}"),
            ],
        ),
        report.Section(
            "What two devices send in an update",
            f"All operations of the program of {num_params:,} parameters, {4 * num_params:,} bytes. Those "
            f"with gradients happen {gradient_steps} times in an update, once for each gradient step; the "
            "others add up counts and means.",
            ("Operation", "Bytes"),
            [(each.operation, f"{each.num_bytes:,}") for each in messages],
        ),
        report.Section(
            "How long an all-reduce takes",
            "Milliseconds, the median of 20, between two devices on this machine.",
            ("Between", *(f"{size // 1_000_000}M float32" for size in SIZES)),
            [(name, *(f"{1e3 * each:.1f}" for each in seconds)) for name, seconds in between.items()],
        ),
        report.Section(
            "What to expect elsewhere: a model, not a measurement",
            "Milliseconds of an all-reduce in a ring, alpha + 2 (N - 1) / N * bytes / beta, and how long a "
            "gradient step on one device has to take so that nine tenths of the time are computing. Alpha "
            "and beta are assumed: "
            + "; ".join(
                f"{name}, {1e6 * a:.0f} µs and {b / 1e9:.0f} GB/s" for name, (_, a, b) in NETWORKS.items()
            )
            + ". Then efficiency and steps a second where each device has as many environments as this core, "
            f"and takes its {1e3 * computing:.1f} ms for a gradient step (measured), or a share of that "
            "(assumed); more parameters would take longer, and so be sent at a smaller price.",
            (
                "Devices",
                "Parameters",
                "All-reduce, ms",
                "Gradient step for 90 %, ms",
                *(f"Devices {speed} times this core" for speed in SPEEDS),
            ),
            rows,
        ),
    ]


def main(settings: Settings) -> None:
    """Measures, prints, and writes the page."""
    load_before = machine.load()
    between, messages = {}, []
    for name, layout in {"two devices of one process": (1, 2), "two processes": (2, 1)}.items():
        between[name], read = run_processes(settings, *layout)
        messages += read
    with machine.one_core():
        costs = overhead(settings)
        conditions = machine.conditions(load_before)
    tables = sections(settings, costs, between, messages)
    report.publish("What several devices cost", tables, conditions, settings.page)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
