"""The report cards of the built-in cores: writes what `s5rl report-card` shows beside other cores.

With `--costs` only the costs are measured anew, as on a quiet machine; the scores stay. With nothing
behind `--cores` only the page and the picture are made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import tyro
from rich.progress import track

from s5rl.report_card import (
    LADDER,
    SMALL_CORES,
    ReportCard,
    conditions,
    make_report_card,
    measure_costs,
    plot_cards,
    read_cards,
    write_cards,
)
from s5rl.report_card.files import CORES, STORED

BEGIN, END = "<!-- table -->\n", "<!-- end of table -->"
"""What the table stands between in the page."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Makes the report cards of the built-in cores."""

    cores: tuple[str, ...] = tuple(SMALL_CORES)
    """Which ones; the cards of the others stay."""
    costs: bool = False
    """Whether to measure the costs only."""
    directory: Path = STORED
    """Folder of the two files."""
    page: Path | None = None
    """Markdown file in which the table of all cards is replaced."""
    picture: Path | None = None
    """PNG or SVG file to draw all cards in."""


def table(cards: Sequence[ReportCard]) -> str:
    """Returns all cards in Markdown."""
    measures: dict[str, Callable[[ReportCard], str]] = {
        "recall horizon": lambda card: str(card.recall_horizon()),
        "over distractors": lambda card: str(card.recall_horizon("distractors")),
        "contamination: outputs": lambda card: f"{card.contamination.outputs:.2g}",
        "contamination: gradients": lambda card: f"{card.contamination.gradients:.2g}",
        "parameters": lambda card: f"{card.costs.parameters:,}",
        "state, numbers": lambda card: f"{card.costs.state:,}",
        "µs per acting step": lambda card: f"{card.costs.act_microseconds:,.0f}",
        "µs per update": lambda card: f"{card.costs.update_microseconds:,.0f}",
    }
    rows = [("Task", *(card.core for card in cards)), ("---", *("---:" for _ in cards))]
    for task in LADDER:
        scores = [score.mean for card in cards for score in card.scores if score.task == task.name]
        rows.append((task.name, *(f"{score:.2f}" for score in scores)))
    rows += [(name, *map(measure, cards)) for name, measure in measures.items()]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", f"Costs: {conditions(cards)}.", ""])


def main() -> None:
    """Makes the cards, one core after the other, and writes them after each."""
    settings = tyro.cli(Settings, description=__doc__)
    folder = settings.directory
    cards = {card.core: card for card in (read_cards(folder) if (folder / CORES).exists() else [])}
    for name in track(settings.cores, "report cards"):
        if settings.costs:
            cards[name] = cards[name]._replace(costs=measure_costs(SMALL_CORES[name]))
        else:
            cards[name] = make_report_card(SMALL_CORES[name], name)
        write_cards([cards[name] for name in SMALL_CORES if name in cards], folder)
    in_order = [cards[name] for name in SMALL_CORES if name in cards]
    if settings.page is not None:
        before, _, rest = settings.page.read_text().partition(BEGIN)
        settings.page.write_text(before + BEGIN + table(in_order) + END + rest.partition(END)[2])
    if settings.picture is not None:
        plot_cards(in_order, settings.picture)


if __name__ == "__main__":
    main()
