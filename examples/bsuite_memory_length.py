"""bsuite's memory length: which memories carry a cue over how many steps, and at what cost.

The agent sees a cue once, walks a number of steps, and is then asked for it. The default trains several cores
in minutes; `--full` is Figure 2 of "Structured State Space Models for In-Context Reinforcement Learning"
(Lu et al. 2023). Results go to a CSV file and a picture in the results folder.
"""

from __future__ import annotations

import dataclasses
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import tyro
from flags import wrong_flags_refused
from memory_length_results import (
    Row,
    add_columns,
    answers,
    grouped,
    measure,
    read_rows,
    results_table,
    write_rows,
)
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from s5rl import A2CConfig, make_agent, make_environment, train
from s5rl.conformance import load_core
from s5rl.cores import AttentionCore, FeedForwardCore, GRUCore, LSTMCore, RecurrentCore, ResettableS5Core
from s5rl.plots import Curve, Panel, plot_panels

ALL_LENGTHS = (*range(1, 11), 12, 14, 17, 20, 25, *range(30, 101, 10))
"""The lengths of bsuite's sweep; their indices are the numbers in bsuite's ids."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Compares memories on bsuite's memory length."""

    cores: tuple[str, ...] = ("s5", "lstm", "attention", "feed_forward")
    """Names of cores: s5, lstm, gru, attention, feed_forward."""
    core: str | None = None
    """MODULE:CORE, a core of your own, trained beside the others."""
    lengths: tuple[int, ...] = (10, 30, 100)
    """Memory lengths; bsuite's sweep has 1-10, 12, 14, 17, 20, 25 and 30-100 by tens."""
    unrolls: tuple[str, ...] = ("32", "cover")
    """Slots of a trajectory: a number, or "cover" for the least multiple of 32 that holds a whole episode."""
    episodes: int = 2000
    """Episodes of a run."""
    num_seeds: int = 3
    """Runs of each core, length and unroll."""
    seed: int = 0
    """The first seed."""
    width: int = 64
    """Features of torso and core."""
    num_layers: int = 1
    """Layers of the S5 and attention cores."""
    learning_rate: float = 5e-4
    """Of Adam."""
    environment: Literal["memory_chain", "bsuite"] = "memory_chain"
    """The JAX twin, in one compiled program, or the real bsuite with its own logging and scoring."""
    num_workers: int = 2
    """Jobs that run side by side; each takes one core of the machine."""
    directory: Path = Path("results/bsuite_memory_length")
    """Where results.csv and the picture go."""
    resume: bool = False
    """Keeps the results of the same settings that the folder holds, and runs only what is missing; a core of
    your own is always trained anew, as its code may have changed."""
    full: bool = False
    """Figure 2: all lengths, 10000 episodes, Table 3's width and learning rate; resumes."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.cores if name not in CORES]
        if unknown:
            raise ValueError(f"--cores must be among {', '.join(CORES)}, got {', '.join(unknown)}.")
        if not (self.cores or self.core) or not self.lengths or not self.unrolls:
            raise ValueError("--cores or --core, --lengths and --unrolls must name at least one each.")
        if wrong := [
            unroll for unroll in self.unrolls if unroll != "cover" and not (unroll.isdigit() and int(unroll))
        ]:
            raise ValueError(f'--unrolls must be numbers from 1 or "cover", got {", ".join(wrong)}.')
        for name in ("episodes", "num_seeds", "width", "num_layers", "num_workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}.")
        if min(self.lengths) < 1:
            raise ValueError(f"--lengths must be at least 1, got {min(self.lengths)}.")
        if self.environment == "bsuite" and (missing := set(self.lengths) - set(ALL_LENGTHS)):
            raise ValueError(f"--lengths must be in bsuite's sweep {ALL_LENGTHS}, got {sorted(missing)}.")


CORES: dict[str, Callable[[Settings, int], RecurrentCore]] = {
    "s5": lambda settings, length: ResettableS5Core(
        state_size=settings.width, model_size=settings.width, num_layers=settings.num_layers
    ),
    "lstm": lambda settings, length: LSTMCore(settings.width),
    "gru": lambda settings, length: GRUCore(settings.width),
    # A window that holds the whole episode: full attention.
    "attention": lambda settings, length: AttentionCore(
        num_layers=settings.num_layers, model_size=settings.width, window=length + 2
    ),
    "feed_forward": lambda settings, length: FeedForwardCore((settings.width,)),
}

FULL = Settings(lengths=ALL_LENGTHS, episodes=10_000, width=256, learning_rate=3e-4, resume=True, full=True)


class Job(NamedTuple):
    """One core at one length and unroll, with all its seeds."""

    name: str
    core: RecurrentCore
    length: int
    unroll: int

    @property
    def num_slots(self) -> int:
        """Slots of one episode: its length + 1 transitions, and the dead slot."""
        return self.length + 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the experiment.

    Args:
      arguments: the command line, by default the process's.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    console = Console()
    try:
        default = FULL if "--full" in arguments else Settings()
        with wrong_flags_refused():
            settings = tyro.cli(Settings, description=__doc__, args=arguments, default=default)
        jobs = plan(settings)
    except ValueError as error:
        sys.exit(f"error: {error}")
    path = settings.directory / "results.csv"
    rows = read_rows(path) if settings.resume else []
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn()
    ) as progress:
        missing = [job for job in jobs if is_missing(settings, job, rows)]
        everything = progress.add_task("all", total=sum(map(weight, missing)), note="")
        for job, new_rows in run_all(settings, missing, progress):
            rows = [row for row in rows if row.identity not in identities(new_rows)] + new_rows
            write_rows(path, rows)
            progress.advance(everything, weight(job))
    # What was asked for, in that order, whatever else the file holds.
    by_identity = {row.identity: row for row in rows}
    rows = [by_identity[identity] for job in jobs for identity in job_identities(settings, job)]
    console.print(results_table(rows))
    if settings.environment == "bsuite":
        console.print(bsuite_table(settings, dict.fromkeys(job.name for job in jobs)))
    picture = settings.directory / "scores.png"
    plot(settings, rows, picture)
    console.print(f"wrote {path} and {picture}", highlight=False)


def plan(settings: Settings) -> list[Job]:
    """Returns all jobs; bad names are found here, before any work."""
    makers = {name: CORES[name] for name in settings.cores}
    if settings.core is not None:
        own = load_core(settings.core)
        makers[settings.core] = lambda settings, length: own
    jobs = []
    for length in dict.fromkeys(settings.lengths):
        for unroll in dict.fromkeys(slots(choice, length) for choice in settings.unrolls):
            jobs += [Job(name, make(settings, length), length, unroll) for name, make in makers.items()]
    return jobs


def slots(choice: str, length: int) -> int:
    """Returns the unroll length that one of `--unrolls` means for a memory length."""
    return 32 * -(-(length + 2) // 32) if choice == "cover" else int(choice)


def is_missing(settings: Settings, job: Job, rows: Iterable[Row]) -> bool:
    """Returns whether rows lack a job; they always lack one's own core, whose name does not tell its code."""
    return job.name == settings.core or not identities(rows).issuperset(job_identities(settings, job))


