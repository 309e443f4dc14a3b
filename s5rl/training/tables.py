"""The tables of a run on disk, as CSV and as JSON lines, and how they are read back."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from s5rl.training.loggers import Logger, Row
from s5rl.training.metrics import Columns

METRICS, EVALUATIONS = "metrics", "evaluations"
KEYS = ("seed", "update", "step")
"""The first columns of every table."""


class TableError(RuntimeError):
    """A table that does not hold what the run has written."""


@final
class FileLogger(Logger):
    """Writes `metrics.csv`, `metrics.jsonl`, `evaluations.csv` and `evaluations.jsonl` into a folder."""

    def __init__(self, folder: Path) -> None:
        """Writes nothing yet.

        Args:
          folder: one that exists.
        """
        self._folder = folder

    def start(self, num_updates: int) -> None:
        """Cuts the rows of later updates off the files, and a last line that was not written to its end.

        Raises:
          TableError: one of the two files of a table is gone, or a line is not one of a table.
        """
        for table in (METRICS, EVALUATIONS):
            paths = table_paths(self._folder, table)
            there = [path for path in paths if path.exists()]
            if num_updates and len(there) == 1:
                (gone,) = set(paths) - set(there)
                raise TableError(f"{gone} is gone, but {there[0].name} is there: put it back.")
            for path, update_of in zip(paths, (_update_of_csv, _update_of_json), strict=True):
                _cut(path, update_of, num_updates)

    def write(self, table: str, rows: Sequence[Row]) -> None:
        """Adds rows to both files, and hands them to the system.

        Files are opened each time: on a full disk, nothing of what failed is left in a buffer.
        """
        csv_path, json_path = table_paths(self._folder, table)
        with csv_path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if file.tell() == 0:
                writer.writerow(rows[0])
            writer.writerows(row.values() for row in rows)
        with json_path.open("a") as file:
            file.writelines(json.dumps(_without_nan(row)) + "\n" for row in rows)

    def close(self) -> None:
        """Does nothing: no file is left open."""


def table_paths(folder: Path, table: str) -> tuple[Path, Path]:
    """Returns the files of a table: CSV and JSON lines."""
    return folder / f"{table}.csv", folder / f"{table}.jsonl"


def to_rows(columns: Columns, updates: Sequence[int], seeds: Sequence[int]) -> list[Row]:
    """Returns one row for each update and seed.

    Args:
      columns: [updates], or [seeds, updates].
      updates: the number of each update.
      seeds: the seed of each run.
    """
    lists = {name: _numbers(column).reshape(len(seeds), -1).tolist() for name, column in columns.items()}
    return [
        {"seed": seed, "update": update, **{name: values[s][u] for name, values in lists.items()}}
        for u, update in enumerate(updates)
        for s, seed in enumerate(seeds)
    ]


def read_table(folder: Path, table: str, dtypes: dict[str, str] | None = None) -> Columns:
    """Reads a table back.

    Args:
      folder: of a run.
      table: "metrics" or "evaluations".
      dtypes: of the columns in memory; None for int64 and float64.

    Returns:
      The columns [seeds, rows], `seed` and `update` among them; none of them where there is no file.

    Raises:
      TableError: the seeds do not have equally many rows, or a number is none.
    """
    path, _ = table_paths(folder, table)
    if not path.exists() or path.stat().st_size == 0:
        return {}
    with path.open(newline="") as file:
        names, *lines = csv.reader(file)
    by_seed: dict[str, list[list[str]]] = {}
    for line in lines:
        by_seed.setdefault(line[0], []).append(line)
    if len({len(rows) for rows in by_seed.values()}) > 1 or {len(line) for line in lines} - {len(names)}:
        raise TableError(f"{path} was changed: its seeds do not have equally many rows and columns.")
    cells = np.array(list(by_seed.values()), str).reshape(len(by_seed), -1, len(names))
    try:
        return {
            name: cells[..., index].astype(_dtype(name, dtypes, cells[..., index]))
            for index, name in enumerate(names)
        }
    except ValueError as error:
        raise TableError(f"{path} was changed: {error}.") from error


def _dtype(name: str, dtypes: dict[str, str] | None, cells: np.ndarray) -> np.dtype:
    if dtypes is not None and name in dtypes:
        return np.dtype(dtypes[name])
    is_whole = name in KEYS or all(cell.lstrip("-").isdigit() for cell in cells.flat)
    return np.dtype(np.int64 if is_whole else np.float64)


def _numbers(column: np.ndarray) -> np.ndarray:
    """Returns floats with the fewest digits that tell them apart: 0.1, not 0.10000000149011612."""
    return column.astype(str).astype(np.float64) if column.dtype == np.float32 else column


def _without_nan(row: Row) -> dict[str, Any]:
    return {
        name: value if isinstance(value, int) or math.isfinite(value) else None for name, value in row.items()
    }


def _update_of_csv(line: str) -> int:
    cell = line.split(",")[KEYS.index("update")]
    return 0 if cell == "update" else int(cell)  # the first line names the columns


def _update_of_json(line: str) -> int:
    return json.loads(line)["update"]


def _cut(path: Path, update_of: Callable[[str], int], num_updates: int) -> None:
    """Shortens a file to the rows up to an update."""
    if not path.exists():
        return
    with path.open("rb") as file:
        end = sum(len(line) for line in _kept(file, update_of, num_updates))
    with path.open("rb+") as file:
        file.truncate(end)


def _kept(lines: Any, update_of: Callable[[str], int], num_updates: int) -> Iterator[bytes]:
    for line in lines:
        if not line.endswith(b"\n"):
            return
        try:
            update = update_of(line.decode())
        except (ValueError, LookupError, TypeError) as error:
            raise TableError(f"{lines.name} was changed: {line!r} is no row of a table.") from error
        if update > num_updates:
            return
        yield line
