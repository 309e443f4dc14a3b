"""Fills the API page: the public names of a package are those that its `__init__.py` imports."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replaces each line `public names of PACKAGE`; MkDocs calls this for every page."""
    if page.file.src_uri != "api.md":
        return markdown
    return re.sub(r"^public names of (\S+)$", lambda match: section(match[1]), markdown, flags=re.MULTILINE)


def section(package: str) -> str:
    """Returns the docstring of a package, then one entry a public name."""
    tree = ast.parse((ROOT / package.replace(".", "/") / "__init__.py").read_text())
    names = [
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("s5rl")
        for alias in node.names
    ]
    entries = [f"::: {package}.{name}\n    options: {{heading_level: 3}}" for name in names]
    return "\n\n".join([ast.get_docstring(tree) or "", *entries])
