"""Numbers of steps as people write them."""

from __future__ import annotations

from typing import Annotated

import tyro


def whole_number(text: str) -> int:
    """Returns the number of "15e6", "15_000_000" or "15000000".

    Raises:
      ValueError: it is no whole number.
    """
    number = float(text)
    if not number.is_integer():
        raise ValueError(f"expected a whole number such as 1_000_000 or 15e6, got {text!r}")
    return int(number)


StepCount = Annotated[
    int,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: whole_number(words[0]),
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    ),
]
"""An int of a command line for which 15e6 is one too."""
