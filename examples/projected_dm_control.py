"""Meta-learning on DMControl: every episode another task behind other projections, found out in context.

The third experiment of the paper (Lu et al. 2023, sections 3.2 and 4.3, Algorithm 1, Table 5), with Muesli.
The default is small: one task, small memories, some minutes for each on two cores. `--paper` is the setting
of the paper, 2e9 steps on six tasks, which needs many machines. Every memory is evaluated on each training
task and on each task of `--held-out`, with fresh projections in every episode, beside random actions. A run
that is stopped goes on when it is called again.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tyro
from flags import wrong_flags_refused
from rich.console import Console
from rich.table import Table

from s5rl import FeedForwardCore, LSTMCore, MuesliConfig, RecurrentCore, ResettableS5Core, make_agent, train
from s5rl.envs.mujoco_batch import ProjectedDmControlBatch
from s5rl.envs.projected import HELD_OUT_TASKS, TRAINING_TASKS
from s5rl.plots import Curve, Panel, plot_panels
from s5rl.training import InContextEvaluation, evaluate_in_context, evaluate_random

SMALL_CORES: dict[str, RecurrentCore] = {
    "s5": ResettableS5Core(state_size=64, model_size=64, num_layers=2, norm="post"),
    "lstm": LSTMCore(64),
    "feed_forward": FeedForwardCore((64,)),
}
PAPER_CORES: dict[str, RecurrentCore] = {
    "s5": ResettableS5Core.projected_dm_control(),
    "lstm": LSTMCore.projected_dm_control(),
    "feed_forward": FeedForwardCore.projected_dm_control(),
}
RANDOM = "random"
EVALUATION_SEED = 1_000_000
NUM_PARTS = 4


@dataclasses.dataclass(frozen=True)
class Settings:
    """Compares memories on randomly projected tasks of DMControl."""

    tasks: tuple[str, ...] = ("cartpole/swingup",)
    """To learn; another one in every episode."""
    held_out: tuple[str, ...] = ()
    """To be evaluated on only."""
    cores: tuple[str, ...] = ("s5", "lstm", "feed_forward")
    """Memories: s5, lstm, feed_forward."""
    num_steps: float = 1_000_000
    """Slots of each run over all environments, such as 2e6."""
    num_evaluations: int = 4
    """Evaluations of each run, at equal distances."""
    num_episodes: int = 20
    """Episodes of an evaluation, for each task."""
    learning_rate: float | None = None
    """Of the run, in place of the small setting's 1e-3 or the paper's."""
    seed: int = 0
    """Of networks, actions and tasks."""
    directory: Path = Path("results/projected_dm_control")
    """Where runs, evaluations and plots go."""
    paper: bool = False
    """The paper's tasks, cores, sizes and steps (Table 5); other flags still count."""

    def __post_init__(self) -> None:
        for name in ("num_steps", "num_evaluations", "num_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}.")
        unknown = [name for name in self.cores if name not in SMALL_CORES]
        if unknown:
            raise ValueError(f"--cores must be of {', '.join(SMALL_CORES)}, got {', '.join(unknown)}.")


def paper_settings() -> Settings:
    """Returns the setting of the paper's section 4.3."""
    return Settings(
        tasks=TRAINING_TASKS,
        held_out=HELD_OUT_TASKS,
        cores=("s5", "lstm"),
        num_steps=2e9,
        num_evaluations=50,
        directory=Path("results/projected_dm_control_paper"),
        paper=True,
    )


def small_config() -> MuesliConfig:
    """Returns settings that learn something in minutes."""
    return MuesliConfig(
        learning_rate=1e-3,
        discount=0.995,
        value_cost=1.0,
        num_envs=64,
        unroll_length=128,
        torso_sizes=(128,),
        observe_previous_action=True,
        num_epochs=2,
        num_minibatches=8,
        model_unroll_length=1,
        model_size=64,
        model_cost=3.0,
        num_samples=8,
        num_bins=101,
        max_value=14.0,  # stands for a return of 217; discounted ones reach 200
    )


