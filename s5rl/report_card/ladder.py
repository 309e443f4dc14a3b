"""The tasks of a report card, from the easiest up."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple, final

from scipy.special import ndtr

from s5rl.envs import DistractedCue, JaxEnvironment, MemoryChain
from s5rl.envs.popgym import RepeatFirst, RepeatPrevious

NOISY_LENGTH = 8
"""Memory length of the tasks with noise."""


class Family(NamedTuple):
    """Tasks that differ in one number."""

    title: str
    """The environment."""
    size: str
    """What the number is."""


FAMILIES: dict[str, Family] = {
    "chain": Family("memory_chain", "memory length"),
    "distractors": Family("distracted_cue", "memory length"),
    "noise": Family(f"distracted_cue of length {NOISY_LENGTH}", "noise"),
    "repeat_previous": Family("popgym RepeatPrevious, one deck", "k"),
    "repeat_first": Family("popgym RepeatFirst", "decks"),
}
"""By the first part of a task's name."""


@final
@dataclasses.dataclass(frozen=True)
class Task:
    """One rung of the ladder.

    Attributes:
      family: a key of `FAMILIES`.
      size: the number that the family varies.
      environment: the environment.
      num_steps: slots of training, for each seed.
      chance: expected return of actions drawn uniformly.
      optimum: the largest expected return, or a bound that no memory can pass.
    """

    family: str
    size: float
    environment: JaxEnvironment
    num_steps: int
    chance: float
    optimum: float

    @property
    def name(self) -> str:
        """Such as "chain/16"."""
        return f"{self.family}/{self.size:g}"

    def score(self, episode_return: float) -> float:
        """Returns (return - chance) / (optimum - chance): 0 for chance, 1 for the best there is."""
        return (episode_return - self.chance) / (self.optimum - self.chance)


def _chain(length: int, num_steps: int) -> Task:
    return Task("chain", length, MemoryChain(length), num_steps, chance=0.0, optimum=1.0)


def _distractors(length: int, num_steps: int) -> Task:
    return Task("distractors", length, DistractedCue(length), num_steps, chance=0.0, optimum=1.0)


def _noise(noise: float, num_steps: int) -> Task:
    optimum = 1.0 - 2.0 * float(ndtr(-1.0 / noise))
    return Task("noise", noise, DistractedCue(NOISY_LENGTH, noise), num_steps, chance=0.0, optimum=optimum)


# A suit in four is right: 1/4 - 3/4 of what all answers pay together, which is 1.
def _repeat_previous(k: int, num_steps: int) -> Task:
    return Task("repeat_previous", k, RepeatPrevious(1, k), num_steps, chance=-0.5, optimum=1.0)


def _repeat_first(num_steps: int) -> Task:
    return Task("repeat_first", 1, RepeatFirst(1), num_steps, chance=-0.5, optimum=1.0)


LADDER: tuple[Task, ...] = (
    *(_chain(length, steps) for length, steps in ((1, 40_000), (4, 60_000), (16, 80_000), (64, 300_000))),
    *(_distractors(length, steps) for length, steps in ((4, 60_000), (16, 80_000), (64, 300_000))),
    _noise(0.5, 80_000),
    *(_repeat_previous(k, 200_000) for k in (2, 4)),
    _repeat_first(200_000),
)
"""Small enough that a core of width 64 climbs it in a few minutes on two CPUs."""


def select_tasks(words: Sequence[str]) -> tuple[Task, ...]:
    """Returns the tasks of the ladder that words name, in the order of the ladder; without words, all.

    Args:
      words: names of tasks, such as "chain/16", or of families, such as "chain".

    Raises:
      ValueError: a word names no task and no family.
    """
    known = {word for task in LADDER for word in (task.name, task.family)}
    for word in words:
        if word not in known:
            names = ", ".join(task.name for task in LADDER)
            raise ValueError(f"tasks must be families or names among {names}, got {word!r}.")
    return tuple(task for task in LADDER if not words or {task.name, task.family} & set(words))
