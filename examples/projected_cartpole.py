"""Muesli on projected CartPole and Pendulum, fully compiled: a small relative of `projected_dm_control.py`.

Every episode is a CartPole or a Pendulum of POPGym, of which only positions are seen, behind random
projections of observation and action (Algorithm 1 of Lu et al. 2023). The environments are written in JAX, so
that acting and learning are one compiled program. How many projections there are makes it easy or hard. By
default each environment has one, so that the agent has to find out in which it is, and how fast things move.
`--projections 4` has four of each, and `--projections 0` fresh ones in every episode, as the paper has them.
A run that is stopped goes on when it is called again.

Three minutes on two idle cores. Three seeds of the default reached 0.76, 0.89 and 0.78 with S5, and 0.31,
0.30 and 0.35 without memory; random actions bring 0.20. With fresh projections 300,000 steps of CartPole did
not suffice: 0.20 with S5, 0.19 without memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tyro
from flags import wrong_flags_refused
from rich.console import Console
from rich.table import Table

from s5rl import FeedForwardCore, LSTMCore, MuesliConfig, RecurrentCore, ResettableS5Core, make_agent, train
from s5rl.envs import DmEnvBatch, JaxEnvironment, ProjectedEnvironment, ProjectionSettings, as_dm_env
from s5rl.envs.popgym import CartPole, Pendulum
from s5rl.plots import Curve, Panel, plot_panels
from s5rl.training import TrainResult, evaluate_random

CORES: dict[str, RecurrentCore] = {
    "s5": ResettableS5Core(state_size=64, model_size=64, num_layers=2),
    "lstm": LSTMCore(64),
    "feed_forward": FeedForwardCore((64,)),
}
ENVIRONMENTS: dict[str, JaxEnvironment] = {"CartPole": CartPole(), "Pendulum": Pendulum()}
SCALE = 5.0  # of the projections: the pole falls at an angle of 0.2
EVALUATION_SEED = 1_000_000


@dataclasses.dataclass(frozen=True)
class Settings:
    """Compares memories on projected CartPole and Pendulum."""

    environments: tuple[str, ...] = ("CartPole", "Pendulum")
    """To draw from in each episode: CartPole, Pendulum."""
    projections: int = 1
    """Of each environment, to draw from in each episode; 0 for fresh ones."""
    cores: tuple[str, ...] = ("s5", "feed_forward")
    """Memories: s5, lstm, feed_forward."""
    num_steps: float = 600_000
    """Slots of each run, such as 2e6; the learning rate falls to 0 over them."""
    num_seeds: int = 1
    """Seeds of each run, side by side."""
    num_episodes: int = 100
    """Episodes of an evaluation."""
    seed: int = 0
    """The first of the seeds."""
    directory: Path = Path("results/projected_cartpole")
    """Where runs and the plot go."""

    def __post_init__(self) -> None:
        for name, least in (("projections", 0), ("num_steps", 1), ("num_seeds", 1), ("num_episodes", 1)):
            if getattr(self, name) < least:
                flag = name.replace("_", "-")
                raise ValueError(f"--{flag} must be at least {least}, got {getattr(self, name)}.")
        for name, known in (("environments", ENVIRONMENTS), ("cores", CORES)):
            given = getattr(self, name)
            if not given or not set(given) <= set(known):
                raise ValueError(f"--{name} must be of {', '.join(known)}, got {', '.join(given)}.")


def muesli_config(num_steps: float) -> MuesliConfig:
    """Returns settings that learn something in minutes."""
    num_envs, unroll_length = 32, 64
    return MuesliConfig(
        learning_rate=1e-3,
        annealing_updates=-(-int(num_steps) // (num_envs * unroll_length)),
        discount=0.99,
        num_envs=num_envs,
        unroll_length=unroll_length,
        num_epochs=4,
        num_minibatches=2,
        torso_sizes=(64,),
        observe_previous_action=True,
        observe_is_first=True,
        model_unroll_length=1,
        model_size=64,
        num_samples=8,
        num_bins=101,
        max_value=0.3,  # rewards are as small as 1 / 200, and discounted returns reach 0.43
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains every core, or reads what was trained before, prints a table and draws the learning curves.

    Args:
      arguments: the words of the command line, by default those of the process.
    """
    with wrong_flags_refused():
        settings = tyro.cli(Settings, args=arguments, description=__doc__)
    console = Console()
    environment = projected(settings)
    results = {}
    for name in settings.cores:
        console.print(name, highlight=False)
        results[name] = run(name, environment, settings)
    floor = random_return(environment, settings.num_episodes)
    show(console, results, floor, settings.num_episodes)
    plot(results, floor, settings)
    console.print(f"wrote {settings.directory}/curves.png", highlight=False, soft_wrap=True)


def projected(settings: Settings) -> ProjectedEnvironment:
    """Returns what is learned: at each reset an environment and its projections are drawn."""
    members = tuple(ENVIRONMENTS[name] for name in settings.environments)
    is_fixed = settings.projections > 0
    # An environment that is listed several times has as many projections.
    return ProjectedEnvironment(
        members * max(1, settings.projections),
        ProjectionSettings(observation_size=2, action_size=2, scale=SCALE, fixed_projections=is_fixed),
    )


def run(name: str, environment: ProjectedEnvironment, settings: Settings) -> TrainResult:
    """Trains a core."""
    num_steps = int(settings.num_steps)
    return train(
        make_agent(core=CORES[name], algorithm="muesli", config=muesli_config(num_steps)),
        environment,
        num_steps,
        seed=settings.seed,
        num_seeds=settings.num_seeds,
        directory=settings.directory / name,
        evaluate_every=max(1, num_steps // 10),
        num_evaluation_episodes=settings.num_episodes,
    )


def random_return(environment: ProjectedEnvironment, num_episodes: int) -> float:
    """Returns what random actions reach on average."""
    rows = [as_dm_env(environment, EVALUATION_SEED + row) for row in range(num_episodes)]
    return float(evaluate_random(DmEnvBatch(rows)).episode_returns.mean())


def show(console: Console, results: dict[str, TrainResult], floor: float, num_episodes: int) -> None:
    """Prints what each core reached at its last evaluation, beside random actions."""
    table = Table(title=f"Mean return of {num_episodes} episodes; at most 1")
    for heading in ("core", "return", "of each seed"):
        table.add_column(heading)
    table.add_row("random", f"{floor:.2f}")
    for name, result in results.items():
        returns = np.atleast_2d(result.evaluations["episode_return"])[:, -1]
        of_seeds = "  ".join(f"{value:.2f}" for value in returns)
        table.add_row(name, f"{returns.mean():.2f}", of_seeds)
    console.print(table)


def plot(results: dict[str, TrainResult], floor: float, settings: Settings) -> None:
    """Draws mean returns over training, with the range of the seeds."""
    curves = {}
    for name, result in results.items():
        steps, returns = (np.atleast_2d(result.evaluations[key]) for key in ("step", "episode_return"))
        lines = (returns.mean(axis=0), returns.min(axis=0), returns.max(axis=0))
        curves[name] = Curve(steps[0].tolist(), *(line.tolist() for line in lines))
    title = " and ".join(settings.environments)
    panel = Panel(f"projected {title}", "steps", "mean return", curves, chance=floor)
    plot_panels([panel], settings.directory / "curves.png")


if __name__ == "__main__":
    main()
