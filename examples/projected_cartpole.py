"""Muesli on projected CartPole and Pendulum, fully compiled: a small relative of `projected_dm_control.py`.

Every episode is a CartPole or a Pendulum of POPGym, of which only positions are seen, behind other random
projections of observation and action (Algorithm 1 of Lu et al. 2023). Which of the two it is, where the
numbers come from and what the actions do is to be found out within the 200 steps of the episode. The
environments are written in JAX, so that acting and learning are one compiled program. Every run has a folder,
so that a second call goes on where the first one was stopped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from s5rl import FeedForwardCore, LSTMCore, MuesliConfig, RecurrentCore, ResettableS5Core, make_agent, train
from s5rl.envs import DmEnvBatch, JaxEnvironment, ProjectedEnvironment, ProjectionSettings, as_dm_env
from s5rl.envs.popgym import CartPole, Pendulum
from s5rl.plots import Curve, Panel, plot_panels
from s5rl.training import TrainResult, evaluate, evaluate_random

CORES: dict[str, RecurrentCore] = {
    "s5": ResettableS5Core(state_size=64, model_size=64, num_layers=2),
    "lstm": LSTMCore(64),
    "feed_forward": FeedForwardCore((64,)),
}
ENVIRONMENTS: dict[str, JaxEnvironment] = {"CartPole": CartPole(), "Pendulum": Pendulum()}
PROJECTION = ProjectionSettings(observation_size=4, action_size=2)
RANDOM = "random"
EVALUATION_SEED = 1_000_000


@dataclasses.dataclass(frozen=True)
class Settings:
    """Compares memories on projected CartPole and Pendulum."""

    environments: tuple[str, ...] = ("CartPole", "Pendulum")
    """To draw from in each episode: CartPole, Pendulum."""
    cores: tuple[str, ...] = ("s5", "feed_forward")
    """Memories: s5, lstm, feed_forward."""
    num_steps: float = 500_000
    """Slots of each run, such as 2e6."""
    num_seeds: int = 2
    """Seeds of each run, side by side."""
    num_episodes: int = 100
    """Episodes of an evaluation, for each environment."""
    seed: int = 0
    """The first of the seeds."""
    directory: Path = Path("results/projected_cartpole")
    """Where runs and the plot go."""

    def __post_init__(self) -> None:
        for name in ("num_steps", "num_seeds", "num_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}.")
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
        model_unroll_length=3,
        model_size=64,
        num_bins=101,
        max_value=0.3,  # rewards are as small as 1 / 200, and discounted returns reach 0.43
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains every core, or reads what was trained before, prints a table and draws the learning curves.

    Args:
      arguments: the words of the command line, by default those of the process.
    """
    settings = tyro.cli(Settings, args=arguments, description=__doc__)
    console = Console()
    results = {}
    for name in settings.cores:
        console.print(name, highlight=False)
        results[name] = run(name, settings)
    show(console, results, settings)
    plot(results, settings)
    console.print(f"wrote {settings.directory}/curves.png", highlight=False, soft_wrap=True)


def projected(*names: str) -> ProjectedEnvironment:
    """Returns environments behind fresh projections in every episode, one of them drawn at each reset."""
    return ProjectedEnvironment(tuple(ENVIRONMENTS[name] for name in names), PROJECTION)


def run(name: str, settings: Settings) -> TrainResult:
    """Trains a core on all environments."""
    num_steps = int(settings.num_steps)
    return train(
        make_agent(core=CORES[name], algorithm="muesli", config=muesli_config(num_steps)),
        projected(*settings.environments),
        num_steps,
        seed=settings.seed,
        num_seeds=settings.num_seeds,
        directory=settings.directory / name,
        evaluate_every=max(1, num_steps // 10),
        num_evaluation_episodes=settings.num_episodes,
    )


def random_returns(name: str, num_episodes: int) -> np.ndarray:
    """Returns what random actions reach in episodes of an environment."""
    environment = projected(name)
    rows = [as_dm_env(environment, EVALUATION_SEED + row) for row in range(num_episodes)]
    return evaluate_random(DmEnvBatch(rows)).episode_returns


def show(console: Console, results: dict[str, TrainResult], settings: Settings) -> None:
    """Prints what each core reaches on each environment, beside random actions."""
    table = Table(title=f"Mean return of {settings.num_episodes} episodes, each behind fresh projections")
    for heading in ("environment", "core", "return", "of each seed"):
        table.add_column(heading, justify="right" if heading == "return" else "left")
    for environment in settings.environments:
        table.add_row(environment, RANDOM, f"{random_returns(environment, settings.num_episodes).mean():.2f}")
        for name, result in results.items():
            means = []
            for index in range(settings.num_seeds):
                state = result.seed(index).state if settings.num_seeds > 1 else result.state
                params = result.agent.acting_params(state)
                evaluation = evaluate(
                    result.agent, params, projected(environment), settings.num_episodes, EVALUATION_SEED
                )
                means.append(evaluation.episode_returns.mean())
            of_seeds = "  ".join(f"{mean:.2f}" for mean in means)
            table.add_row(environment, name, f"{np.mean(means):.2f}", of_seeds)
    console.print(table)


def plot(results: dict[str, TrainResult], settings: Settings) -> None:
    """Draws mean returns over training, with the range of the seeds."""
    curves = {}
    for name, result in results.items():
        steps, returns = (np.atleast_2d(result.evaluations[key]) for key in ("step", "episode_return"))
        ends = (returns.mean(axis=0), returns.min(axis=0), returns.max(axis=0))
        curves[name] = Curve(steps[0].tolist(), *(line.tolist() for line in ends))
    panel = Panel(" and ".join(settings.environments), "steps", "mean return", curves)
    plot_panels([panel], settings.directory / "curves.png")


if __name__ == "__main__":
    main()
