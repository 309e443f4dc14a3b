"""Pages of the documentation that benchmarks write: tables in Markdown, with their conditions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table


class Section(NamedTuple):
    """One table of a page."""

    title: str
    text: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def publish(title: str, sections: Sequence[Section], conditions: str, page: Path | None) -> None:
    """Prints sections, and writes them as a page.

    Args:
      title: of the page.
      sections: what was measured.
      conditions: on what, and with what.
      page: the file, Markdown; None writes none.
    """
    console = Console(width=150)
    for section in sections:
        table = Table(*section.headings, title=section.title)
        for row in section.rows:
            table.add_row(*row)
        console.print(table)
    console.print(conditions, highlight=False, markup=False)
    if page is None:
        return
    parts = [f"# {title}\n"]
    for section in sections:
        parts.append(f"## {section.title}\n\n{section.text}\n\n{_markdown(section)}\n")
    parts.append(f"## Conditions\n\n{conditions}\n")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(parts))
    console.print(f"wrote {page}", highlight=False)


def _markdown(section: Section) -> str:
    lines = [section.headings, ("---",) + ("---:",) * (len(section.headings) - 1), *section.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
