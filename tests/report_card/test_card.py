"""Report cards: what is read off the scores, files, and the stored ones."""

from __future__ import annotations

import csv
import functools

import pytest

from s5rl.conformance import Contamination
from s5rl.report_card import (
    LADDER,
    SMALL_CORES,
    Costs,
    ReportCard,
    TaskScore,
    make_report_card,
    plot_cards,
    read_cards,
    select_tasks,
    stored_cards,
    write_cards,
)

COSTS = Costs(10, 20, 1.5, 2.5, 2, 0.25, "machine", "cpu", "3.11.1", "0.6.2", "0.1.0")


def card_of(**scores):
    """A card with scores of one seed by task, `chain_4` for chain/4."""
    named = [TaskScore(name.replace("_", "/"), (score,)) for name, score in scores.items()]
    return ReportCard("mine", 0, tuple(named), Contamination(0.0, 0.5), COSTS)


@pytest.mark.parametrize(
    ("scores", "horizon"),
    [
        ({"chain_1": 1.0, "chain_4": 0.9, "chain_16": 0.89}, 4),
        ({"chain_16": 0.95, "chain_1": 1.0, "chain_4": 0.2}, 1),  # a rung is missing on the way
        ({"chain_1": 0.5}, 0),
        ({"chain_1": float("nan")}, 0),
        ({"distractors_4": 1.0}, None),
    ],
)
def test_the_horizon_is_the_longest_length_with_all_shorter_ones_solved(scores, horizon):
    assert card_of(**scores).recall_horizon() == horizon


def test_a_rung_is_solved_by_the_mean_over_seeds():
    assert TaskScore("chain/4", (1.0, 0.8)).is_solved
    assert not TaskScore("chain/4", (1.0, 0.7)).is_solved


def test_cards_are_read_as_they_were_written(tmp_path):
    two_seeds = (TaskScore("chain/4", (-0.5, 0.5)),)
    cards = [
        card_of(chain_1=1.0, noise_0=0.25),
        card_of()._replace(core="yours", seed=7, scores=two_seeds),
    ]
    files = write_cards(cards, tmp_path / "new")
    assert read_cards(tmp_path / "new") == cards
    with files[0].open() as text:
        seeds = [(row["core"], row["seed"]) for row in csv.DictReader(text)]
    assert seeds == [("mine", "0"), ("mine", "0"), ("yours", "7"), ("yours", "8")]
    files[0].write_text("core,task\n")
    with pytest.raises(ValueError, match="must have the columns core, task, seed, score"):
        read_cards(tmp_path / "new")


def test_families_of_several_rungs_are_drawn(tmp_path):
    picture = tmp_path / "new" / "card.svg"
    assert plot_cards([card_of(noise_0=1.0), card_of(chain_1=1.0)], picture) == ()
    assert not picture.exists()
    assert plot_cards([card_of(chain_1=1.0, chain_4=0.5)], picture) == (picture,)
    assert "memory_chain" in picture.read_text()  # the title, in a comment of the file


def test_the_last_card_is_drawn_last_and_only_what_all_have_tried(tmp_path):
    stored = card_of(chain_1=1.0, distractors_4=1.0)._replace(core="stored")
    plot_cards([stored, card_of(chain_1=1.0)], tmp_path / "card.svg")
    picture = (tmp_path / "card.svg").read_text()
    assert picture.index("<!-- stored -->") < picture.index("<!-- mine -->")  # in the legend
    assert "distracted_cue" not in picture


def test_the_stored_cards_are_of_every_core_on_every_rung():
    cards = {card.core: card for card in stored_cards()}
    assert set(cards) == set(SMALL_CORES)
    for card in cards.values():
        assert [score.task for score in card.scores] == [task.name for task in LADDER]
        assert card.contamination == (0.0, 0.0)


def test_by_the_stored_cards_the_ladder_tells_memories_from_none():
    cards = {card.core: card for card in stored_cards()}
    assert cards["feed_forward"].recall_horizon() == 1
    assert cards["feed_forward"].recall_horizon("distractors") == 0
    for name in set(cards) - {"feed_forward"}:
        assert cards[name].recall_horizon() >= 4
        assert cards[name].recall_horizon("distractors") >= 16
    assert len({card.recall_horizon() for card in cards.values()}) >= 3


@pytest.mark.slow
def test_other_seeds_give_other_scores():
    make = functools.partial(
        make_report_card, SMALL_CORES["feed_forward"], "", select_tasks(["chain/16"]), num_steps=4096
    )
    first, second = (make(seed=seed).scores[0].scores for seed in (0, 1))
    assert first != second
    assert first[1:] == pytest.approx(second[:2])  # seeds 1 and 2, in both


@pytest.mark.slow
def test_the_real_ladder_tells_s5_from_no_memory_again_and_again(tmp_path):
    tasks = select_tasks(("chain/1", "chain/16", "repeat_previous/2"))
    s5, again, none = (
        make_report_card(SMALL_CORES[name], name, tasks) for name in ("s5", "s5", "feed_forward")
    )
    assert s5.scores == again.scores
    assert all(score.is_solved for score in s5.scores)
    assert none.scores[0].is_solved
    assert max(score.mean for score in none.scores[1:]) < 0.5
    write_cards([s5], tmp_path)
    with (tmp_path / "scores.csv").open() as text:
        assert [row["seed"] for row in csv.DictReader(text)] == 3 * ["0", "1", "2"]
