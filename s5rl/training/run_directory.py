"""The folder of a run: what runs, its checkpoints, its tables and its summary."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import jax
import numpy as np
from filelock import FileLock, Timeout

from s5rl.agents import Agent
from s5rl.description import Description, describe, differences
from s5rl.envs import BatchedEnvironment, JaxEnvironment
from s5rl.envs.batched import class_name
from s5rl.training.checkpoints import Checkpoints
from s5rl.training.metrics import Columns, max_mean_episodic_return
from s5rl.training.tables import EVALUATIONS, METRICS, FileLogger, table_paths

RUN_FILE, SUMMARY_FILE, CHECKPOINTS_FOLDER, LOCK_FILE = "run.json", "summary.json", "checkpoints", "lock"


class RunDirectoryError(RuntimeError):
    """A folder that cannot hold the run, or holds another one."""


def describe_run(
    agent: Agent, environment: JaxEnvironment | BatchedEnvironment, seeds: Sequence[int], num_envs: int
) -> Description:
    """Returns what a run is, as JSON; two runs of equal descriptions do the same.

    Args:
      agent: bound to the environment.
      environment: one on the host is described by its class and its `settings`.
      seeds: of the run.
      num_envs: number of environments.

    Raises:
      DescriptionError: something in the agent or the environment cannot be imported again, such as a lambda.
    """
    if isinstance(environment, JaxEnvironment):
        described = describe(environment, "environment")
    else:
        fields = {key: describe(value, f"environment.{key}") for key, value in environment.settings.items()}
        described = {"host": class_name(environment), "fields": fields}
    return {
        "agent": describe(agent, "agent"),
        "environment": described,
        "seeds": list(seeds),
        "num_envs": num_envs,
    }


def check_directory(path: Path, description: Description) -> None:
    """Looks whether a run may use a folder, and changes nothing.

    Args:
      path: the folder, which need not be there.
      description: what runs, from `describe_run`.

    Raises:
      RunDirectoryError: it holds another run, or what belongs to none; or it cannot be a folder.
    """
    try:
        is_run = (path / RUN_FILE).exists()
    except OSError as error:
        raise _no_folder(path, error) from error
    if is_run:
        _compare(path, description)
    else:
        _check_is_free(path)


@final
class RunDirectory:
    """A folder in which one process at a time trains one run.

    Attributes:
      path: the folder.
      checkpoints: what the run can be continued from.
      tables: where its numbers go.
    """

    def __init__(self, path: str | os.PathLike[str], description: Description, num_steps: int) -> None:
        """Opens a folder for a run, and makes it where there is none.

        Args:
          path: the folder.
          description: what runs, from `describe_run`.
          num_steps: how long it is to run now.

        Raises:
          RunDirectoryError: it cannot be written to, another process trains there, or it holds another run.
        """
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.path / LOCK_FILE, timeout=0)
            self._lock.acquire()
        except Timeout as error:
            raise RunDirectoryError(f"another process trains in directory {self.path} now.") from error
        except OSError as error:
            raise _no_folder(self.path, error) from error
        try:
            self._claim(description, num_steps)
        except BaseException:
            self._lock.release()
            raise
        self.checkpoints = Checkpoints(self.path / CHECKPOINTS_FOLDER)
        self.tables = FileLogger(self.path)
        # The summary is written behind the first checkpoint.
        if (self.path / SUMMARY_FILE).exists() and not self.checkpoints.all():
            self.close()
            raise RunDirectoryError(
                f"directory {self.path} holds the tables of a run, but none of its checkpoints: put them "
                "back to go on with it, or give another folder to begin anew."
            )

    def write_summary(self, num_updates: int, metrics: Columns) -> None:
        """Writes how far the run is, and its max-mean episodic return.

        Args:
          num_updates: updates done.
          metrics: columns of the whole run so far, [updates] or [seeds, updates].
        """
        mmer = np.atleast_1d(max_mean_episodic_return(metrics)).astype(float)

        def number(value: float) -> float | None:
            return float(value) if np.isfinite(value) else None  # JSON has no NaN

        summary = {
            "updates": num_updates,
            "steps": np.atleast_1d(metrics["step"][..., -1]).tolist(),
            "mmer": {
                "mean": number(mmer.mean()),
                "std": number(mmer.std()),
                "seeds": [number(value) for value in mmer],
            },
        }
        write_json(self.path / SUMMARY_FILE, summary)

    def close(self) -> None:
        """Lets go of the folder."""
        self.checkpoints.close()
        self._lock.release()

    def _claim(self, description: Description, num_steps: int) -> None:
        """Writes down what runs here; before that, compares it with what ran here."""
        check_directory(self.path, description)
        about = {
            "versions": {"s5rl": version("s5rl"), "jax": jax.__version__},
            "num_steps": num_steps,
            "run": description,
        }
        try:
            write_json(self.path / RUN_FILE, about)
        except OSError as error:
            raise _no_folder(self.path, error) from error


def read_run(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the description of the run in a folder.

    Raises:
      RunDirectoryError: there is no run, or what describes it is damaged.
    """
    return _read(path, "run")


def read_num_steps(path: str | os.PathLike[str]) -> int:
    """Returns how long the run in a folder was to be when `train` was last called.

    Raises:
      RunDirectoryError: there is no run, or what describes it is damaged.
    """
    return _read(path, "num_steps")


def read_num_updates(path: str | os.PathLike[str]) -> int:
    """Returns after how many updates the run in a folder was saved last; 0 where nothing was.

    Raises:
      RunDirectoryError: the summary is damaged.
    """
    file = Path(path) / SUMMARY_FILE
    if not file.exists():
        return 0
    try:
        return int(json.loads(file.read_text())["updates"])
    except (ValueError, KeyError, TypeError) as error:
        raise RunDirectoryError(f"{file} is damaged: {error}.") from error


def _no_folder(path: Path, error: OSError) -> RunDirectoryError:
    return RunDirectoryError(f"directory must be a folder that can be written to, got {path}: {error}.")


def _check_is_free(path: Path) -> None:
    tables = [file for table in (METRICS, EVALUATIONS) for file in table_paths(path, table)]
    found = [file.name for file in (path / CHECKPOINTS_FOLDER, *tables) if file.exists()]
    if found:
        raise RunDirectoryError(
            f"directory {path} holds {', '.join(found)} but no {RUN_FILE}: give a folder that is "
            "new, or that of a run."
        )


def _compare(path: Path, description: Description) -> None:
    stored = read_run(path)
    lines = [line for key, value in description.items() for line in differences(stored.get(key), value, key)]
    if lines:
        has_begun = (path / SUMMARY_FILE).exists()
        raise RunDirectoryError(
            f"directory {path} holds another run. Give another folder, or the settings of that run; "
            + ("" if has_begun else "or remove the folder, which has no checkpoint yet; ")
            + "these differ:\n  "
            + "\n  ".join(lines)
        )


def _read(path: str | os.PathLike[str], key: str) -> Any:
    file = Path(path) / RUN_FILE
    if not file.exists():
        raise RunDirectoryError(f"directory {path} holds no run: it has no {RUN_FILE}.")
    try:
        return json.loads(file.read_text())[key]
    except (ValueError, KeyError, TypeError) as error:
        raise RunDirectoryError(f"{file} is damaged: {error}.") from error


def write_json(path: Path, value: Any) -> None:
    """Writes a file of JSON; a stop at any time leaves the old file or the new one."""
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(value, indent=2) + "\n")
    draft.replace(path)
