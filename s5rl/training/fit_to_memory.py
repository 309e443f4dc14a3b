"""Learning in microbatches that are as large as a budget of memory allows."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

from s5rl.agents import Agent
from s5rl.agents.memory_agent import MemoryAgent
from s5rl.agents.microbatches import largest_divisor
from s5rl.training.loop import Loop
from s5rl.training.memory_needed import MemoryNeeded, format_bytes


class Fit(NamedTuple):
    """What was chosen."""

    microbatch_size: int | None
    """Rows at a time; None for all of a minibatch."""
    num_rows: int
    """Of a minibatch."""
    needed: int
    """Bytes of the update."""

    def __str__(self) -> str:
        how = "all" if self.microbatch_size is None else self.microbatch_size
        return (
            f"An update learns from {how} of the {self.num_rows} rows of a minibatch at a time and needs "
            f"{format_bytes(self.needed)} of memory."
        )


def fit_to_memory(loop: Loop, agent: Agent, num_envs: int, budget: int, num_shares: int) -> Fit:
    """Lets a run learn in the largest microbatches whose program fits into a budget.

    The compiler is asked: first for all rows at once, then for microbatches of a size at which the memory
    would fit if it grew linearly with the size. That takes two to five compilations; the program of the last
    one is the one that runs.

    Args:
      loop: the run.
      agent: of the run; a `microbatch_size` that it has is put aside.
      num_envs: number of environments.
      budget: bytes on a device.
      num_shares: number of devices that share the environments; each has as many rows of a microbatch.

    Returns:
      What was chosen.

    Raises:
      TypeError: the agent does not learn in microbatches.
      ValueError: one row at a time needs more than the budget.
    """
    if not isinstance(agent, MemoryAgent):
        raise TypeError(f"memory_budget needs an agent that make_agent makes, got {agent!r}.")
    agent = dataclasses.replace(agent, microbatch_size=None)
    num_rows = agent.config.minibatch_size(num_envs)
    num_shares = math.gcd(num_rows, num_shares)  # of replayed rows there may be any number
    needed = loop.memory_needed(agent)
    # An update may also go over all rows at once without a gradient, as PPO does for its values.
    guess = num_envs / num_shares * budget / needed.total
    share, tried = num_rows // num_shares + 1, (0, 0)
    while needed.total > budget:
        if share == 1:
            raise ValueError(_too_much(needed, agent, num_envs, budget))
        share = largest_divisor(num_rows // num_shares, max(1, min(int(guess), share - 1)))
        agent = dataclasses.replace(agent, microbatch_size=share * num_shares)
        needed = loop.memory_needed(agent)
        slope = (needed.total - tried[1]) / (share - tried[0])
        guess = share - (needed.total - budget) / slope if slope > 0 else 1
        tried = share, needed.total
    loop.take_agent(agent)
    return Fit(agent.microbatch_size, num_rows, needed.total)


def _too_much(needed: MemoryNeeded, agent: MemoryAgent, num_envs: int, budget: int) -> str:
    rest = max(needed.total - needed.kept - needed.trajectory, 0)
    parts = {
        "parameters, optimiser, environments and what else is kept": needed.kept,
        f"a trajectory of {agent.config.unroll_length} slots in {num_envs} environments": needed.trajectory,
        "what learning computes, gradients among it": rest,
    }
    largest = max(parts, key=lambda name: parts[name])
    listed = ", ".join(f"{format_bytes(size)} for {name}" for name, size in parts.items())
    return (
        f"memory_budget is {format_bytes(budget)}, but an update needs {format_bytes(needed.total)} even if "
        f"it learns from as few rows at a time as it can, {agent.microbatch_size}: {listed}. Most of it is "
        f"for {largest}. Fewer environments, a shorter unroll_length or a smaller network need less."
    )
