"""The results of `bsuite_memory_length.py`: one row a seed, kept in a CSV file and shown as a table."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import numpy as np
from rich import box
from rich.table import Table


class Row(NamedTuple):
    """One line of results.csv; everything up to the seed says what was run."""

    environment: str
    core: str
    length: int
    unroll: int
    episodes: int
    width: int
    num_layers: int
    learning_rate: float
    num_seeds: int
    seed: int
    correct: float
    """Share of correct final answers in the last tenth of the run."""
    bsuite_regret: float
    """bsuite's measure of the whole run: 2 (1 - share of correct answers)."""
    solved: int
    """bsuite's score of a length: whether that is below 0.75."""
    steps: int
    """Environment steps of one seed."""
    seconds: float
    """Of all seeds together, with compilation."""
    steps_per_second: float
    """Of all seeds together, behind the first report: without compilation."""

    @property
    def identity(self) -> tuple[Any, ...]:
        """What was run: the columns up to the seed."""
        return tuple(self[: self._fields.index("correct")])


def answers(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Returns the number of correct final answers of each update: the return is 1 for right, -1 for wrong."""
    return columns["episodes"] * (1 + np.nan_to_num(columns["episode_return"])) / 2


def measure(columns: dict[str, np.ndarray]) -> tuple[float, float, int, int]:
    """Returns correct, bsuite_regret, solved and steps of one seed's metrics."""
    episodes = np.cumsum(columns["episodes"])
    late = episodes > 0.9 * episodes[-1]
    correct = answers(columns)
    regret = 2 * (1 - correct.sum() / episodes[-1])
    share = correct[late].sum() / columns["episodes"][late].sum()
    return round(float(share), 4), round(float(regret), 4), int(regret < 0.75), int(columns["step"][-1])


def read_rows(path: Path) -> list[Row]:
    """Returns the rows of a CSV file, none where there is no file."""
    if not path.exists():
        return []
    types = get_type_hints(Row).values()
    with path.open(newline="") as file:
        lines = csv.reader(file)
        if tuple(next(lines, ())) != Row._fields:
            raise SystemExit(f"{path} has other columns than {', '.join(Row._fields)}: move it away.")
        return [Row(*(kind(value) for kind, value in zip(types, line, strict=True))) for line in lines]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Writes all rows; a stop at any time leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    with draft.open("w", newline="") as file:
        csv.writer(file).writerows([Row._fields, *rows])
    draft.replace(path)


def grouped(rows: Iterable[Row]) -> dict[tuple[str, int, int], list[Row]]:
    """Returns the rows of each core, length and unroll."""
    groups = defaultdict(list)
    for row in rows:
        groups[row.core, row.length, row.unroll].append(row)
    return groups


def add_columns(table: Table, headings: Iterable[str]) -> None:
    """Adds the columns; where the terminal is narrow, the name of the core folds and numbers stay whole."""
    for heading in headings:
        if heading == "core":
            table.add_column(heading, overflow="fold")
        else:
            table.add_column(heading, justify="right", no_wrap=True)


def results_table(rows: Iterable[Row]) -> Table:
    """Returns a line for each core, length and unroll."""
    table = Table(
        title="Correct final answers in the last tenth of a run (chance is 0.5)",
        caption="Means, the worst and the best seed; seeds that bsuite's score calls solved;\n"
        "environment steps a second and seconds of all seeds together.",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    headings = ("core", "length", "unroll", "correct", "worst", "best", "solved", "steps/s", "seconds")
    add_columns(table, headings)
    for (core, length, unroll), group in grouped(rows).items():
        correct = [row.correct for row in group]
        table.add_row(
            core,
            str(length),
            str(unroll),
            *(f"{share:.2f}" for share in (np.mean(correct), min(correct), max(correct))),
            f"{sum(row.solved for row in group)} of {len(group)}",
            f"{group[0].steps_per_second:,.0f}",
            f"{group[0].seconds:.0f}",
        )
    return table
