"""The words of several processes in one stream."""

from __future__ import annotations

from typing import BinaryIO, final


@final
class PrefixedLines:
    """Passes on whole lines, each behind a prefix; what ends in a carriage return is one too."""

    def __init__(self, prefix: str, target: BinaryIO) -> None:
        """Writes nothing yet.

        Args:
          prefix: of each line.
          target: where the lines go.
        """
        self._prefix, self._target = prefix.encode(), target
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Takes some bytes; keeps what follows the last end of a line."""
        lines = (self._rest + data).splitlines(keepends=True)
        self._rest = lines.pop() if lines and not lines[-1].endswith((b"\n", b"\r")) else b""
        for line in lines:
            self._target.write(self._prefix + line.rstrip(b"\r\n") + b"\n")
        self._target.flush()

    def finish(self) -> None:
        """Passes on what no end of a line has followed."""
        if self._rest:
            self.feed(b"\n")