class Evaluations:
    """The table of evaluations of a folder, a row for each task and core at each number of steps."""

    HEADINGS = ("core", "steps", "task", "split", "return", *(f"part_{i + 1}" for i in range(NUM_PARTS)))

    def __init__(self, file: Path) -> None:
        """Reads the table, if there is one."""
        self._file = file
        self.rows: list[dict[str, str]] = self._read()

    def has(self, core: str, steps: int) -> bool:
        """Returns whether a core was evaluated after so many steps."""
        return any(row["core"] == core and int(row["steps"]) == steps for row in self.rows)

    def add(self, core: str, steps: int, results: dict[tuple[str, str], InContextEvaluation]) -> None:
        """Adds what a core reached on each task and split, and writes the table.

        It is read anew before, since other processes may have added to it: of other cores, run beside.
        """
        self.rows = self._read()
        for (task, split), result in results.items():
            parts = result.returns_of_parts(NUM_PARTS).mean(axis=0)
            values = (core, steps, task, split, result.episode_returns.mean(), *parts)
            self.rows.append({name: str(value) for name, value in zip(self.HEADINGS, values, strict=True)})
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, self.HEADINGS)
            writer.writeheader()
            writer.writerows(self.rows)

    def _read(self) -> list[dict[str, str]]:
        if not self._file.exists():
            return []
        with self._file.open(newline="") as stream:
            return list(csv.DictReader(stream))

    def curve(self, core: str, task: str) -> tuple[list[int], list[float]]:
        """Returns steps and mean returns of a core on a task."""
        rows = [row for row in self.rows if row["core"] == core and row["task"] == task]
        return [int(row["steps"]) for row in rows], [float(row["return"]) for row in rows]

    def last_parts(self, core: str, task: str) -> list[float]:
        """Returns what each part of an episode brought at the last evaluation."""
        row = [row for row in self.rows if row["core"] == core and row["task"] == task][-1]
        return [float(row[f"part_{i + 1}"]) for i in range(NUM_PARTS)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and evaluates every core, prints a table and draws the plots.

    Args:
      arguments: the words of the command line, by default those of the process.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    default = paper_settings() if "--paper" in words else Settings()
    with wrong_flags_refused():
        settings = tyro.cli(Settings, args=words, default=default, description=__doc__)
    check_folder(settings)
    console = Console()
    tasks = [(task, "train") for task in settings.tasks] + [(task, "test") for task in settings.held_out]
    evaluations = Evaluations(settings.directory / "evaluations.csv")
    if not evaluations.has(RANDOM, 0):
        evaluations.add(RANDOM, 0, evaluate_tasks(evaluate_random, tasks, settings.num_episodes))
    for name in settings.cores:
        console.print(name, highlight=False)
        run(name, tasks, settings, evaluations)
    show(console, tasks, settings, evaluations)
    plot(tasks, settings, evaluations)
    console.print(f"wrote {settings.directory}/curves.png and quarters.png", highlight=False, soft_wrap=True)


def check_folder(settings: Settings) -> None:
    """Stops where the folder holds evaluations with other settings; other cores may join them."""
    now = json.loads(json.dumps(dataclasses.asdict(settings), default=str))
    for name in ("cores", "directory"):
        del now[name]
    file = settings.directory / "settings.json"
    before = json.loads(file.read_text()) if file.exists() else now
    if before != now:
        different = ", ".join(name for name in now if now[name] != before.get(name))
        raise SystemExit(f"{settings.directory} holds runs with other {different}: name another --directory.")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(now, indent=1))


def evaluate_tasks(
    evaluate: Callable[[ProjectedDmControlBatch], InContextEvaluation],
    tasks: list[tuple[str, str]],
    num_episodes: int,
) -> dict[tuple[str, str], InContextEvaluation]:
    """Evaluates each task and split behind fresh projections, others than those of training."""
    results = {}
    for task, split in tasks:
        environment = ProjectedDmControlBatch((task,), num_envs=num_episodes, seed=EVALUATION_SEED)
        with contextlib.closing(environment):
            results[task, split] = evaluate(environment)
    return results


def run(name: str, tasks: list[tuple[str, str]], settings: Settings, evaluations: Evaluations) -> None:
    """Trains a core part by part, and evaluates it behind each."""
    core = (PAPER_CORES if settings.paper else SMALL_CORES)[name]
    config = MuesliConfig.projected_dm_control() if settings.paper else small_config()
    if settings.learning_rate is not None:
        config = dataclasses.replace(config, learning_rate=settings.learning_rate)
    agent = make_agent(core=core, algorithm="muesli", config=config)
    for part in range(1, settings.num_evaluations + 1):
        num_steps = round(settings.num_steps * part / settings.num_evaluations)
        if evaluations.has(name, num_steps):
            continue
        environment = ProjectedDmControlBatch(settings.tasks, num_envs=config.num_envs, seed=settings.seed)
        with contextlib.closing(environment):
            result = train(
                agent, environment, num_steps, seed=settings.seed, directory=settings.directory / name
            )
        params = result.agent.acting_params(result.state)
        evaluate = functools.partial(evaluate_in_context, result.agent, params)
        evaluations.add(name, num_steps, evaluate_tasks(evaluate, tasks, settings.num_episodes))


def show(
    console: Console, tasks: list[tuple[str, str]], settings: Settings, evaluations: Evaluations
) -> None:
    """Prints mean returns, and those of each quarter of an episode: do they rise within it?"""
    table = Table(title=f"Mean return of {settings.num_episodes} episodes, each behind fresh projections")
    for heading in ("task", "split", "core", "return", "by quarter of the episode"):
        table.add_column(heading, justify="right" if heading == "return" else "left")
    for task, split in tasks:
        for name in (RANDOM, *settings.cores):
            parts = evaluations.last_parts(name, task)
            quarters = "  ".join(f"{part:6.1f}" for part in parts)
            table.add_row(task, split, name, f"{sum(parts):.1f}", quarters)
    console.print(table)


def plot(tasks: list[tuple[str, str]], settings: Settings, evaluations: Evaluations) -> None:
    """Draws learning curves as in the paper's figures 4 to 7, and returns by quarter of an episode."""
    curves, quarters = [], []
    for split in ("train", "test"):
        names = [task for task, of_task in tasks if of_task == split]
        if len(names) > 1:
            curves.append(_curves(f"mean of all tasks, {split}", names, settings, evaluations))
        for task in names:
            title = task if split == "train" else f"{task}, held out"
            curves.append(_curves(title, [task], settings, evaluations))
            x = list(range(1, NUM_PARTS + 1))
            by_core = {
                name: Curve(x, *[evaluations.last_parts(name, task)] * 3)
                for name in (*settings.cores, RANDOM)
            }
            quarters.append(Panel(title, "quarter of the episode", "return", by_core))
    plot_panels(curves, settings.directory / "curves.png")
    plot_panels(quarters, settings.directory / "quarters.png")


def _curves(title: str, tasks: list[str], settings: Settings, evaluations: Evaluations) -> Panel:
    lines = {}
    for name in settings.cores:
        steps = evaluations.curve(name, tasks[0])[0]
        means = np.mean([evaluations.curve(name, task)[1] for task in tasks], axis=0).tolist()
        lines[name] = Curve(steps, means, means, means)
    floor = float(np.mean([evaluations.curve(RANDOM, task)[1] for task in tasks]))
    return Panel(title, "steps", "return", lines, chance=floor)


if __name__ == "__main__":
    main()
