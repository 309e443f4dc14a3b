"""Plots of results, as files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

MAX_COLUMNS = 3
MAX_MARKED_POINTS = 25
"""Lines of more points are drawn without a mark at each."""

LETTERS_PER_INCH = 11.0
"""Of a legend."""


class Curve(NamedTuple):
    """One line of a plot with its spread."""

    x: Sequence[float]
    middle: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


class Panel(NamedTuple):
    """What one of several plots side by side shows."""

    title: str
    x_label: str
    y_label: str
    curves: Mapping[str, Curve]
    """By label; a label keeps its colour in all panels."""
    chance: float | None = None
    """Where chance lies, as a grey line."""
    log_x: bool = False
    """Whether equal factors are equally far apart along x."""


# Packages that set a style of their own when they are imported (bsuite does) change nothing here.
@matplotlib.style.context("default")
def plot_panels(panels: Sequence[Panel], *paths: Path) -> None:
    """Draws panels side by side, one colour a label, with one legend below them.

    Args:
      panels: at least one.
      *paths: the files, PNG or SVG by their suffix; their folders are made.
    """
    num_columns = min(len(panels), MAX_COLUMNS)
    num_rows = math.ceil(len(panels) / num_columns)
    figure = Figure(figsize=(max(4.6 * num_columns, 6.4), 4.2 * num_rows), layout="constrained")
    labels = dict.fromkeys(label for panel in panels for label in panel.curves)
    colours = {label: f"C{index}" for index, label in enumerate(labels)}
    grid = list(figure.subplots(num_rows, num_columns, squeeze=False).flat)
    handles = {}
    for axes, panel in zip(grid, panels, strict=False):
        if panel.chance is not None:
            handles["chance"] = axes.axhline(panel.chance, color="grey", linewidth=1, linestyle=":")
        for label, curve in panel.curves.items():
            colour, marker = colours[label], "o" if len(curve.x) <= MAX_MARKED_POINTS else None
            (handles[label],) = axes.plot(curve.x, curve.middle, color=colour, marker=marker, markersize=4)
            axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
        axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
        if panel.log_x:
            axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 200k, 1.5M
        axes.grid(alpha=0.25)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    label_width = max(map(len, handles)) / LETTERS_PER_INCH + 0.6
    num_labels = max(1, int(figure.get_figwidth() / label_width))  # in a row of the legend
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=num_labels)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)
