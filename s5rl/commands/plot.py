"""`s5rl plot`: the learning curves of runs, as pictures."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import tyro

from s5rl.commands.console import say
from s5rl.commands.settings import read_settings
from s5rl.learning_curves import learning_curve
from s5rl.plots import Curve, Panel, plot_panels
from s5rl.training.run_directory import read_run
from s5rl.training.tables import EVALUATIONS, METRICS, TableError, read_table

EPISODE_RETURN, EVALUATION = "episode_return", "evaluation"
OF_EPISODES = (EPISODE_RETURN, "episode_length")
"""Metrics that are means over the episodes of an update."""
Y_LABELS = {
    EPISODE_RETURN: "return of an episode",
    "episode_length": "steps of an episode",
    EVALUATION: "return in evaluations",
}
CSV = ".csv"
CSV_COLUMNS = ("environment", "core", "seed", "step")


class _Line(NamedTuple):
    """One curve to be, [rows] for each seed."""

    name: tuple[str, ...]
    """Parts of the path of a run; or of a file, and a core in it."""
    environment: str
    """Of equal environments equal."""
    title: str
    """Of the environment."""
    steps: Sequence[np.ndarray]
    values: Sequence[np.ndarray]
    weights: Sequence[np.ndarray]


def plot(
    paths: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR...")] = (),
    output: Path | None = None,
    metric: str = EPISODE_RETURN,
) -> int:
    """Draws learning curves, the mean over seeds with a 95 % confidence band, as PNG and SVG.

    Args:
      paths: folders of runs, or CSV files with the columns environment, core, seed, step and the
        metric. Each environment gets a panel.
      output: the files without their suffix; None for METRIC in the folder of the run, or in the one that
        holds all of them.
      metric: a column of metrics.csv, or "evaluation" for the returns in evaluations.csv.

    Returns:
      0, or 2 where there is nothing to draw.
    """
    if not paths:
        raise ValueError("DIR must be at least one folder of a run.")
    lines = [
        line for path in {path.resolve(): path for path in paths}.values() for line in _read(path, metric)
    ]
    if output is None:
        folders = [(path.parent if path.suffix == CSV else path).resolve() for path in paths]
        output = Path(os.path.relpath(os.path.commonpath(folders))) / metric
    files = [output.with_name(f"{output.name}.{suffix}") for suffix in ("png", "svg")]
    plot_panels(_panels(lines, metric), *files)
    say(*(f"wrote {file}" for file in files))
    return 0


def _panels(lines: Sequence[_Line], metric: str) -> list[Panel]:
    """Returns a panel for each environment."""
    y_label = Y_LABELS.get(metric, metric.replace("_", " "))
    panels = []
    for environment in dict.fromkeys(line.environment for line in lines):
        own = [line for line in lines if line.environment == environment]
        curves = {name: _curve(line) for name, line in zip(_labels(own), own, strict=True)}
        panels.append(Panel(own[0].title, "environment steps", y_label, curves))
    return panels


def _labels(lines: Sequence[_Line]) -> list[str]:
    """Returns the last parts of the names, as many as tell them apart."""
    count = 1
    while True:  # ends, since no two names are equal
        labels = ["/".join(line.name[-count:]) for line in lines]
        if len(set(labels)) == len(labels):
            return labels
        count += 1


def _curve(line: _Line) -> Curve:
    try:
        return learning_curve(line.steps, line.values, line.weights)
    except ValueError as error:
        raise ValueError(f"{'/'.join(line.name)}: {error}") from error


def _read(path: Path, metric: str) -> list[_Line]:
    return _lines_of_csv(path, metric) if path.suffix == CSV else [_line_of_run(path, metric)]


def _line_of_run(directory: Path, metric: str) -> _Line:
    environment, title = _environment(directory)
    table, column = (EVALUATIONS, EPISODE_RETURN) if metric == EVALUATION else (METRICS, metric)
    columns = read_table(directory, table)
    if not columns:
        raise TableError(f"the run in {directory} has no {table} yet.")
    if column not in columns:
        known = ", ".join(each for each in columns if each not in CSV_COLUMNS)
        raise ValueError(f"--metric must be {EVALUATION} or one of {known}, got {metric}.")
    weights = columns["episodes"] if metric in OF_EPISODES else np.ones_like(columns["step"])
    values = columns[column].astype(float)
    return _Line(
        directory.resolve().parts, environment, title, list(columns["step"]), list(values), list(weights)
    )


def _environment(directory: Path) -> tuple[str, str]:
    """Returns what tells the environment of a run from others, and what to call it."""
    described, settings = read_run(directory)["environment"], read_settings(directory)
    if settings is not None:
        title = " ".join([settings.environment, *settings.options])
    elif "host" in described:
        title = described["host"].rpartition(":")[2]
    else:
        fields = ", ".join(f"{name}={value}" for name, value in described["fields"].items())
        title = f"{described['type'].rpartition(':')[2]}({fields})"
    # Of dm_env environments only the class is described; what they were made from is in the title.
    return json.dumps(described) + (title if "host" in described else ""), title


def _lines_of_csv(file: Path, metric: str) -> list[_Line]:
    with file.open(newline="") as text:
        reader = csv.DictReader(text)
        rows = list(reader)
    missing = {*CSV_COLUMNS, metric} - set(reader.fieldnames or ())
    if missing:
        raise TableError(f"{file} must have the columns {', '.join(sorted(missing))}.")
    seeds: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        line = seeds.setdefault((row["environment"], row["core"]), {})
        line.setdefault(row["seed"], []).append((float(row["step"]), float(row[metric] or "nan")))
    lines = []
    for (environment, core), by_seed in seeds.items():
        steps, values = zip(*(np.array(points).T for points in by_seed.values()), strict=True)
        weights = [np.ones(len(each)) for each in steps]
        lines.append(_Line((*file.resolve().parts, core), environment, environment, steps, values, weights))
    return lines
