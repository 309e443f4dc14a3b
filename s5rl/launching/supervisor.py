"""Several processes that live and die together, started again where they die too early."""

from __future__ import annotations

import contextlib
import itertools
import selectors
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, final

from s5rl.launching.child import Child
from s5rl.launching.stop_signals import StopSignals

FAILED = 1
"""Exit status of processes that hung."""
INTERRUPTED = 130
"""Exit status of a process that has saved and stopped because it was asked to."""
GOOD_ENDS = (0, INTERRUPTED)
TICK = 0.02
"""Seconds between two looks at the processes."""


class Outcome(NamedTuple):
    """How all processes have ended."""

    status: int
    """For the launcher to exit with."""
    may_restart: bool
    """Whether they failed or hung, and nobody had asked one of them to stop."""


def supervise(
    make_commands: Callable[[], Iterable[Sequence[str]]],
    *,
    max_restarts: int,
    grace: float,
    timeout: float | None,
) -> int:
    """Runs processes of which none is of use without the others.

    When one ends, in whatever way, the others have `grace` seconds to end too; then they are killed. If one
    failed or hung, all are started again. The first SIGTERM or Ctrl-C is passed on to all as SIGTERM, and
    nothing is started after it; the second one kills them. No process is left when this function returns or
    raises.

    Args:
      make_commands: called before each start; returns program and arguments of each process.
      max_restarts: how often all processes may be started again.
      grace: seconds between the first end of a process and the death of the last.
      timeout: seconds since the start, or since the last heartbeat (`s5rl.launching.beat`) of any process,
        after which they count as hung and are killed; None for no limit.

    Returns:
      The exit status of the process that failed first, 128 + the number of the signal for one that was
      killed; 1 if processes hung; 130 if they stopped because they were asked to; else 0.

    Raises:
      OSError: a process cannot be started.
      ValueError: this is not the main thread, where signals are handled.
    """
    with StopSignals() as stops:
        for restart in itertools.count(1):
            outcome = _Attempt(stops, grace, timeout).run(make_commands())
            if not outcome.may_restart or stops.count or restart > max_restarts:
                return outcome.status
            _say(f"starting all processes again: restart {restart} of {max_restarts}")
    raise AssertionError("itertools.count ends")


@final
class _Attempt:
    """All processes from their start to the end of the last one."""

    def __init__(self, stops: StopSignals, grace: float, timeout: float | None) -> None:
        self._stops, self._grace, self._timeout = stops, grace, timeout
        self._children: list[Child] = []
        self._ended: list[Child] = []
        self._ended_at = 0.0
        self._is_asked_to_stop = False

    def run(self, commands: Iterable[Sequence[str]]) -> Outcome:
        with selectors.DefaultSelector() as selector, contextlib.ExitStack() as deaths:
            for index, command in enumerate(commands):
                child = Child(index, command)
                deaths.callback(child.kill)
                self._children.append(child)
                for pipe in child.pipes:
                    selector.register(pipe, selectors.EVENT_READ, child)
            while self._running():
                for key, _ in selector.select(TICK):
                    if not key.data.read(key.fd):
                        selector.unregister(key.fd)
                self._notice_ends()
                self._pass_on_stop()
                reason = self._reason_to_kill()
                if reason is not None:
                    _say(f"{reason}: killed")
                    return self._outcome(has_hung=True)
            return self._outcome(has_hung=False)

    def _running(self) -> list[Child]:
        return [child for child in self._children if child.status is None]

    def _notice_ends(self) -> None:
        for child in self._children:
            if not child.has_just_ended():
                continue
            if not self._ended:
                self._ended_at = time.monotonic()
            self._ended.append(child)
            if child.status not in GOOD_ENDS:
                running = self._running()
                rest = f": {_names(running)} must end within {self._grace:g} s" if running else ""
                _say(f"process {child.index} {child.end()}{rest}")

    def _pass_on_stop(self) -> None:
        if not self._stops.count or self._is_asked_to_stop:
            return
        self._is_asked_to_stop = True
        _say("asking all processes to save and stop; once more to kill them")
        for child in self._running():
            child.terminate()

    def _reason_to_kill(self) -> str | None:
        """Returns why the processes that still run must not go on; None where they may."""
        running, now = self._running(), time.monotonic()
        if not running:
            return None
        if self._stops.count > 1:
            return f"asked twice to stop, {_names(running)} had not ended"
        if self._ended and now - self._ended_at > self._grace:
            return f"{_names(running)} had not ended {self._grace:g} s after process {self._ended[0].index}"
        if self._ended or self._timeout is None:
            return None
        if now - max(child.last_sign for child in running) > self._timeout:
            return f"{_names(running)} had given no sign of life for {self._timeout:g} s"
        return None

    def _outcome(self, has_hung: bool) -> Outcome:
        statuses = [child.status for child in self._ended if child.status is not None]
        failures = [status for status in statuses if status not in GOOD_ENDS]
        may_restart = INTERRUPTED not in statuses
        if failures:
            return Outcome(failures[0], may_restart)
        if has_hung:
            return Outcome(INTERRUPTED if self._stops.count > 1 else FAILED, may_restart)
        return Outcome(max(statuses), may_restart=False)


def _names(children: Iterable[Child]) -> str:
    indices = [str(child.index) for child in children]
    return f"process {indices[0]}" if len(indices) == 1 else f"processes {', '.join(indices)}"


def _say(message: str) -> None:
    print(f"[launch] {message}", file=sys.stderr, flush=True)
