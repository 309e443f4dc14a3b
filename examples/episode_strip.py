"""Pictures of an episode: what the policy of a finished run does behind fresh projections, as a strip.

    python examples/episode_strip.py results/projected_dm_control/s5 --task cartpole/swingup

The folder is one that `train` wrote, such as those of `projected_dm_control.py`, which have projections of
the default settings. Drawing needs EGL or OSMesa: `MUJOCO_GL=egl`, which is the default here, or `osmesa`.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.style
import numpy as np
import tyro
from flags import wrong_flags_refused
from matplotlib.figure import Figure

from s5rl import load_policy
from s5rl.envs import ProjectedDmControl
from s5rl.training import Policy
from s5rl.types import EnvironmentSpec

NUM_COLUMNS = 6


@dataclasses.dataclass(frozen=True)
class Settings:
    """Draws an episode of a policy."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    task: str = "cartpole/swingup"
    """Of DMControl; one that was held out is as good."""
    every: int = 100
    """Steps between two pictures; an episode has 1000."""
    seed: int = 1_000_000
    """Of the task and its projections."""
    output: Path = Path("results/episode_strip.png")
    """The picture."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"--every must be at least 1, got {self.every}.")


class Frame(NamedTuple):
    """A moment of an episode."""

    step: int
    episode_return: float
    """Of the steps up to here."""
    picture: np.ndarray
    """uint8 [H, W, 3]."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Plays an episode and writes the strip.

    Args:
      arguments: the words of the command line, by default those of the process.
    """
    with wrong_flags_refused():
        settings = tyro.cli(Settings, args=arguments, description=__doc__)
    os.environ.setdefault("MUJOCO_GL", "egl")  # before the first environment, which turns drawing off else
    environment = ProjectedDmControl((settings.task,), seed=settings.seed)
    try:
        frames = play(load_policy(settings.run), environment, settings.every)
    finally:
        environment.close()  # dm_control complains of a renderer that is open at the end
    draw(frames, settings.task, settings.output)
    print(f"return {frames[-1].episode_return:.1f}, wrote {settings.output}")


def play(policy: Policy, environment: ProjectedDmControl, every: int) -> list[Frame]:
    """Returns the first moment of an episode, every so manieth one behind, and the last one.

    Raises:
      ValueError: the policy is one of other observations or actions.
    """
    policy.agent.bind(EnvironmentSpec.from_environment(environment))  # raises where they do not fit
    timestep, state = environment.reset(), policy.initial_state()
    step, episode_return = 0, 0.0
    frames = [Frame(step, episode_return, environment.render())]
    while not timestep.last():
        action, state = policy.step(timestep, state)
        timestep = environment.step(action)
        step, episode_return = step + 1, episode_return + timestep.reward
        if step % every == 0 or timestep.last():
            frames.append(Frame(step, episode_return, environment.render()))
    return frames


@matplotlib.style.context("default")
def draw(frames: Sequence[Frame], title: str, path: Path) -> None:
    """Writes the frames in rows, each with its step and the return so far, as a PNG."""
    num_rows = math.ceil(len(frames) / NUM_COLUMNS)
    figure = Figure(figsize=(2.1 * NUM_COLUMNS, 1.9 * num_rows + 0.3), layout="constrained")
    figure.suptitle(title)
    grid = list(figure.subplots(num_rows, NUM_COLUMNS, squeeze=False).flat)
    for axes in grid:
        axes.set_axis_off()
    for axes, frame in zip(grid, frames, strict=False):
        axes.imshow(frame.picture)
        axes.set_title(f"step {frame.step}: {frame.episode_return:.0f}", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
