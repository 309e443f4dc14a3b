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
    dashed: bool = False


class Panel(NamedTuple):
    """What one of several plots side by side shows."""

    title: str
    x_label: str
    y_label: str
    curves: Mapping[str, Curve]
    """By label; a label keeps its colour in all panels, also behind a suffix in brackets."""
    chance: float | None = None
    """Where chance lies, as a grey line."""
    logarithmic: bool = False
    """Whether the y axis is."""


def plot_panels(panels: Sequence[Panel], path: Path) -> None:
    """Draws panels side by side, one colour a label, into a PNG.

    Args:
      panels: at least one.
      path: the file; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(5.5 * len(panels), 4.2), layout="constrained")
    names = dict.fromkeys(_name(label) for panel in panels for label in panel.curves)
    colours = {name: f"C{index}" for index, name in enumerate(names)}
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        if panel.chance is not None:
            axes.axhline(panel.chance, color="grey", linewidth=1, linestyle=":", label="chance")
        for label, curve in panel.curves.items():
            colour = colours[_name(label)]
            style = "--" if curve.dashed else "-"
            axes.plot(curve.x, curve.middle, style, color=colour, marker="o", markersize=4, label=label)
            axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
        axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
        if panel.logarithmic:
            axes.set_yscale("log")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)


def _name(label: str) -> str:
    return label.partition(" (")[0]
