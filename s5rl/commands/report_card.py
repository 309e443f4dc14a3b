"""`s5rl report-card`: what a memory remembers, lets through a reset, and costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from s5rl.commands.choices import OWN_CORE
from s5rl.commands.console import say
from s5rl.commands.counts import StepCount
from s5rl.compilation_cache import enable_compilation_cache
from s5rl.conformance import load_core
from s5rl.cores import RecurrentCore
from s5rl.report_card import (
    SMALL_CORES,
    ReportCard,
    conditions,
    make_report_card,
    plot_cards,
    select_tasks,
    stored_cards,
    write_cards,
)
from s5rl.report_card.card import SOLVED
from s5rl.validation import check_choice, check_positive


def report_card(
    core: str = "s5",
    tasks: tuple[str, ...] = (),
    num_seeds: int = 3,
    seed: int = 0,
    num_steps: StepCount | None = None,
    directory: Path | None = None,
    compilation_cache: bool = True,
) -> int:
    """Trains a core on a ladder of small tasks; shows what it remembers beside the built-in cores.

    It takes a few minutes on two CPUs.

    Args:
      core: s5, lru, lstm, gru, attention or feed_forward, in a small size; or your own as MODULE:CORE, as it
        is.
      tasks: which rungs, such as chain/16, or families of them: chain, distractors, noise, repeat_previous,
        repeat_first; all if left out.
      num_seeds: trainings of each task.
      seed: the first of the seeds.
      num_steps: slots of training of each task and seed; None for the task's own.
      directory: folder for tables and pictures; None for report_cards/CORE.
      compilation_cache: whether compiled programs are kept for later calls, in the user's cache folder.

    Returns:
      0.
    """
    if compilation_cache:
        enable_compilation_cache()
    chosen = select_tasks(tasks)
    check_positive(num_seeds=num_seeds)
    loaded, name = _load(core)
    directory = Path("report_cards") / name if directory is None else directory
    directory.mkdir(parents=True, exist_ok=True)  # now, not minutes later, where it cannot be made
    with Console().status("starting") as status:
        card = make_report_card(
            loaded,
            f"{name} now",
            chosen,
            num_seeds=num_seeds,
            seed=seed,
            num_steps=num_steps,
            progress=status.update,
        )
    stored = stored_cards()
    tables = write_cards([card], directory)
    pictures = plot_cards([*stored, card], directory / "scores.png", directory / "scores.svg")
    say(*_shown(card, stored), *(f"wrote {file}" for file in (*tables, *pictures)))
    return 0


def _load(name: str) -> tuple[RecurrentCore, str]:
    """Returns a core, and what to call it."""
    if ":" in name:
        return load_core(name), name.rpartition(":")[2]
    check_choice("--core", name, (*SMALL_CORES, OWN_CORE))
    return SMALL_CORES[name], name


class _Measure(NamedTuple):
    """A line of the second table."""

    name: str
    of: Callable[[ReportCard], str]


def _horizon(family: str) -> Callable[[ReportCard], str]:
    def show(card: ReportCard) -> str:
        horizon = card.recall_horizon(family)
        return "" if horizon is None else str(horizon)

    return show


MEASURES = (
    _Measure("recall horizon, steps", _horizon("chain")),
    _Measure("over distractors", _horizon("distractors")),
    _Measure("contamination: outputs", lambda card: f"{card.contamination.outputs:.2g}"),
    _Measure("  gradients", lambda card: f"{card.contamination.gradients:.2g}"),
    _Measure("parameters", lambda card: f"{card.costs.parameters:,}"),
    _Measure("state, numbers", lambda card: f"{card.costs.state:,}"),
    _Measure("us per acting step", lambda card: f"{card.costs.act_microseconds:,.0f}"),
    _Measure("us per update", lambda card: f"{card.costs.update_microseconds:,.0f}"),
)


def _shown(card: ReportCard, stored: Sequence[ReportCard]) -> list[Table | str]:
    cards = [card, *stored]
    scores = _table("task", cards)
    for score in card.scores:
        scores.add_row(score.task, *(_score(each, score.task) for each in cards))
    measures = _table("", cards)
    for measure in MEASURES:
        measures.add_row(measure.name, *(measure.of(each) for each in cards))
    return [
        scores,
        "",
        "0: chance. 1: the best there is. Means over seeds of the last tenth of training.",
        f"Beside {card.core}: the built-in cores of width 64, as they come with s5rl.",
        "",
        measures,
        "",
        f"recall horizon: the longest chain with a score of {SOLVED}, all shorter ones too.",
        "contamination: what a reset lets through; exactly 0 for a right core.",
        f"costs now: {conditions([card])}",
        f"costs of the others: {conditions(stored)}",
        "",
    ]


def _table(corner: str, cards: Sequence[ReportCard]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(corner, no_wrap=True)
    for card in cards:
        table.add_column(card.core.replace("_", " "), justify="right")
    return table


def _score(card: ReportCard, task: str) -> str:
    return "".join(f"{score.mean:.2f}" for score in card.scores if score.task == task)
