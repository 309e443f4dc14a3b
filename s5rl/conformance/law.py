"""What a law is, of a core, an agent or an environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from s5rl.conformance.measure import Deviation

SubjectT = TypeVar("SubjectT")
CaseT = TypeVar("CaseT")


def to_everything(subject: Any) -> bool:
    """Returns True: most laws apply to all subjects."""
    del subject
    return True


class Law(NamedTuple, Generic[SubjectT, CaseT]):
    """One law."""

    number: int
    """Its number in the documentation."""
    name: str
    """A few words."""
    check: Callable[[SubjectT, CaseT], list[Deviation]]
    """Tries the law on a case; returns what was compared, nothing where the case does not touch the law."""
    cases: tuple[CaseT, ...]
    """What the kit tries it on, from the smallest up."""
    applies_to: Callable[[SubjectT], bool] = to_everything
    """Whether the subject has what the law speaks of."""
