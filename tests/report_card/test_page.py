"""docs/report_card.md shows the stored cards."""

from __future__ import annotations

import re
from pathlib import Path

from s5rl.report_card import FAMILIES, conditions, select_tasks, stored_cards

PAGE = (Path(__file__).parents[2] / "docs" / "report_card.md").read_text()


def rows():
    """The rows of the table of results, by their first cell."""
    table = PAGE.partition("<!-- table -->")[2].partition("<!-- end of table -->")[0]
    cells = [re.split(r"\s*\|\s*", line.strip("| ")) for line in table.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in cells}


def test_the_scores_and_horizons_are_those_of_the_files():
    table, cards = rows(), stored_cards()
    assert table["Task"] == [card.core for card in cards]
    for index, card in enumerate(cards):
        for score in card.scores:
            assert table[score.task][index] == f"{score.mean:.2f}"
        assert table["recall horizon"][index] == str(card.recall_horizon())
        assert table["over distractors"][index] == str(card.recall_horizon("distractors"))


def test_the_costs_are_those_of_the_files():
    table, cards = rows(), stored_cards()
    for index, card in enumerate(cards):
        assert table["contamination: outputs"][index] == f"{card.contamination.outputs:.2g}"
        assert table["contamination: gradients"][index] == f"{card.contamination.gradients:.2g}"
        assert table["parameters"][index] == f"{card.costs.parameters:,}"
        assert table["state, numbers"][index] == f"{card.costs.state:,}"
        assert table["µs per acting step"][index] == f"{card.costs.act_microseconds:,.0f}"
        assert table["µs per update"][index] == f"{card.costs.update_microseconds:,.0f}"
    assert conditions(cards) in " ".join(PAGE.split())


def test_the_ladder_is_the_one_that_is_climbed():
    table = PAGE.partition("## The ladder")[2]
    for family in FAMILIES:
        tasks = select_tasks([family])
        (line,) = (line for line in table.splitlines() if line.startswith(f"| `{tasks[0].name}`"))
        name, *_, slots = re.split(r"\s*\|\s*", line.strip("| "))
        first, *others = (task.name for task in tasks)
        assert name == ", ".join([f"`{first}`", *(f"`{other.removeprefix(family)}`" for other in others)])
        assert list(dict.fromkeys(slots.split(", "))) == list(
            dict.fromkeys(f"{task.num_steps // 1000}k" for task in tasks)
        )
