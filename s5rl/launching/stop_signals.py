"""The wish to stop all processes, from the keyboard or from a cluster."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Self, final

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@final
class StopSignals:
    """While it is entered, Ctrl-C and SIGTERM are counted; one that the process ignores stays ignored.

    Attributes:
      count: how often they came.
    """

    def __init__(self) -> None:
        """Changes nothing yet."""
        self.count = 0
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Takes the signals; in the main thread only.

        Raises:
          ValueError: this is another thread.
        """
        heeded = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
        self._handlers = {each: signal.signal(each, self._count) for each in heeded}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _count(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
