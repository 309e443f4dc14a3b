"""`s5rl evaluate`: whole episodes with what a run has learned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import dm_env
import numpy as np
import tyro
from rich.table import Table

from s5rl.commands.console import say
from s5rl.commands.environments import EVALUATION, make_named
from s5rl.commands.settings import read_settings
from s5rl.commands.summary import spread
from s5rl.compilation_cache import enable_compilation_cache
from s5rl.description import rebuild
from s5rl.envs import BatchedEnvironment, JaxEnvironment
from s5rl.training import RunDirectoryError
from s5rl.training import evaluate as evaluate_agent
from s5rl.training.run_directory import read_run
from s5rl.training.saved import load_run


def evaluate(
    directory: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    num_episodes: int = 100,
    seed: int = 0,
    environment: str | None = None,
    env: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="NAME=VALUE")] = (),
    checkpoint: int | None = None,
    compilation_cache: bool = True,
) -> int:
    """Evaluates each seed of a run: whole episodes, fresh memory, the most probable actions.

    Args:
      directory: folder of the run.
      num_episodes: episodes of each seed.
      seed: of the episodes, the same ones for each seed of the run.
      environment: another environment with the same observations and actions; None for that of the run.
      env: an option of the environment, such as memory_length=64, in place of all options of the run.
      checkpoint: updates after which it was written; None for the latest.
      compilation_cache: whether compiled programs are kept for later calls, in the user's cache folder.

    Returns:
      0.
    """
    if compilation_cache:
        enable_compilation_cache()
    saved = load_run(directory, num_updates=checkpoint)
    num_copies = min(read_run(directory)["num_envs"], num_episodes)
    target = _environment(directory, saved.environment, environment, env, num_copies, seed)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("seed", "return", "± episodes", "worst", "best", "length"):
        table.add_column(name, justify="right")
    means = []
    for index, run_seed in enumerate(saved.seeds):
        params = saved.agent.acting_params(saved.of_seed(index))
        returns, lengths = evaluate_agent(saved.agent, params, target, num_episodes, seed)
        means.append(returns.mean())
        numbers = (returns.mean(), returns.std(), returns.min(), returns.max(), lengths.mean())
        table.add_row(str(run_seed), *(f"{number:.4g}" for number in numbers))
    say(f"{num_episodes} episodes of each seed, after {saved.num_updates} updates", "", table)
    if len(means) > 1:
        say("", f"return {spread(np.array(means))} over {len(means)} seeds")
    return 0


def _environment(
    directory: Path,
    description: Any,
    name: str | None,
    options: tuple[str, ...],
    num_copies: int,
    seed: int,
) -> JaxEnvironment | BatchedEnvironment | list[dm_env.Environment]:
    """Returns the environment that was asked for, or that of the run."""
    settings = read_settings(directory)
    if settings is not None:
        own_options = settings.options if name is None and not options else options
        name, options = name or settings.environment, own_options
    if name is not None:
        return make_named(name, options, num_envs=num_copies, seed=seed, purpose=EVALUATION)
    if options or "host" in description:
        raise RunDirectoryError(
            f"the run in {directory} was started by train(...) in Python: give --environment with a name "
            "that `s5rl envs` lists, or call evaluate(...) there."
        )
    return rebuild(description)
