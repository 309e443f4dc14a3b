"""Fills the API pages, and ends the build at a public symbol without documentation.

The public names of a package are those that its `__init__.py` imports.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parent.parent
PUBLIC_NAMES = re.compile(r"^public names of (\S+)$", re.MULTILINE)
ENTRY = re.compile(r"^::: (\S+)$", re.MULTILINE)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replaces each line `public names of PACKAGE` and checks what the page shows; MkDocs calls this."""
    if not page.file.src_uri.startswith("api/"):
        return markdown
    markdown = PUBLIC_NAMES.sub(lambda match: section(match[1]), markdown)
    check(ENTRY.findall(markdown), page.file.src_uri)
    return markdown


def section(package: str) -> str:
    """Returns the docstring of a package, then one entry a public name."""
    docstring = ast.get_docstring(ast.parse(_init_file(package).read_text()))
    entries = [f"::: {package}.{name}\n    options: {{heading_level: 2}}" for name in public_names(package)]
    return "\n\n".join([docstring or "", *entries])


def public_names(package: str) -> list[str]:
    """Returns what the `__init__.py` of a package imports from s5rl."""
    return [
        alias.name
        for node in ast.parse(_init_file(package).read_text()).body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("s5rl")
        for alias in node.names
    ]


def check(paths: list[str], page: str) -> None:
    """Ends the build where an object among `paths`, or a public part of one, is undocumented.

    Raises:
      PluginError: with all of them.
    """
    missing = sorted({name for path in paths for name in undocumented(_find(path))})
    if missing:
        raise PluginError(f"{page} shows public symbols without documentation: {', '.join(missing)}")


def undocumented(symbol: griffe.Object | griffe.Alias) -> Iterator[str]:
    """Yields the paths of public symbols without documentation: the symbol and what is defined in it.

    A field needs a docstring of its own, or its name in the docstring of its class or of a base.
    """
    if symbol.is_alias:
        symbol = symbol.final_target
    if not symbol.has_docstring:
        yield symbol.path
    if symbol.is_module or symbol.is_class:
        bases = symbol.mro() if symbol.is_class else []
        named = set().union(*map(_named_fields, [symbol, *bases]))
        for name, member in symbol.members.items():
            if not (name.startswith("_") or member.is_alias or member.is_module or name in named):
                yield from undocumented(member)


def _named_fields(symbol: griffe.Object | griffe.Alias) -> set[str]:
    sections = symbol.docstring.parse("google") if symbol.docstring else []
    return {item.name for part in sections if part.kind.value == "attributes" for item in part.value}


@functools.cache
def _package() -> griffe.Object | griffe.Alias:
    return griffe.load("s5rl", search_paths=[ROOT])


def _find(path: str) -> griffe.Object | griffe.Alias:
    return _package()[path.removeprefix("s5rl.")]


def _init_file(package: str) -> Path:
    return ROOT / package.replace(".", "/") / "__init__.py"
