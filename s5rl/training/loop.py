"""What both loops are: a run that goes on by whole updates."""

from __future__ import annotations

import abc
from typing import NamedTuple

from s5rl.agents import Agent, AgentState
from s5rl.training.memory_needed import MemoryNeeded
from s5rl.training.metrics import Columns
from s5rl.types import PyTree


class NonFiniteError(FloatingPointError):
    """A run met a number that is NaN or infinite, from which nothing can be learned."""


class Snapshot(NamedTuple):
    """Everything that a run carries from one update to the next, in nests of arrays."""

    agent_state: AgentState
    """What was learned; all that a policy needs."""
    run_state: PyTree
    """Memories, random keys, counts, and environments in JAX."""
    environment_states: PyTree = None
    """Those of environments on the host: a tuple with what each process has; None where they have none."""


class Loop(abc.ABC):
    """A run in memory; files, logs and the screen are not its business."""

    @property
    @abc.abstractmethod
    def agent_state(self) -> AgentState:
        """What was learned, until the next `advance`; with a leading seed axis where there are several."""

    @property
    @abc.abstractmethod
    def chunk_length(self) -> int:
        """The most updates between two visits of the host."""

    @abc.abstractmethod
    def advance(self, num_updates: int) -> Columns:
        """Trains on.

        Args:
          num_updates: from 1 to `chunk_length`.

        Returns:
          The metrics [num_updates], or [seeds, num_updates] with several seeds.

        Raises:
          NonFiniteError: an observation or a reward is not a number, and the loop notices before it acts.
        """

    @abc.abstractmethod
    def memory_needed(self, agent: Agent) -> MemoryNeeded:
        """Returns what an update needs on a device, as compiled for an agent in the place of the run's.

        Args:
          agent: the run's, but for what changes no result, such as `microbatch_size`.
        """

    @abc.abstractmethod
    def take_agent(self, agent: Agent) -> None:
        """Goes on with an agent that differs from the run's in what changes no result."""

    @abc.abstractmethod
    def snapshot(self) -> Snapshot:
        """Returns what `restore` needs to go on from here."""

    @abc.abstractmethod
    def restore(self, snapshot: Snapshot) -> None:
        """Goes back to where a snapshot was taken; host environments without states begin new episodes."""
