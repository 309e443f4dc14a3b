"""Stopping a run from outside at a moment when nothing is lost."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, Self, final

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what clusters send before they take a machine away."""


@final
class TrainingInterrupted(KeyboardInterrupt):
    """A run was stopped from outside, and saved before that."""


@final
class Interrupts:
    """While it is entered, the first Ctrl-C is only remembered; the second one stops at once.

    Works in the main thread, where Python handles signals; elsewhere it does nothing. A signal that the
    process ignores, as one in the background ignores Ctrl-C, stays ignored.
    """

    def __init__(self, enabled: bool) -> None:
        """Changes nothing yet.

        Args:
          enabled: whether signals are taken; else everything stays as it is.
        """
        self._enabled = enabled
        self.requested = False
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if self._enabled and threading.current_thread() is threading.main_thread():
            heeded = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
            self._handlers = {each: signal.signal(each, self._remember) for each in heeded}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()
        print(
            "\nStopping after this chunk of updates, to save the run; once more to stop at once and lose "
            "what came after the last checkpoint.",
            file=sys.stderr,
        )

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
