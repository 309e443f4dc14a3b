"""What is to be seen of a run while it goes on."""

from __future__ import annotations

import math
import time
from typing import final

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from s5rl.training.metrics import Columns, mean_episode_return

SECONDS_BETWEEN_LINES = 30.0
"""Where there is no terminal to draw a bar on."""


@final
class ProgressBar:
    """Steps, steps a second, return with its spread over seeds, and the time that is left; on stderr.

    A bar on a terminal; elsewhere a line now and then.
    """

    def __init__(self, num_updates: int, done: int) -> None:
        """Shows the bar.

        Args:
          num_updates: of the whole run.
          done: of those, before this call of `train`.
        """
        self._console = Console(stderr=True)
        self._bar = Progress(
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.description}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("compiling", total=num_updates, completed=done)
        self._num_updates = num_updates
        self._return, self._evaluation = "", ""
        self._first: tuple[float, float] | None = None
        self._last_line = time.monotonic()
        self._bar.start()

    def update(self, done: int, metrics: Columns) -> None:
        """Shows a chunk.

        Args:
          done: updates done in all.
          metrics: of the chunk, with `step`.
        """
        step, now = float(np.mean(metrics["step"][..., -1])), time.monotonic()
        if self._first is None:
            self._first = step, now  # compilation stands before it, and would make the rate too low
        returns = np.atleast_1d(mean_episode_return(metrics))
        if np.isfinite(returns).any():
            self._return = f"  return {_spread(returns)}"
        is_line_due = done == self._num_updates or now - self._last_line > SECONDS_BETWEEN_LINES
        text = f"{step:,.0f} steps{self._rate(step, now)}{self._return}{self._evaluation}"
        self._bar.update(self._task, completed=done, description=text)
        if not self._console.is_terminal and is_line_due:
            self._console.print(
                f"{done}/{self._num_updates} updates  {text}", highlight=False, soft_wrap=True
            )
            self._last_line = now

    def show_evaluation(self, evaluation: Columns) -> None:
        """Shows an evaluation from the next chunk on."""
        self._evaluation = f"  evaluation {_spread(np.atleast_1d(evaluation['episode_return'][..., -1]))}"

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.stop()

    def _rate(self, step: float, now: float) -> str:
        assert self._first is not None
        steps, seconds = step - self._first[0], now - self._first[1]
        return f"  {steps / seconds:,.0f} steps/s" if seconds > 0 and steps > 0 else ""


def show_line(text: str) -> None:
    """Prints a line on stderr."""
    Console(stderr=True).print(text, highlight=False, markup=False, soft_wrap=True)


def _spread(values: np.ndarray) -> str:
    """Returns the mean, and with several seeds their standard deviation."""
    mean = f"{np.nanmean(values):.3g}"
    return (
        mean
        if len(values) == 1 or not math.isfinite(np.nanstd(values))
        else f"{mean} ± {np.nanstd(values):.2g}"
    )
