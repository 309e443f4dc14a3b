"""Report cards as two small CSV files, and those of the built-in cores that come with s5rl."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from s5rl.conformance import Contamination
from s5rl.report_card.card import ReportCard, TaskScore
from s5rl.report_card.costs import Costs

SCORES, CORES = "scores.csv", "cores.csv"
STORED = Path(__file__).parent / "stored"
"""Where the cards of the built-in cores are; `benchmarks/report_card.py` writes them."""


def write_cards(cards: Sequence[ReportCard], directory: Path) -> tuple[Path, Path]:
    """Writes cards.

    Args:
      cards: at least one.
      directory: the folder, made if there is none.

    Returns:
      The files: the scores, a line for each core, task and seed; and the rest, a line for each core.
    """
    directory.mkdir(parents=True, exist_ok=True)
    scores = [
        {"core": card.core, "task": score.task, "seed": card.seed + index, "score": round(value, 4)}
        for card in cards
        for score in card.scores
        for index, value in enumerate(score.scores)
    ]
    cores = [
        {
            "core": card.core,
            "seed": card.seed,
            **{f"contamination_{name}": value for name, value in card.contamination._asdict().items()},
            **{name: _short(value) for name, value in card.costs._asdict().items()},
        }
        for card in cards
    ]
    files = directory / SCORES, directory / CORES
    for file, rows in zip(files, (scores, cores), strict=True):
        _write(file, rows)
    return files


def read_cards(directory: Path) -> list[ReportCard]:
    """Returns the cards that `write_cards` wrote.

    Raises:
      ValueError: a file has other columns.
    """
    scores: dict[str, dict[str, list[float]]] = {}
    for row in _read(directory / SCORES, ("core", "task", "seed", "score")):
        scores.setdefault(row["core"], {}).setdefault(row["task"], []).append(float(row["score"]))
    columns = [f"contamination_{name}" for name in Contamination._fields]
    cards = []
    for row in _read(directory / CORES, ("core", "seed", *columns, *Costs._fields)):
        of_tasks = scores.get(row["core"], {}).items()
        cards.append(
            ReportCard(
                row["core"],
                int(row["seed"]),
                tuple(TaskScore(task, tuple(values)) for task, values in of_tasks),
                Contamination(*(float(row[column]) for column in columns)),
                Costs(**{name: kind(row[name]) for name, kind in get_type_hints(Costs).items()}),
            )
        )
    return cards


def stored_cards() -> list[ReportCard]:
    """Returns the cards of the built-in cores."""
    return read_cards(STORED)


def _short(value: Any) -> Any:
    return round(value, 2) if isinstance(value, float) else value


def _write(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with file.open("w", newline="") as text:
        writer = csv.DictWriter(text, rows[0].keys() if rows else (), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _read(file: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        reader = csv.DictReader(text)
        rows = list(reader)
    if set(reader.fieldnames or ()) != set(columns):
        raise ValueError(f"{file} must have the columns {', '.join(columns)}, got {reader.fieldnames}.")
    return rows
