"""Speed of the batched projected tasks of dm_control beside dm_control, and where training spends its time.

Control steps per second of CPU, on one core, with random actions, in the middle of episodes. Both sides
project the action, step the physics, and make observation, reward and projected observation. dm_control is
stepped in the plainest loop that does this, without checks. Both take turns. The mix is of equally many steps
of each of the six training tasks: from batches of one task each, and from one batch in which every row has
the task that was drawn for it. Resets are measured apart: an episode of 1000 steps has one.

(Not named dm_control.py: scripts in this folder would import it in place of dm_control.)
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import harmonic_mean, median
from typing import Any, NamedTuple

import jax
import machine
import numpy as np
import report
import tyro
from rich.progress import track

from s5rl import MuesliConfig, ResettableS5Core, make_agent
from s5rl.envs import HELD_OUT_TASKS, TRAINING_TASKS, ProjectedDmControlBatch, ProjectionSettings
from s5rl.envs.dm_control import flatten, load_task
from s5rl.envs.projected.episodes import TaskSizes, draw_episode
from s5rl.training import host_loop
from s5rl.training.layout import make_layout
from s5rl.types import EnvironmentSpec
from s5rl.validation import check_positive

OURS, THEIRS = "batch", "dm_control"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Measures the speed of the projected tasks of dm_control."""

    num_envs: int = 256
    """Rows of a batch."""
    steps: int = 100
    """Steps of a row in one measurement, at most 999."""
    dm_control_steps: int = 1_000
    """Steps of dm_control in one measurement, in episodes of `steps`."""
    repeats: int = 5
    """Measurements of each contender."""
    training_envs: int = 64
    """Environments in the training step."""
    unroll_length: int = 128
    """Slots of the training step."""
    updates: int = 5
    """Training steps that are measured."""
    page: Path | None = None
    """Markdown file to write."""

    def __post_init__(self) -> None:
        numbers = dataclasses.asdict(self)
        del numbers["page"]
        check_positive(**numbers)
        if self.steps > 999:
            raise ValueError(f"steps must be at most 999, within one episode, got {self.steps}.")


class Contender(NamedTuple):
    """One side of the comparison: a run of steps, and a run of resets."""

    reset: Callable[[], int]
    """Begins episodes; returns how many."""
    step: Callable[[], int]
    """Goes on with them; returns the number of control steps."""


def batch_contender(task: str, settings: Settings, seed: int = 0) -> Contender:
    """Returns the batch, on one thread."""
    batch = ProjectedDmControlBatch([task], num_envs=settings.num_envs, seed=seed, num_threads=1)
    actions = _actions(settings.steps, settings.num_envs, seed)

    def reset() -> int:
        batch.reset()
        return settings.num_envs

    def step() -> int:
        for action in actions:
            batch.step(action)
        return settings.steps * settings.num_envs

    return Contender(reset, step)


