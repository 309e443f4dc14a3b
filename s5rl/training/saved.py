"""What a run has saved, read without the script that trained it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import jax

from s5rl.agents import Agent, AgentState
from s5rl.cores import RecurrentCore
from s5rl.description import Description, rebuild
from s5rl.references import LoadError
from s5rl.training.checkpoints import CheckpointError, Checkpoints
from s5rl.training.run_directory import CHECKPOINTS_FOLDER, read_run


class SavedRun(NamedTuple):
    """An agent and what it has learned."""

    agent: Agent
    """Bound to the specs of its environment."""
    state: AgentState
    """What it learned; with several seeds every leaf has a leading seed axis."""
    seeds: tuple[int, ...]
    """Of the run."""
    environment: Description
    """For `s5rl.description.rebuild`, where it is a JaxEnvironment."""
    num_updates: int
    """Updates done when the checkpoint was written."""

    def of_seed(self, index: int) -> AgentState:
        """Returns what one of the seeds has learned; index 0 is the only one where there is one seed."""
        return self.state if len(self.seeds) == 1 else jax.tree.map(lambda leaf: leaf[index], self.state)


def load_run(
    directory: str | os.PathLike[str], core: RecurrentCore | None = None, num_updates: int | None = None
) -> SavedRun:
    """Reads an agent and what it has learned from the folder of a run.

    Args:
      directory: of the run.
      core: the memory, where the stored one cannot be imported any more; None for the stored one.
      num_updates: which checkpoint; None for the latest.

    Raises:
      RunDirectoryError: the folder holds no run.
      CheckpointError: there is no such checkpoint, it is damaged, or `core` does not fit it.
      LoadError: the agent cannot be imported any more.
    """
    stored = read_run(directory)
    given = {} if core is None else {"core": core}
    try:
        agent: Agent = rebuild(stored["agent"], **given)
    except LoadError as error:
        hint = "" if given else " If it is the core, give it: load_policy(directory, core=...)."
        raise LoadError(f"the agent in {directory} cannot be made again: {error}{hint}") from error
    checkpoints = Checkpoints(Path(directory) / CHECKPOINTS_FOLDER)
    try:
        num_updates = _checkpoint(directory, checkpoints.all(), num_updates)
        num_seeds = len(stored["seeds"])
        state = checkpoints.restore_agent_state(num_updates, _shapes(agent, num_seeds))
    finally:
        checkpoints.close()
    return SavedRun(agent, state, tuple(stored["seeds"]), stored["environment"], num_updates)


def _checkpoint(directory: Any, steps: list[int], asked: int | None) -> int:
    if not steps:
        raise CheckpointError(f"the run in directory {directory} has no checkpoint yet.")
    if asked is not None and asked not in steps:
        raise CheckpointError(
            f"num_updates must be that of a checkpoint in {directory}, one of {steps}, got {asked}."
        )
    return steps[-1] if asked is None else asked


def _shapes(agent: Agent, num_seeds: int) -> Any:
    """Returns the shapes of the agent's state, as a run with so many seeds has them."""
    shapes = jax.eval_shape(agent.init, jax.random.key(0))
    if num_seeds == 1:
        return shapes
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((num_seeds, *leaf.shape), leaf.dtype), shapes)
