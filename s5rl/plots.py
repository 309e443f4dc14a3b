"""Plots of results, as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure


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


def plot_panels(panels: Sequence[Panel], path: Path) -> None:
    """Draws panels side by side, one colour a label, into a PNG.

    Args:
      panels: at least one.
      path: the file; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(4.6 * len(panels), 4.2), layout="constrained")
    labels = dict.fromkeys(label for panel in panels for label in panel.curves)
    colours = {label: f"C{index}" for index, label in enumerate(labels)}
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        if panel.chance is not None:
            axes.axhline(panel.chance, color="grey", linewidth=1, linestyle=":", label="chance")
        for label, curve in panel.curves.items():
            colour = colours[label]
            axes.plot(curve.x, curve.middle, color=colour, marker="o", markersize=4, label=label)
            axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
        axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)
