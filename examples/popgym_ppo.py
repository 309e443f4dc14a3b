"""PPO on POPGym: which memories solve which tasks, as in Table 2 of the paper.

The default is small: two easy tasks, three memories, minutes on a CPU. With `--environments
RepeatPreviousHard --num-steps 3e6` it is the paper's clearest result, the 64th latest card, in minutes a
memory. `--paper` is the setting of the paper (Lu et al. 2023, Table 2 and Table 4): five hard tasks, eight
seeds, 15 million steps each; take a GPU for it. Every run has a folder, so that a second call goes on where
the first one was stopped, and a row a seed in results.csv.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tyro
from flags import wrong_flags_refused
from rich.console import Console
from rich.table import Table

from s5rl import (
    FeedForwardCore,
    GRUCore,
    LSTMCore,
    PPOConfig,
    RecurrentCore,
    ResettableS5Core,
    make_agent,
    make_environment,
    train,
)

SMALL_CORES: dict[str, RecurrentCore] = {
    "s5": ResettableS5Core(state_size=256, model_size=64, num_layers=1),
    "s5_without_resets": ResettableS5Core(state_size=256, model_size=64, num_layers=1, ignore_resets=True),
    "gru": GRUCore(128),
    "lstm": LSTMCore(128),
    "feed_forward": FeedForwardCore((64,)),
}
PAPER_CORES: dict[str, RecurrentCore] = {
    "s5": ResettableS5Core.popgym(),
    "s5_without_resets": dataclasses.replace(ResettableS5Core.popgym(), ignore_resets=True),
    "gru": GRUCore.popgym(),
    "lstm": LSTMCore.popgym(),
    "feed_forward": FeedForwardCore.popgym(),
}
PAPER_ENVIRONMENTS = (
    "StatelessCartPoleHard",
    "NoisyStatelessCartPoleHard",
    "StatelessPendulumHard",
    "NoisyStatelessPendulumHard",
    "RepeatPreviousHard",
)
PAPER_RESULTS = {
    "s5": ("1.0 ± 0.0", "0.28 ± 0.0", "0.79 ± 0.01", "0.55 ± 0.01", "0.91 ± 0.04"),
    "s5_without_resets": ("1.0 ± 0.0", "0.28 ± 0.0", "0.71 ± 0.04", "0.5 ± 0.01", "0.76 ± 0.02"),
    "gru": ("1.0 ± 0.0", "0.27 ± 0.0", "0.75 ± 0.0", "0.61 ± 0.01", "-0.45 ± 0.02"),
    "feed_forward": ("0.26 ± 0.0", "0.22 ± 0.0", "0.41 ± 0.02", "0.34 ± 0.01", "-0.48 ± 0.00"),
}
"""Table 2, in the order of PAPER_ENVIRONMENTS: mean and deviation over eight seeds."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Compares memories on POPGym."""

    environments: tuple[str, ...] = ("StatelessCartPoleEasy", "RepeatPreviousEasy")
    """Names of POPGym's environments; `s5rl envs` lists them."""
    cores: tuple[str, ...] = ("s5", "gru", "feed_forward")
    """Memories: s5, s5_without_resets (the paper's second row), gru, lstm, feed_forward."""
    num_steps: float = 500_000
    """Slots of each run, 3e6 for example. In the small settings the learning rate falls to 0 over them, so
    that another number of them takes another --directory."""
    num_seeds: int = 3
    """Seeds of each run, side by side."""
    seed: int = 0
    """The first of them."""
    directory: Path = Path("results/popgym_ppo")
    """Where the runs go, one folder each, and results.csv."""
    paper: bool = False
    """The paper's environments, cores, sizes, steps and seeds (Tables 2 and 4); other flags still count."""


def paper_settings() -> Settings:
    """Returns the setting of the paper's Table 2."""
    return Settings(
        environments=PAPER_ENVIRONMENTS,
        cores=("s5", "s5_without_resets", "gru", "feed_forward"),
        num_steps=15e6,
        num_seeds=8,
        directory=Path("results/popgym_ppo_paper"),
        paper=True,
    )


