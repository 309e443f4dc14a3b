"""`s5rl resume`: a run goes on where it was stopped."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from s5rl.commands.counts import StepCount
from s5rl.commands.settings import read_settings
from s5rl.commands.summary import summarize
from s5rl.commands.train import run
from s5rl.description import rebuild
from s5rl.training import RunDirectoryError, train
from s5rl.training.run_directory import read_run


def resume(
    directory: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    num_steps: StepCount | None = None,
) -> int:
    """Goes on with a run, up to the steps that it was to do, or to others.

    Args:
      directory: folder of the run.
      num_steps: steps of the whole run, those that are done among them; None for what the run was started
        with.

    Returns:
      0.
    """
    stored = read_run(directory)
    agent, seeds, num_envs = rebuild(stored["agent"]), stored["seeds"], stored["num_envs"]
    settings = read_settings(directory)
    if settings is not None:
        if num_steps is not None:
            settings = dataclasses.replace(settings, num_steps=num_steps)
        return run(agent, settings, directory, seed=seeds[0], num_seeds=len(seeds), num_envs=num_envs)
    if "host" in stored["environment"]:
        raise RunDirectoryError(
            f"the run in {directory} was started by train(...) in Python, on an environment that "
            "cannot be made again from the folder: call train(...) again with the same arguments."
        )
    if num_steps is None:
        raise RunDirectoryError(
            f"the run in {directory} was started by train(...) in Python, and the folder does not say "
            "how long it was to be: give --num-steps."
        )
    environment = rebuild(stored["environment"])
    result = train(
        agent,
        environment,
        num_steps,
        seeds[0],
        num_seeds=len(seeds),
        num_envs=num_envs,
        directory=directory,
    )
    summarize(result, directory, num_steps)
    return 0
