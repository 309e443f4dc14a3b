"""Runs every Python block of the README and of docs/, so that what they show works.

The blocks of a file share their names and run in order, in an empty folder. A block that follows the
comment `<!-- not run: reason -->` is left out.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^(?P<skip><!-- not run: [^\n]+ -->\n+)?```python[^\n]*\n(?P<code>.*?)^```$", re.M | re.S)


def python_blocks(text: str) -> list[str]:
    """Returns the blocks to run, each moved down to its line in the page for readable tracebacks."""
    return [
        "\n" * text.count("\n", 0, match.start("code")) + match["code"]
        for match in BLOCK.finditer(text)
        if not match["skip"]
    ]


def run_blocks(path: Path) -> None:
    """Executes the blocks of a page in one namespace."""
    namespace = {"__name__": "__main__"}
    for block in python_blocks(path.read_text()):
        exec(compile(block, str(path), "exec"), namespace)


def test_no_block_escapes():
    """Every Python block is run, but for these, whose reasons stand above them."""
    texts = {path.relative_to(ROOT).as_posix(): path.read_text() for path in PAGES}
    for name, text in texts.items():
        assert len(BLOCK.findall(text)) == len(re.findall(r"```py", text)), name
    skipped = {
        (name, re.sub("<!-- not run: | -->\n+", "", match["skip"]))
        for name, text in texts.items()
        for match in BLOCK.finditer(text)
        if match["skip"]
    }
    assert skipped == {
        ("docs/acme.md", "puts modules in place"),
        ("docs/acme.md", "needs Reverb"),
        ("docs/acme.md", "needs Acme's current source"),
        ("docs/training.md", "changes the settings of the whole process"),
    }


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_python_blocks_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_blocks(path)


def test_a_wrong_block_fails_and_a_skipped_one_does_not_run(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\nx = 1\n```\n\ntext\n\n```python\nassert x == 2\n```\n")
    with pytest.raises(AssertionError) as error:
        run_blocks(page)
    assert error.traceback[-1].lineno + 1 == 10

    page.write_text("<!-- not run: shows a mistake -->\n```python\nraise ValueError\n```\n")
    run_blocks(page)
