"""Turns equations into MathML while the site is built, so that a page needs neither scripts nor fonts.

Equations are written as GitHub shows them too: a fenced block `math`, or $`...`$ within a line.
"""

from __future__ import annotations

import re
from typing import Any

from latex2mathml.converter import convert

BLOCK = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"\$`([^`]+)`\$")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replaces the equations of a page; MkDocs calls this."""
    markdown = BLOCK.sub(lambda match: f'<div class="equation">{_mathml(match[1], "block")}</div>', markdown)
    # In a span, or else Markdown takes an equation at the beginning of a line for a block of HTML.
    return INLINE.sub(lambda match: f"<span>{_mathml(match[1], 'inline')}</span>", markdown)


def _mathml(latex: str, display: str) -> str:
    return convert(" ".join(latex.split()), display=display)
