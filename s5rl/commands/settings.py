"""What a run was asked for on the command line, beside what `run.json` says; kept in its folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from s5rl.training import Logger, RunDirectoryError, TensorBoardLogger, WandbLogger
from s5rl.training.loggers import Row
from s5rl.training.run_directory import write_json

COMMAND_FILE = "command.json"


@final
@dataclasses.dataclass(frozen=True)
class RunSettings:
    """What `s5rl resume` and `s5rl evaluate` need to know of a run.

    Attributes:
      environment: a name that `make_environment` knows.
      options: NAME=VALUE of the environment.
      num_steps: of `train`, as all that follow but what is of loggers.
      evaluate_every: in slots; None for no evaluations.
      num_evaluation_episodes: of each evaluation.
      checkpoint_seconds: least time between two checkpoints.
      tensorboard: whether there are files for TensorBoard.
      wandb: project of Weights & Biases; None for none.
      wandb_id: of the run there, so that it goes on as the same one.
      memory_budget: of `train`, such as "8GiB"; None for no limit.
    """

    environment: str
    options: tuple[str, ...]
    num_steps: int
    evaluate_every: int | None
    num_evaluation_episodes: int
    checkpoint_seconds: float
    tensorboard: bool
    wandb: str | None
    wandb_id: str
    memory_budget: str | None = None  # folders from before have none

    def loggers(self, directory: Path) -> list[Logger]:
        """Returns the loggers of a run, the one that writes `command.json` among them.

        Raises:
          ImportError: what a logger needs is not installed.
        """
        loggers: list[Logger] = [_SettingsKeeper(directory, self)]
        if self.tensorboard:
            loggers.append(TensorBoardLogger(directory / "tensorboard"))
        if self.wandb is not None:
            names = {"project": self.wandb, "name": str(directory), "id": self.wandb_id}
            loggers.append(WandbLogger(**names, dir=str(directory)))
        return loggers


def read_settings(directory: Path) -> RunSettings | None:
    """Returns what a run was asked for; None where it was not started on the command line.

    Raises:
      RunDirectoryError: the file is damaged.
    """
    file = directory / COMMAND_FILE
    if not file.exists():
        return None
    try:
        fields: dict[str, Any] = json.loads(file.read_text())
        return RunSettings(**{**fields, "options": tuple(fields["options"])})
    except (ValueError, KeyError, TypeError) as error:
        raise RunDirectoryError(f"{file} is damaged: {error}.") from error


@final
class _SettingsKeeper(Logger):
    """Writes the settings once it is clear that the run may use the folder, and before anything happens."""

    def __init__(self, directory: Path, settings: RunSettings) -> None:
        self._directory, self._settings = directory, settings

    def start(self, num_updates: int) -> None:
        """Writes them."""
        write_json(self._directory / COMMAND_FILE, dataclasses.asdict(self._settings))

    def write(self, table: str, rows: Sequence[Row]) -> None:
        """Does nothing: the numbers of the run are the other loggers' business."""

    def close(self) -> None:
        """Does nothing."""
