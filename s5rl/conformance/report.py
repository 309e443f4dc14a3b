"""The laws over all cases of the kit, and what came out, for people to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Table

from s5rl.conformance.case import Case
from s5rl.conformance.laws import LAWS, Law
from s5rl.conformance.measure import Deviation
from s5rl.conformance.subject import Subject
from s5rl.cores import RecurrentCore


class LawReport(NamedTuple):
    """What came out for one law."""

    law: Law
    verdict: str
    """"holds", "FAILS", "error" (the core raised) or "not applicable"."""
    worst: Deviation | None
    """The comparison nearest to its limit, or furthest beyond it."""
    case: Case | None
    """The smallest case that fails."""
    message: str
    """What the core raised."""


class Report(NamedTuple):
    """What came out for a core; printed by rich as a table."""

    core: RecurrentCore
    laws: tuple[LawReport, ...]

    @property
    def passed(self) -> bool:
        """Whether every law that applies holds."""
        return not self.failed

    @property
    def failed(self) -> tuple[int, ...]:
        """The numbers of the laws that fail."""
        return tuple(entry.law.number for entry in self.laws if entry.verdict in ("FAILS", "error"))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(
            "", "law", "verdict", "worst deviation", "limit", "smallest failing case", title_justify="left"
        )
        for entry in self.laws:
            colour = {"holds": "green", "not applicable": "dim"}.get(entry.verdict, "bold red")
            table.add_row(
                str(entry.law.number),
                entry.law.name,
                f"[{colour}]{entry.verdict}[/]",
                f"{entry.worst.size:.1e}" if entry.worst else "",
                f"{entry.worst.limit:.0e}" if entry.worst else "",
                str(entry.case or ""),
            )
        yield escape(repr(self.core))
        yield table
        for entry in self.laws:
            if entry.case is not None:
                yield escape(f"Law {entry.law.number}, {entry.case}: {entry.message or entry.worst}")
        if self.passed:
            yield "[green]All laws hold.[/]"
        else:
            yield f"[bold red]Laws that fail: {', '.join(map(str, self.failed))}.[/]"


def check_core(
    core: RecurrentCore, input_size: int = 3, progress: Callable[[Law], None] | None = None
) -> Report:
    """Tries all laws on a core.

    Args:
      core: the core.
      input_size: number of features of its inputs.
      progress: called with each law before it is tried.

    Returns:
      The report; its `passed` says whether all laws hold.

    Raises:
      TypeError: the core is no RecurrentCore.
      UnhashableCoreError: the core is not hashable.
    """
    if not isinstance(core, RecurrentCore):
        raise TypeError(f"core must be an instance of RecurrentCore, got {core!r}.")
    # The tolerances are those of full float32 products, which accelerators do not use by default.
    with jax.default_matmul_precision("highest"):
        subject = Subject(core, input_size)
        entries = []
        for law in LAWS:
            if progress:
                progress(law)
            entries.append(check_law(law, subject, law.cases))
    return Report(core, tuple(entries))


def check_law(law: Law, subject: Subject, cases: Sequence[Case]) -> LawReport:
    """Tries one law on cases, up to the first that fails.

    Args:
      law: the law.
      subject: the core.
      cases: from the smallest up.

    Returns:
      The verdict; whatever the core raises is a failure, told in the message.
    """
    if not law.applies_to(subject.core):
        return LawReport(law, "not applicable", None, None, "")
    worst = None
    for case in cases:
        try:
            found = law.check(subject, case)
        except Exception as error:
            return LawReport(law, "error", None, case, f"{type(error).__name__}: {error}")
        worst = max(filter(None, [worst, *found]), key=lambda d: d.severity, default=None)
        if worst and worst.fails:
            return LawReport(law, "FAILS", worst, case, "")
    return LawReport(law, "holds", worst, None, "")
