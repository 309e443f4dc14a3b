"""Checks of plain arguments: errors that name the argument, what was given and what was expected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any


def check_positive(**sizes: Any) -> None:
    """Raises a ValueError unless every named size is an integer of at least 1."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, Integral) or size < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {size!r}.")


def check_sizes(name: str, sizes: Any, at_least: int = 0) -> None:
    """Raises a ValueError unless the sizes are a tuple of at least so many integers of at least 1."""
    if not isinstance(sizes, tuple) or len(sizes) < at_least:
        least = f" of at least {at_least}" if at_least else " of"
        raise ValueError(f"{name} must be a tuple{least} integers of at least 1, got {sizes!r}.")
    for index, size in enumerate(sizes):
        check_positive(**{f"{name}[{index}]": size})


def check_number(name: str, value: Any, low: float, high: float = math.inf, *, above: bool = False) -> None:
    """Raises a ValueError unless the value is a finite number from low to high; above low, if so asked."""
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if math.isfinite(number) and (low < number if above else low <= number) and number <= high:
        return
    lower = f"above {low}" if above else f"of at least {low}"
    upper = f" and at most {high}" if high < math.inf else ""
    raise ValueError(f"{name} must be a number {lower}{upper}, got {value!r}.")


def check_bool(name: str, value: Any) -> None:
    """Raises a ValueError unless the value is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}.")


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raises a ValueError unless the value is one of the choices."""
    if value not in choices:
        expected = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {expected}, got {value!r}.")
