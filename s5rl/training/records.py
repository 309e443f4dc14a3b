"""The numbers of a run in memory: what `TrainResult` holds in the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np

from s5rl.training.metrics import Columns
from s5rl.training.tables import KEYS, TableError, read_table

Dtypes = dict[str, str]
"""Names of dtypes by column."""


@final
class Records:
    """The rows of one table, piece by piece."""

    def __init__(self, has_seed_axis: bool) -> None:
        """Begins without rows.

        Args:
          has_seed_axis: whether columns are [seeds, rows]; else they are [rows].
        """
        self._has_seed_axis = has_seed_axis
        self._pieces: list[Columns] = []

    def add(self, columns: Columns) -> None:
        """Adds rows: columns [rows] or [seeds, rows], the same ones each time."""
        self._pieces.append(columns)

    def columns(self) -> Columns:
        """Returns all rows; no column where there is no row yet."""
        if len(self._pieces) > 1:
            names = self._pieces[0]
            self._pieces = [
                {name: np.concatenate([piece[name] for piece in self._pieces], axis=-1) for name in names}
            ]
        return dict(self._pieces[0]) if self._pieces else {}

    def last_steps(self) -> np.ndarray:
        """Returns the environment steps until now, int64 [] or [seeds]."""
        return self._pieces[-1]["step"][..., -1] if self._pieces else np.zeros((), np.int64)

    def num_rows(self) -> int:
        """Returns the number of rows of each seed."""
        return sum(piece["step"].shape[-1] for piece in self._pieces)

    def dtypes(self) -> Dtypes:
        """Returns the dtypes of the columns."""
        return {name: column.dtype.name for name, column in self._pieces[0].items()} if self._pieces else {}

    def read_back(
        self, folder: Path, table: str, dtypes: Dtypes, num_rows: int, seeds: Sequence[int]
    ) -> Columns:
        """Returns the rows that stand in the folder of a run, and adds none.

        Args:
          folder: of the run.
          table: which table.
          dtypes: of the columns that were written.
          num_rows: number of rows that were written for each seed.
          seeds: of the run.

        Raises:
          TableError: the table does not hold these columns and rows for these seeds.
        """
        if not dtypes:
            return {}
        columns = read_table(folder, table, dtypes)
        if not columns:
            raise TableError(
                f"the table {table} in {folder} is gone: expected {num_rows} rows for each seed."
            )
        names = [name for name in columns if name not in KEYS or name in dtypes]
        if names != list(dtypes) or columns["seed"][:, 0].tolist() != list(seeds):
            raise TableError(
                f"the table {table} in {folder} was changed: expected the columns {', '.join(dtypes)} "
                f"for the seeds {', '.join(map(str, seeds))}."
            )
        if columns["update"].shape[-1] != num_rows:
            raise TableError(
                f"the table {table} in {folder} was changed: expected {num_rows} rows for each seed until "
                f"the checkpoint, got {columns['update'].shape[-1]}."
            )
        pick = slice(None) if self._has_seed_axis else 0
        return {name: columns[name][pick] for name in names}
