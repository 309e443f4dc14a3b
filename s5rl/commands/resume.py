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
from s5rl.compilation_cache import enable_compilation_cache
from s5rl.description import rebuild
from s5rl.training import RunDirectoryError, train
from s5rl.training.run_directory import read_num_steps, read_run


def resume(
    directory: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    num_steps: StepCount | None = None,
    memory_budget: str | None = None,
    num_devices: int | None = None,
    compilation_cache: bool = True,
) -> int:
    """Goes on with a run, up to the steps that it was to do, or to others.

    Args:
      directory: folder of the run.
      num_steps: steps of the whole run, those that are done among them; None for what the run was started
        with.
      memory_budget: the most memory of a device that an update may need, such as 8GiB; None for that of
        `s5rl train`, and no limit where the run was started in Python.
      num_devices: that share the environments, and the seeds; None for one.
      compilation_cache: whether compiled programs are kept for later calls, in the user's cache folder.

    Returns:
      0.
    """
    if compilation_cache:
        enable_compilation_cache()
    stored = read_run(directory)
    agent, seeds, num_envs = rebuild(stored["agent"]), stored["seeds"], stored["num_envs"]
    settings = read_settings(directory)
    if settings is not None:
        if num_steps is not None:
            settings = dataclasses.replace(settings, num_steps=num_steps)
        if memory_budget is not None:
            settings = dataclasses.replace(settings, memory_budget=memory_budget)
        return run(
            agent,
            settings,
            directory,
            seed=seeds[0],
            num_seeds=len(seeds),
            num_envs=num_envs,
            num_devices=num_devices,
        )
    if "host" in stored["environment"]:
        raise RunDirectoryError(
            f"the run in {directory} was started by train(...) in Python, on an environment that "
            "cannot be made again from the folder: call train(...) again with the same arguments."
        )
    num_steps = read_num_steps(directory) if num_steps is None else num_steps
    environment = rebuild(stored["environment"])
    result = train(
        agent,
        environment,
        num_steps,
        seeds[0],
        num_seeds=len(seeds),
        num_envs=num_envs,
        devices=num_devices,
        memory_budget=memory_budget,
        directory=directory,
    )
    summarize(result, directory, num_steps)
    return 0
