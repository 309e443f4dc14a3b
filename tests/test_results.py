"""The numbers in docs/results.md are those of the files beside it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parent.parent / "docs"


def table(heading: str) -> Iterator[dict[str, str]]:
    """Yields the rows of the first table whose first line is `heading`."""
    lines = iter((DOCS / "results.md").read_text().splitlines())
    for line in lines:
        if line == heading:
            break
    names = cells(heading)
    next(lines)
    for line in lines:
        if not line.startswith("|"):
            return
        yield dict(zip(names, cells(line), strict=True))


def cells(line: str) -> list[str]:
    """Returns what stands between the bars of a line."""
    return [cell.strip() for cell in line.strip("|").split("|")]


def read(name: str, *key: str) -> dict[tuple[str, ...], list[dict[str, str]]]:
    """Returns the rows of a file in docs/results, by some of their columns."""
    rows: dict[tuple[str, ...], list[dict[str, str]]] = {}
    with (DOCS / "results" / name).open(newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(tuple(row[column] for column in key), []).append(row)
    return rows


def test_memory_length():
    runs = read("memory_length.csv", "core", "length", "unroll")
    shown = list(table("| core | length | unroll | correct | worst | best | solved |"))
    assert {(row["core"], row["length"], row["unroll"]) for row in shown} == set(runs)
    for row in shown:
        seeds = runs[row["core"], row["length"], row["unroll"]]
        correct = [float(seed["correct"]) for seed in seeds]
        numbers = [f"{number:.2f}" for number in (np.mean(correct), min(correct), max(correct))]
        assert [row["correct"], row["worst"], row["best"]] == numbers, row
        assert row["solved"] == f"{sum(int(seed['solved']) for seed in seeds)} of 3", row


def test_lengths_by_tens():
    runs = read("memory_length_tens.csv", "core", "unroll", "length")
    lengths = [str(length) for length in range(10, 101, 10)]
    shown = list(table("| core | unroll | " + " | ".join(lengths) + " |"))
    assert len(shown) == 6
    for row in shown:
        for length in lengths:
            covering = str(32 * -(-(int(length) + 2) // 32))
            unroll = covering if row["unroll"] == "cover" else row["unroll"]
            correct = [float(seed["correct"]) for seed in runs[row["core"], unroll, length]]
            assert row[length] == f"{sum(correct) / 3:.2f}", row


def test_unrolls():
    runs = read("memory_length_unrolls.csv", "core", "unroll", "length")
    shown = list(table("| core | unroll | length 25 | length 30 | length 40 |"))
    assert {(row["core"], row["unroll"]) for row in shown} == {key[:2] for key in runs}
    for row in shown:
        for length in ("25", "30", "40"):
            correct = [float(seed["correct"]) for seed in runs[row["core"], row["unroll"], length]]
            numbers = f"{np.mean(correct):.2f} ({min(correct):.2f} - {max(correct):.2f})"
            assert row[f"length {length}"] == numbers, row


def test_popgym():
    runs = read("popgym_table.csv", "environment", "core")
    shown = list(table("| environment | core | MMER | the paper's MMER | last evaluation |"))
    assert {(row["environment"], row["core"]) for row in shown} == set(runs)
    for row in shown:
        seeds = runs[row["environment"], row["core"]]
        assert len(seeds) == 3
        for column, heading in (("mmer", "MMER"), ("evaluation", "last evaluation")):
            values = np.array([float(seed[column]) for seed in seeds])
            assert row[heading] == f"{values.mean():.2f} ± {values.std():.2f}", row


def test_popgym_beside_the_paper(monkeypatch):
    monkeypatch.syspath_prepend(DOCS.parent / "examples")
    from popgym_ppo import paper_result

    for row in table("| environment | core | MMER | the paper's MMER | last evaluation |"):
        assert row["the paper's MMER"] == paper_result(row["environment"], row["core"])


def test_projected_dm_control():
    runs = read("projected_dm_control.csv", "core", "task")
    columns = {"random": "random", "memoryless": "feed_forward", "LSTM": "lstm", "S5": "s5"}
    shown = list(table("| task | random | memoryless | LSTM | S5 |"))
    means: dict[str, list[float]] = {name: [] for name in columns}
    for row in shown:
        for name, core in columns.items():
            if row["task"].startswith("**mean"):
                assert float(row[name]) == pytest.approx(np.mean(means[name]), abs=0.6), row
                continue
            task = re.sub(", held out$", "", row["task"])
            last = float(max(runs[core, task], key=lambda run: int(run["steps"]))["return"])
            assert float(row[name]) == pytest.approx(last, abs=0.5 if last >= 10 else 0.05), row
            means[name].append(last)
        if row["task"].startswith("**mean"):
            means = {name: [] for name in columns}
    assert len(shown) == 13
