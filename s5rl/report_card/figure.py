"""Report cards as a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from s5rl.plots import Curve, Panel, plot_panels
from s5rl.report_card.card import ReportCard
from s5rl.report_card.ladder import FAMILIES, LADDER

DRAWN = tuple(family for family, rungs in Counter(task.family for task in LADDER).items() if rungs > 1)
"""Families of several rungs: a single one is no curve."""


def plot_cards(cards: Sequence[ReportCard], *paths: Path) -> tuple[Path, ...]:
    """Draws scores against the size of the task, a panel for each family of several rungs.

    A line is the mean over the seeds, its band from the worst seed to the best.

    Args:
      cards: the last one lies on top. Drawn are the families that all of them have tried.
      *paths: the files, PNG or SVG by their suffix; their folders are made.

    Returns:
      The files that were written: none where there is no such family of several rungs.
    """
    panels = [
        Panel(
            FAMILIES[name].title,
            FAMILIES[name].size,
            "score",
            {card.core: _curve(card, name) for card in cards},
            chance=0.0,
            log_x=True,
        )
        for name in DRAWN
        if all(card.of_family(name) for card in cards)
    ]
    if not panels:
        return ()
    plot_panels(panels, *paths)
    return paths


def _curve(card: ReportCard, family: str) -> Curve:
    sizes, scores = zip(*card.of_family(family), strict=True)
    return Curve(
        x=sizes,
        middle=[score.mean for score in scores],
        low=[min(score.scores) for score in scores],
        high=[max(score.scores) for score in scores],
    )
