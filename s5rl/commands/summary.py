"""What `s5rl train` and `s5rl resume` say in the end."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
from rich.table import Table

from s5rl.commands.console import say
from s5rl.training import TrainResult
from s5rl.training.metrics import FINAL_SHARE, final_returns


def summarize(result: TrainResult, directory: Path, num_steps: int) -> None:
    """Prints what a run has reached, and what to do next.

    Args:
      result: of `train`.
      directory: of the run.
      num_steps: that were asked for.
    """
    final = np.atleast_1d(final_returns(result.metrics))
    rows = [
        ("return", final, f"mean of the episodes in the last {FINAL_SHARE:.0%} of the run"),
        ("MMER", np.atleast_1d(result.mmer), "largest mean of the episodes of an update"),
    ]
    if result.evaluations:
        last = np.atleast_1d(result.evaluations["episode_return"][..., -1])
        rows.append(("evaluation", last, "mean return in the last evaluation"))
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, values, meaning in rows:
        table.add_row(name, spread(values), meaning)
    folder = shlex.quote(str(directory))
    steps = np.atleast_1d(result.metrics["step"][..., -1]).mean()
    say(
        "",
        f"{steps:,.0f} steps done. Checkpoints, tables and summary are in {directory}",
        table,
        *([f"±: standard deviation over {len(final)} seeds"] if len(final) > 1 else []),
        "",
        "Next:",
        f"  s5rl plot {folder}",
        f"  s5rl evaluate {folder}",
        f"  s5rl resume {folder} --num-steps {2 * num_steps}",
    )


def spread(values: np.ndarray) -> str:
    """Returns the mean of a value of each seed with its standard deviation, as a text; of one seed the value.

    Args:
      values: [seeds].
    """
    if np.isnan(values).any():
        return "no episode ended"
    mean = f"{values.mean():.4g}"
    return mean if len(values) == 1 else f"{mean} ± {values.std():.2g}"