def dm_control_contender(task: str, settings: Settings) -> Contender:
    """Returns dm_control, with the projections of Algorithm 1 around it."""
    environment = load_task(task, 0)
    spec = environment.action_spec()
    sizes = TaskSizes(task, flatten(environment.reset().observation).size, spec.shape[0])
    episodes = max(1, settings.dm_control_steps // settings.steps)
    numbers = itertools.count()
    drawn = functools.partial(draw_episode, ProjectionSettings(), [sizes], 0, 0)
    actions = _actions(settings.steps, 1, 0)[:, 0]

    def begin() -> tuple[np.ndarray, np.ndarray]:
        episode = drawn(next(numbers))
        environment.task.random.seed(episode.task_seed)
        environment.reset()
        return episode.observation_matrix, episode.action_matrix

    def reset() -> int:
        for _ in range(episodes):
            begin()
        return episodes

    def step() -> int:
        observation_matrix, action_matrix = begin()  # one reset in so many steps: less than a percent
        for action in actions:
            timestep = environment.step(np.clip(action_matrix @ action, spec.minimum, spec.maximum))
            shown = observation_matrix @ flatten(timestep.observation)
            np.concatenate([shown, (timestep.reward, timestep.last())]).astype(np.float32)
        return settings.steps

    return Contender(reset, lambda: sum(step() for _ in range(episodes)))


def _actions(num_steps: int, num_envs: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1.0, 1.0, (num_steps, num_envs, 2)).astype(np.float32)


class Speed(NamedTuple):
    """Of one task."""

    steps: dict[str, float]
    """Control steps per CPU-second, by contender."""
    reset: dict[str, float]
    """CPU-milliseconds of one reset."""


def measure(task: str, settings: Settings) -> Speed:
    """Returns the speed of both contenders, medians of runs in turns."""
    contenders = {OURS: batch_contender(task, settings), THEIRS: dm_control_contender(task, settings)}
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    resets: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(settings.repeats):
        for name, contender in contenders.items():
            seconds, count = _timed(contender.reset, time.process_time)
            resets[name].append(1e3 * seconds / count)
            seconds, count = _timed(contender.step, time.process_time)
            rates[name].append(count / seconds)
    return Speed(*({name: median(values) for name, values in of.items()} for of in (rates, resets)))


def _timed(run: Callable[[], int], clock: Callable[[], float]) -> tuple[float, int]:
    start = clock()
    count = run()
    return clock() - start, count


def mixed_rates(speeds: dict[str, Speed], settings: Settings) -> dict[str, float]:
    """Returns steps per CPU-second on the tasks that one batch draws; dm_control's from its rates on each."""
    batch = ProjectedDmControlBatch(num_envs=settings.num_envs, num_threads=1)
    actions = _actions(settings.steps, settings.num_envs, 0)
    spent = {OURS: 0.0, THEIRS: 0.0}
    for _ in range(settings.repeats):
        batch.reset()
        start = time.process_time()
        for action in actions:
            batch.step(action)
        spent[OURS] += time.process_time() - start
        for index in batch.task_of_row.tolist():
            spent[THEIRS] += settings.steps / speeds[batch.tasks[index]].steps[THEIRS]
    num_steps = settings.repeats * settings.steps * settings.num_envs
    return {name: num_steps / seconds for name, seconds in spent.items()}


def speed_sections(settings: Settings) -> list[report.Section]:
    """Returns the tables of steps and of resets."""
    tasks = (*TRAINING_TASKS, *HELD_OUT_TASKS)
    speeds = {task: measure(task, settings) for task in track(tasks, "tasks")}
    mix = {
        name: harmonic_mean([speeds[task].steps[name] for task in TRAINING_TASKS]) for name in (OURS, THEIRS)
    }
    rates = {
        **{task: speed.steps for task, speed in speeds.items()},
        "**mix of the six**": mix,
        "**one batch of the six**": mixed_rates(speeds, settings),
    }
    rows = [
        (task, f"{rate[OURS]:,.0f}", f"{rate[THEIRS]:,.0f}", f"{rate[OURS] / rate[THEIRS]:.1f}x")
        for task, rate in rates.items()
    ]
    resets = [
        (task, f"{speed.reset[OURS]:.2f}", f"{speed.reset[THEIRS]:.2f}") for task, speed in speeds.items()
    ]
    return [
        report.Section(
            "Control steps",
            f"Per second of CPU, one core; {settings.num_envs} rows of one task at a time. The mix is of "
            "equally many steps of each of the six training tasks, the first six rows; in one batch of the "
            "six, tasks are those that are drawn, and dm_control's rate is for as many steps of each.",
            ("task", OURS, THEIRS, "ratio"),
            rows,
        ),
        report.Section(
            "Resets",
            "Milliseconds of CPU for one, drawing the projections included; both begin on dm_control.",
            ("task", OURS, THEIRS),
            resets,
        ),
    ]


def thread_section(settings: Settings) -> report.Section:
    """Returns the table of wall-clock speeds on several threads; call it before the process is pinned."""
    rows = []
    one = 0.0
    num_cpus = machine.os.cpu_count() or 1
    for num_threads in sorted({1, num_cpus}):
        batch = ProjectedDmControlBatch(num_envs=settings.num_envs, num_threads=num_threads)
        actions = _actions(settings.steps, settings.num_envs, 0)
        seconds = []
        for _ in range(settings.repeats):
            batch.reset()
            start = time.perf_counter()
            for action in actions:
                batch.step(action)
            seconds.append(time.perf_counter() - start)
        rate = settings.steps * settings.num_envs / median(seconds)
        one = one or rate
        rows.append((str(num_threads), f"{rate:,.0f}", f"{rate / one:.2f}x"))
    return report.Section(
        "Threads",
        f"Control steps per second of wall-clock time, all six tasks in one batch of {settings.num_envs} "
        "rows, tasks as they are drawn.",
        ("threads", "steps/s", "to one"),
        rows,
    )


@contextlib.contextmanager
def timers(spent: dict[str, float]) -> Iterator[None]:
    """Adds up the seconds in the host loop's acting and learning, each until its result is there."""
    real: dict[str, Callable[..., Any]] = {"acting": host_loop.act, "learning": host_loop.learn}

    def timed(name: str) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            start = time.perf_counter()
            result = jax.block_until_ready(real[name](*arguments))
            spent[name] += time.perf_counter() - start
            return result

        return run

    module: Any = host_loop
    module.act, module.learn = timed("acting"), timed("learning")
    try:
        yield
    finally:
        module.act, module.learn = real["acting"], real["learning"]


def training_section(settings: Settings) -> report.Section:
    """Returns the table of where a training step spends its time."""
    batch = ProjectedDmControlBatch(num_envs=settings.training_envs)
    core = ResettableS5Core(state_size=128, model_size=128, num_layers=2)
    config = MuesliConfig(
        num_envs=settings.training_envs,
        unroll_length=settings.unroll_length,
        torso_sizes=(128,),
        num_epochs=2,
        num_minibatches=8,
        model_unroll_length=1,
        model_size=64,
        num_bins=101,
        max_value=14.0,
    )
    agent = make_agent(EnvironmentSpec.from_environment(batch), core=core, algorithm="muesli", config=config)
    loop = host_loop.HostLoop(agent, batch, 0, make_layout(None, batch.num_envs, 1))
    loop.advance(1)  # compiles
    spent = dict.fromkeys(("environment", "acting", "learning"), 0.0)
    step = batch.step

    def timed_step(actions: Any) -> Any:
        start = time.perf_counter()
        timestep = step(actions)
        spent["environment"] += time.perf_counter() - start
        return timestep

    instance: Any = batch
    instance.step = timed_step
    start = time.perf_counter()
    with timers(spent):
        loop.advance(settings.updates)
    total = time.perf_counter() - start
    parts = {**spent, "the rest of the loop": total - sum(spent.values())}
    rows = [
        (name, f"{1e3 * seconds / settings.updates:.0f}", f"{100 * seconds / total:.0f} %")
        for name, seconds in parts.items()
    ]
    return report.Section(
        "A training step",
        f"Wall-clock time of one update of the host loop: {settings.training_envs} environments, "
        f"{settings.unroll_length} slots, Muesli with {config.num_epochs} epochs of {config.num_minibatches} "
        f"minibatches and S5 of 2 layers of 128; all cores. "
        f"{settings.training_envs * settings.unroll_length * settings.updates / total:,.0f} slots/s.",
        ("part", "ms", "share"),
        rows,
    )


def main() -> None:
    """Measures, prints the tables and writes the page."""
    settings = tyro.cli(Settings, description=__doc__)
    load_before = machine.load()
    training = training_section(settings)
    threads = thread_section(settings)
    with machine.one_core():
        sections = [*speed_sections(settings), threads, training]
        conditions = machine.conditions(load_before)
    conditions += (
        "\nThe tables of threads and of training were measured before that, on all cores. "
        f"Medians of {settings.repeats}; {settings.steps} steps of each row and {settings.dm_control_steps} "
        "steps of dm_control each. Written by `benchmarks/projected_dm_control.py`."
    )
    report.publish("Projected dm_control", sections, conditions, settings.page)


if __name__ == "__main__":
    main()
