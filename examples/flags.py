"""Flags of the examples: wrong ones end the program with their message and status 2."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def wrong_flags_refused() -> Iterator[None]:
    """Shows the words of a ValueError in the place of its traceback, as newer versions of tyro do.

    Raises:
      SystemExit: with status 2, in the place of a ValueError.
    """
    try:
        yield
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
