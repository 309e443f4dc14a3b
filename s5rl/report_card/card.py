"""Making a report card: train on every rung, measure resets and costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from s5rl.conformance import Contamination, measure_contamination
from s5rl.cores import RecurrentCore
from s5rl.report_card.costs import Costs, measure_costs
from s5rl.report_card.ladder import LADDER, Task
from s5rl.report_card.learner import make_learner
from s5rl.training import train
from s5rl.training.keys import check_seed
from s5rl.training.metrics import final_returns
from s5rl.validation import check_positive

SOLVED = 0.9
"""A rung is solved from this mean score on: 95 % right answers to a question with two."""


class TaskScore(NamedTuple):
    """What was reached on a rung."""

    task: str
    """Name of the task."""
    scores: tuple[float, ...]
    """Of each seed: 0 for chance, 1 for the best there is; over the last tenth of training."""

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(self.scores))

    @property
    def is_solved(self) -> bool:
        """Whether the mean over the seeds is at least `SOLVED`."""
        return self.mean >= SOLVED


class ReportCard(NamedTuple):
    """What is known of a core."""

    core: str
    """Its name."""
    seed: int
    """The first of those that each task was trained with."""
    scores: tuple[TaskScore, ...]
    """One a rung that was tried."""
    contamination: Contamination
    """What a reset lets through."""
    costs: Costs
    """What acting and learning cost, and on what that was measured."""

    def of_family(self, family: str) -> list[tuple[float, TaskScore]]:
        """Returns sizes and scores of a family's rungs that were tried, from the smallest up."""
        split = [(score.task.partition("/"), score) for score in self.scores]
        return sorted(((float(size), score) for (name, _, size), score in split if name == family))

    def recall_horizon(self, family: str = "chain") -> int | None:
        """Returns the longest length that is solved, all shorter ones solved too; 0 where none is.

        Args:
          family: "chain" or "distractors".

        Returns:
          Steps from the cue to the question; None where no rung of the family was tried.
        """
        rungs, horizon = self.of_family(family), 0
        for size, score in rungs:
            if not score.is_solved:
                break
            horizon = int(size)
        return horizon if rungs else None


def conditions(cards: Sequence[ReportCard]) -> str:
    """Returns on what the costs of cards were measured, in words."""
    loads = sorted({f"{card.costs.load:.1f}" for card in cards}, key=float)
    settings = dict.fromkeys(card.costs.setting for card in cards)
    return f"{' / '.join(settings)}; load {' to '.join(dict.fromkeys((loads[0], loads[-1])))}"


def make_report_card(
    core: RecurrentCore,
    name: str,
    tasks: Sequence[Task] = LADDER,
    *,
    num_seeds: int = 3,
    seed: int = 0,
    num_steps: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> ReportCard:
    """Trains a core on every task, and measures its resets and costs.

    Args:
      core: the core.
      name: what to call it.
      tasks: the rungs.
      num_seeds: trainings of each rung, side by side, with seeds seed, seed + 1, ...
      seed: of everything random; the same seed gives the same scores.
      num_steps: slots of training of each rung and seed; None for the rung's own.
      progress: told what comes next.

    Raises:
      UnhashableCoreError: the core is not hashable.
      ValueError: a number is out of its range.
    """
    check_positive(num_seeds=num_seeds, **({} if num_steps is None else {"num_steps": num_steps}))
    check_seed(seed)
    check_seed(seed + num_seeds - 1)
    say = progress or (lambda _: None)
    say("resets")
    contamination = measure_contamination(core)
    say("costs")
    costs = measure_costs(core)
    scores = []
    for task in tasks:
        say(task.name)
        result = train(
            make_learner(core),
            task.environment,
            task.num_steps if num_steps is None else num_steps,
            seed,
            num_seeds=num_seeds,
            progress=False,
        )
        returns = np.atleast_1d(final_returns(result.metrics))
        scores.append(TaskScore(task.name, tuple(task.score(float(each)) for each in returns)))
    return ReportCard(name, seed, tuple(scores), contamination, costs)
