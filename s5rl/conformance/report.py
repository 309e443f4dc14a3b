"""The laws over all cases of the kit, and what came out, for people to read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Table

from s5rl.agents import Agent
from s5rl.conformance.agent_laws import AGENT_LAWS
from s5rl.conformance.agent_subject import AgentSubject
from s5rl.conformance.environment_laws import ENVIRONMENT_LAWS
from s5rl.conformance.environment_subject import EnvironmentSubject
from s5rl.conformance.law import CaseT, Law, SubjectT
from s5rl.conformance.laws import LAWS
from s5rl.conformance.measure import Deviation
from s5rl.conformance.subject import Subject
from s5rl.cores import RecurrentCore
from s5rl.envs import JaxEnvironment, MemoryChain

DEFAULT_ENVIRONMENT = MemoryChain(3)
"""Episodes of 4 steps and a dead slot."""


class LawReport(NamedTuple):
    """What came out for one law."""

    law: Law[Any, Any]
    """Which one."""
    verdict: str
    """"holds", "FAILS", "error" (the subject raised) or "not applicable"."""
    worst: Deviation | None
    """The comparison nearest to its limit, or furthest beyond it."""
    case: object
    """The smallest case that fails, or None."""
    message: str
    """What the subject raised."""


class Report(NamedTuple):
    """What came out for a core, an agent or an environment; printed by rich as a table."""

    subject: str
    """What was tried."""
    laws: tuple[LawReport, ...]
    """One entry a law, in their order."""

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
        yield escape(self.subject)
        yield table
        for entry in self.laws:
            if entry.case is not None:
                yield escape(f"Law {entry.law.number}, {entry.case}: {entry.message or entry.worst}")
        if self.passed:
            yield "[green]All laws hold.[/]"
        else:
            yield f"[bold red]Laws that fail: {', '.join(map(str, self.failed))}.[/]"


def check_core(
    core: RecurrentCore, input_size: int = 3, progress: Callable[[Law[Any, Any]], None] | None = None
) -> Report:
    """Tries all laws of a core.

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
    return _report(repr(core), LAWS, lambda: Subject(core, input_size), progress)


def check_agent(
    agent: Agent,
    environment: JaxEnvironment = DEFAULT_ENVIRONMENT,
    progress: Callable[[Law[Any, Any]], None] | None = None,
) -> Report:
    """Tries all laws of an agent on what it does in an environment.

    Args:
      agent: bound to the environment, or unbound.
      environment: whose episodes end within the `unroll_length` of the agent's config.
      progress: called with each law before it is tried.

    Returns:
      The report; its `passed` says whether all laws hold.

    Raises:
      TypeError: the agent is no Agent, or the environment no JaxEnvironment.
      ValueError: the agent is bound to another environment, or no episode ends.
    """
    title = f"{type(agent).__name__} in {environment!r}"
    return _report(title, AGENT_LAWS, lambda: AgentSubject(agent, environment), progress)


def check_environment(
    environment: JaxEnvironment,
    num_steps: int = 1000,
    progress: Callable[[Law[Any, Any]], None] | None = None,
) -> Report:
    """Tries all laws of an environment in JAX, with random actions.

    Args:
      environment: the environment.
      num_steps: slots of each row, over which an episode has to end.
      progress: called with each law before it is tried.

    Returns:
      The report; its `passed` says whether all laws hold.

    Raises:
      TypeError: it is no JaxEnvironment.
      UnhashableEnvironmentError: it is not hashable.
      ValueError: num_steps is not positive.
    """
    return _report(
        repr(environment), ENVIRONMENT_LAWS, lambda: EnvironmentSubject(environment, num_steps), progress
    )


def check_law(law: Law[SubjectT, CaseT], subject: SubjectT, cases: Sequence[CaseT]) -> LawReport:
    """Tries one law on cases, up to the first that fails.

    Args:
      law: the law.
      subject: what is under test.
      cases: from the smallest up.

    Returns:
      The verdict; whatever the subject raises is a failure, told in the message.
    """
    if not law.applies_to(subject):
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


def _report(
    title: str,
    laws: Iterable[Law[SubjectT, Any]],
    make_subject: Callable[[], SubjectT],
    progress: Callable[[Law[Any, Any]], None] | None,
) -> Report:
    entries = []
    # The tolerances are those of full float32 products, which accelerators do not use by default.
    with jax.default_matmul_precision("highest"):
        subject = make_subject()
        for law in laws:
            if progress:
                progress(law)
            entries.append(check_law(law, subject, law.cases))
    return Report(title, tuple(entries))
