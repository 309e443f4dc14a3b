"""The error for a name that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown_name(
    kind: str, name: str, known: Iterable[str], overview: Iterable[str] | None = None
) -> ValueError:
    """Returns an error that lists the known names nearest to `name`, or an overview where none is near.

    Args:
      kind: what is named, such as "environment".
      name: what was asked for.
      known: what could have been asked for.
      overview: the same in short; None for all of it.
    """
    known = list(known)
    nearest = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    hint = f"the nearest are {nearest}" if nearest else f"known are {list(overview or known)}"
    return ValueError(f"unknown {kind} {name!r}; {hint}.")
