"""Where the numbers of a run go: one small interface, and loggers for TensorBoard and Weights & Biases."""

from __future__ import annotations

import abc
import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

Row = dict[str, int | float]
"""One line of a table: `seed`, `update`, `step`, and what was measured."""


class Logger(abc.ABC):
    """What `train` tells of a run while it goes on.

    There are two tables: "metrics", with a row for each seed and update, and "evaluations", with a row for
    each seed and periodic evaluation.
    """

    @abc.abstractmethod
    def start(self, num_updates: int) -> None:
        """Called before everything else.

        Args:
          num_updates: updates done; not 0 where a run is continued from a checkpoint: rows of later updates
            are void, and will be written again.
        """

    @abc.abstractmethod
    def write(self, table: str, rows: Sequence[Row]) -> None:
        """Adds rows, in the order of their updates, to "metrics" or "evaluations"."""

    @abc.abstractmethod
    def close(self) -> None:
        """Called at the end, whatever ended the run."""


@final
class TensorBoardLogger(Logger):
    """Scalars for TensorBoard, over environment steps; needs `pip install tensorboardX`."""

    def __init__(self, directory: str | Path) -> None:
        """Opens nothing yet.

        Args:
          directory: folder of the event files.

        Raises:
          ImportError: tensorboardX is not installed.
        """
        self._tensorboard = _import("tensorboardX")
        self._directory = Path(directory)
        self._writer: Any = None

    def start(self, num_updates: int) -> None:
        """Opens the event file; what lies behind a checkpoint is drawn anew over what was drawn."""
        self._writer = self._tensorboard.SummaryWriter(str(self._directory))

    def write(self, table: str, rows: Sequence[Row]) -> None:
        """Adds the numbers of each row as `table/name/seed_n`."""
        for row in rows:
            for name, value in _measured(row).items():
                self._writer.add_scalar(f"{table}/{name}/seed_{row['seed']}", value, int(row["step"]))
        self._writer.flush()

    def close(self) -> None:
        """Closes the event file."""
        if self._writer is not None:
            self._writer.close()


@final
class WandbLogger(Logger):
    """Scalars for Weights & Biases, over environment steps; needs `pip install wandb`.

    A run that is continued under the same `id` shows the steps behind the checkpoint twice, since nothing
    that was sent can be taken back.
    """

    def __init__(self, **settings: Any) -> None:
        """Opens nothing yet.

        Args:
          **settings: of `wandb.init`, such as `project="memory"`; give `id` to a run that may be continued.

        Raises:
          ImportError: wandb is not installed.
        """
        self._wandb = _import("wandb")
        self._settings = {"resume": "allow", **settings}
        self._run: Any = None

    def start(self, num_updates: int) -> None:
        """Opens the run."""
        self._run = self._wandb.init(**self._settings)
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def write(self, table: str, rows: Sequence[Row]) -> None:
        """Adds the numbers of each row as `table/name/seed_n`."""
        for row in rows:
            named = {f"{table}/{key}/seed_{row['seed']}": value for key, value in _measured(row).items()}
            self._run.log({"step": row["step"], **named})

    def close(self) -> None:
        """Ends the run."""
        if self._run is not None:
            self._run.finish()


def _import(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f"this logger needs {package}: pip install {package}") from error


def _measured(row: Row) -> Row:
    """Returns what was measured, without what says when, and without NaN, which cannot be drawn."""
    return {
        name: value
        for name, value in row.items()
        if name not in ("seed", "update", "step") and math.isfinite(value)
    }