def run_all(settings: Settings, jobs: Sequence[Job], progress: Progress) -> Iterator[tuple[Job, list[Row]]]:
    """Runs jobs side by side; yields each with its rows when it is done."""
    stop = threading.Event()
    with ThreadPoolExecutor(settings.num_workers) as pool:
        futures = {pool.submit(run, settings, job, progress, stop): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            # Reached early by an error or Ctrl-C: what runs ends at its next report.
            stop.set()
            pool.shutdown(cancel_futures=True)


def run(settings: Settings, job: Job, progress: Progress, stop: threading.Event) -> list[Row]:
    """Trains all seeds of a job."""
    config = A2CConfig(
        learning_rate=settings.learning_rate,
        unroll_length=job.unroll,
        torso_sizes=(settings.width, settings.width),
    )
    num_steps = settings.episodes * job.num_slots
    num_runs = settings.num_seeds if settings.environment == "bsuite" else 1
    task = progress.add_task(
        f"{job.name}, length {job.length}, unroll {job.unroll}", total=num_runs * num_steps, note="compiling"
    )
    clock = Clock()

    def report(_: int, columns: dict[str, np.ndarray]) -> None:
        if stop.is_set():
            raise InterruptedError(f"{job.name} was stopped")
        clock.tick(int(columns["steps"].sum()))
        correct = float(answers(columns).sum() / max(columns["episodes"].sum(), 1))
        progress.update(task, advance=columns["steps"].shape[-1] * job.unroll, note=f"{correct:.2f} correct")

    agent = make_agent(core=job.core, algorithm="a2c", config=config)
    if settings.environment == "memory_chain":
        environment = make_environment("memory_chain", memory_length=job.length)
        result = train(
            agent,
            environment,
            num_steps,
            seed=settings.seed,
            num_seeds=settings.num_seeds,
            progress=False,  # there is one bar for all runs
            on_chunk=report,
        )
        metrics = {
            name: np.reshape(column, (settings.num_seeds, -1)) for name, column in result.metrics.items()
        }
    else:
        results = []
        for seed in seeds(settings):
            folder = bsuite_folder(settings, job.name, job.unroll, seed)
            name = f"bsuite/memory_len/{ALL_LENGTHS.index(job.length)}"
            environment = make_environment(name, results_dir=folder, overwrite=True)
            result = train(agent, environment, num_steps, seed=seed, progress=False, on_chunk=report)
            results.append(result.metrics)
        metrics = {name: np.stack([columns[name] for columns in results]) for name in results[0]}
    progress.remove_task(task)
    speed = clock.read()
    return [
        Row._make((*identity, *measure({name: column[index] for name, column in metrics.items()}), *speed))
        for index, identity in enumerate(job_identities(settings, job))
    ]


def weight(job: Job) -> int:
    """Returns the share of a job in the progress of all."""
    return job.num_slots


class Clock:
    """Times a job and counts its steps, those before the first report apart."""

    def __init__(self) -> None:
        """Starts."""
        self._start = time.perf_counter()
        self._first: float | None = None
        self._steps = self._first_steps = 0

    def tick(self, steps: int) -> None:
        """Counts steps that were done since the last tick."""
        self._steps += steps
        if self._first is None:
            self._first, self._first_steps = time.perf_counter(), steps

    def read(self) -> tuple[float, float]:
        """Returns the seconds, and the steps a second behind the first tick, if there were any."""
        now = time.perf_counter()
        since, steps = self._first or self._start, self._steps - self._first_steps
        if steps == 0:
            since, steps = self._start, self._steps
        return round(now - self._start, 2), round(steps / (now - since), 1)


def seeds(settings: Settings) -> range:
    """Returns the seeds of a job."""
    return range(settings.seed, settings.seed + settings.num_seeds)


def identities(rows: Iterable[Row]) -> set[tuple[Any, ...]]:
    """Returns what rows say that was run."""
    return {row.identity for row in rows}


def job_identities(settings: Settings, job: Job) -> list[tuple[Any, ...]]:
    """Returns the identity of each row of a job."""
    return [
        (
            settings.environment,
            job.name,
            job.length,
            job.unroll,
            settings.episodes,
            settings.width,
            settings.num_layers,
            settings.learning_rate,
            settings.num_seeds,
            seed,
        )
        for seed in seeds(settings)
    ]


def bsuite_folder(settings: Settings, name: str, unroll: int, seed: int) -> Path:
    """Returns where bsuite's own logs of a core, unroll and seed go; the logs tell the lengths apart."""
    run = (
        f"episodes_{settings.episodes}-width_{settings.width}-layers_{settings.num_layers}"
        f"-lr_{settings.learning_rate}"
    )
    safe = name.replace(":", "_").replace("/", "_")
    return settings.directory / "bsuite" / run / safe / f"unroll_{unroll}" / f"seed_{seed}"


def bsuite_table(settings: Settings, names: Iterable[str]) -> Table:
    """Returns the scores that bsuite's own analysis gives to its own logs."""
    import pandas as pd
    from bsuite.experiments.memory_len import analysis
    from bsuite.logging import csv_load

    table = Table(title="Share of lengths solved, by bsuite's own analysis of its logs")
    if settings.episodes < analysis.NUM_EPISODES:
        table.caption = (
            f"Partial runs: {settings.episodes} of bsuite's {analysis.NUM_EPISODES} episodes. A score "
            "counts a run from its first episode: these are not comparable with full ones."
        )
    add_columns(table, ("core", "unroll", "seed", "score"))
    for name in names:
        for choice in settings.unrolls:
            for seed in seeds(settings):
                logs = []
                for length in settings.lengths:
                    folder = bsuite_folder(settings, name, slots(choice, length), seed)
                    log, _ = csv_load.load_bsuite(str(folder))
                    logs.append(log[log.memory_length == length])
                table.add_row(name, choice, str(seed), f"{analysis.score(pd.concat(logs)):.2f}")
    return table


def plot(settings: Settings, rows: Sequence[Row], path: Path) -> None:
    """Draws the score against length for each of `--unrolls`, and the run time for the last of them."""
    groups = grouped(rows)

    def curves(choice: str, value: Callable[[Row], float]) -> dict[str, Curve]:
        lines = {}
        for core in dict.fromkeys(row.core for row in rows):
            lengths = sorted(settings.lengths)
            values = [[value(row) for row in groups[core, n, slots(choice, n)]] for n in lengths]
            lines[core] = Curve(
                x=lengths,
                middle=[float(np.mean(v)) for v in values],
                low=[min(v) for v in values],
                high=[max(v) for v in values],
            )
        return lines

    def title(choice: str) -> str:
        return "unroll covers the episode" if choice == "cover" else f"unroll {choice}"

    panels = [
        Panel(
            title(choice),
            "memory length",
            "share correct",
            curves(choice, lambda row: row.correct),
            chance=0.5,
        )
        for choice in settings.unrolls
    ]
    last = settings.unrolls[-1]
    seconds = curves(last, lambda row: row.seconds)
    plot_panels([*panels, Panel(f"run time, {title(last)}", "memory length", "seconds", seconds)], path)


if __name__ == "__main__":
    main()
