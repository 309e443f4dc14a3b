"""The cases on which the laws are tried: lengths, batch sizes, flags and a cut."""

from __future__ import annotations

import dataclasses
from typing import final

import numpy as np


@final
@dataclasses.dataclass(frozen=True)
class Case:
    """One sequence for a core; inputs, states and loss weights are drawn from the seed.

    Attributes:
      resets: flags `[T][B]`, True where the state is reset before the input.
      cut: where the sequence is cut, 1 to T; at T nothing is cut.
      seed: of the random numbers.

    Raises:
      ValueError: there is no step, no row, rows of different lengths, or a cut outside of 1 to T.
    """

    resets: tuple[tuple[bool, ...], ...]
    cut: int
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.resets or not self.resets[0]:
            raise ValueError(f"resets must hold at least one step and one row, got {self.resets!r}.")
        if len({len(flags) for flags in self.resets}) > 1:
            raise ValueError(f"resets must hold one flag a row at every step, got {self.resets!r}.")
        if not 1 <= self.cut <= self.length:
            raise ValueError(f"cut must be from 1 to the length {self.length}, got {self.cut}.")

    @property
    def length(self) -> int:
        """Number of steps T."""
        return len(self.resets)

    @property
    def batch_size(self) -> int:
        """Number of rows B."""
        return len(self.resets[0])

    @property
    def flags(self) -> np.ndarray:
        """The resets as an array, bool [T, B]."""
        return np.array(self.resets, bool)

    def __str__(self) -> str:
        return f"T={self.length}, B={self.batch_size}, {self._resets_in_words()}"

    def _resets_in_words(self) -> str:
        rows = [np.flatnonzero(row).tolist() for row in self.flags.T]
        if not any(rows):
            return "no reset"
        words = [
            f"t={', '.join(map(str, times))}" + (f" of row {row}" if len(rows) > 1 else "")
            for row, times in enumerate(rows)
            if times
        ]
        plural = "s" if sum(map(len, rows)) > 1 else ""
        return f"reset{plural} at {' and '.join(words)}"


def make_case(length: int, rows: tuple[tuple[int, ...], ...], cut: int, seed: int = 0) -> Case:
    """Returns a case from the times of the resets of each row.

    Args:
      length: number of steps T.
      rows: for each row the steps at which it is reset.
      cut: where the sequence is cut, 1 to T.
      seed: of the random numbers.
    """
    resets = tuple(tuple(t in times for times in rows) for t in range(length))
    return Case(resets, cut, seed)


def small_cases() -> tuple[Case, ...]:
    """Returns the cases of the kit from the smallest up, so that the first that fails is the smallest.

    They have few shapes and cuts, because compiling is what takes the time.
    """
    return (
        make_case(1, ((),), cut=1),
        make_case(1, ((0,),), cut=1),
        make_case(3, ((),), cut=1),
        make_case(3, ((0,),), cut=1),
        make_case(3, ((1,),), cut=1),
        make_case(3, ((2,),), cut=1),
        make_case(3, ((0, 1, 2),), cut=1),
        make_case(5, ((), (2,)), cut=2),
        make_case(5, ((0, 3), (1, 2, 4)), cut=2),
    )


def long_case() -> Case:
    """Returns a case that is longer than the window of most memories that have one."""
    return make_case(160, ((40,), ()), cut=70)


def one_case_a_shape() -> tuple[Case, ...]:
    """Returns a case of each shape, for laws to which it does not matter where the resets are."""
    return (
        make_case(1, ((0,),), cut=1),
        make_case(3, ((1,),), cut=1),
        make_case(5, ((0, 3), (1, 2, 4)), cut=2),
    )