def small_config(num_steps: int) -> PPOConfig:
    """Returns settings for minutes on a CPU, whose learning rate falls to 0 over `num_steps` slots."""
    num_envs, unroll_length = 32, 512  # an unroll holds what is asked for together with its question
    return PPOConfig(
        learning_rate=2e-3,
        annealing_updates=math.ceil(num_steps / (num_envs * unroll_length)),
        value_cost=20.0,  # rewards are as small as 1 / 200, and so is the gradient of the value at weight 1
        num_envs=num_envs,
        unroll_length=unroll_length,
        num_epochs=4,
        num_minibatches=8,
        torso_sizes=(64,),
        observe_previous_action=True,
        observe_is_first=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains every core on every environment, or reads what was trained before, and prints the table.

    Args:
      arguments: the words of the command line, by default those of the process.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    default = paper_settings() if "--paper" in words else Settings()
    with wrong_flags_refused():
        settings = tyro.cli(Settings, args=words, default=default, description=__doc__)
    cores = PAPER_CORES if settings.paper else SMALL_CORES
    unknown = [name for name in settings.cores if name not in cores]
    if unknown:
        raise SystemExit(f"--cores must be of {', '.join(cores)}, got {', '.join(unknown)}.")
    num_steps = int(settings.num_steps)
    if num_steps < 1 or settings.num_seeds < 1:
        raise SystemExit("--num-steps and --num-seeds must be at least 1.")
    config = PPOConfig.popgym() if settings.paper else small_config(num_steps)
    console, table = Console(), Table(title="Max-mean episodic return, mean ± deviation over seeds")
    for heading in ("environment", "core", "MMER", "the paper's", "last evaluation", "steps", "seconds now"):
        table.add_column(
            heading, overflow="fold", justify="left" if heading in ("environment", "core") else "right"
        )
    for environment in settings.environments:
        for name in settings.cores:
            console.print(f"{environment}, {name}", highlight=False)
            start = time.monotonic()
            result = train(
                make_agent(core=cores[name], config=config),
                make_environment(f"popgym/{environment}"),
                num_steps,
                seed=settings.seed,
                num_seeds=settings.num_seeds,
                directory=settings.directory / environment / name,
                evaluate_every=max(1, num_steps // 10),
                num_evaluation_episodes=50,
            )
            evaluations = result.evaluations["episode_return"][..., -1]
            keep_rows(settings, environment, name, result.mmer, evaluations)
            table.add_row(
                environment,
                name,
                f"{result.mmer.mean():.2f} ± {result.mmer.std():.2f}",
                paper_result(environment, name),
                f"{evaluations.mean():.2f} ± {evaluations.std():.2f}",
                f"{result.metrics['step'].max():,}",
                f"{time.monotonic() - start:.0f}",
            )
    console.print(table)
    console.print(f"Curves: s5rl plot {settings.directory}/*/*", highlight=False, soft_wrap=True)


def paper_result(environment: str, core: str) -> str:
    """Returns what the paper's Table 2 has for a core on an environment, "" where it has nothing."""
    if environment not in PAPER_ENVIRONMENTS or core not in PAPER_RESULTS:
        return ""
    return PAPER_RESULTS[core][PAPER_ENVIRONMENTS.index(environment)]


def keep_rows(
    settings: Settings, environment: str, core: str, mmer: np.ndarray, evaluations: np.ndarray
) -> None:
    """Puts one row a seed into results.csv, in the place of those that the core had on that environment."""
    path = settings.directory / "results.csv"
    header = ["environment", "core", "seed", "num_steps", "mmer", "evaluation"]
    kept: list[list[str]] = []
    if path.exists():
        with path.open(newline="") as file:
            kept = [row for row in list(csv.reader(file))[1:] if row[:2] != [environment, core]]
    results = zip(np.atleast_1d(mmer), np.atleast_1d(evaluations), strict=True)
    rows = [
        [environment, core, settings.seed + index, int(settings.num_steps), f"{best:.4f}", f"{last:.4f}"]
        for index, (best, last) in enumerate(results)
    ]
    draft = path.with_suffix(".tmp")
    with draft.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *kept, *rows])
    draft.replace(path)


if __name__ == "__main__":
    main()
