"""One process that the launcher has started: what it says, whether it lives, and how it ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import final

from s5rl.launching.heartbeat import HEARTBEAT_PIPE
from s5rl.launching.lines import PrefixedLines

READ_BYTES = 65536
"""A pipe holds no more."""
KILL_SECONDS = 30.0
"""How long a process may take to vanish after SIGKILL; only the kernel can hold it up."""
PR_SET_PDEATHSIG = 1
"""Of Linux's prctl: sets the signal that a process gets when its parent dies."""


@final
class Child:
    """A process in a session of its own, so that Ctrl-C reaches the launcher alone.

    Its lines are passed on, each behind `[index]`. On Linux it does not outlive the launcher in any case.

    Attributes:
      index: of the process in the run.
      last_sign: `time.monotonic()` of its last heartbeat, or else of its start.
      status: its exit status, or 128 + the number of the signal that killed it; None while it runs.
    """

    def __init__(self, index: int, command: Sequence[str]) -> None:
        """Starts it.

        Args:
          index: of the process in the run.
          command: program and arguments.

        Raises:
          OSError: it cannot be started.
        """
        self.index = index
        self.last_sign = time.monotonic()
        self.status: int | None = None
        self._beats, beats = os.pipe()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, HEARTBEAT_PIPE: str(beats)},
                pass_fds=(beats,),
                start_new_session=True,
                preexec_fn=_die_with_parent() if sys.platform == "linux" else None,
            )
        except BaseException:
            os.close(self._beats)
            raise
        finally:
            os.close(beats)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._lines = {
            self._process.stdout.fileno(): PrefixedLines(f"[{index}] ", sys.stdout.buffer),
            self._process.stderr.fileno(): PrefixedLines(f"[{index}] ", sys.stderr.buffer),
        }
        for pipe in self.pipes:
            os.set_blocking(pipe, False)

    @property
    def pipes(self) -> list[int]:
        """What `read` takes."""
        return [*self._lines, self._beats]

    def read(self, pipe: int) -> bool:
        """Takes what there is in a pipe; returns whether more may come."""
        try:
            data = os.read(pipe, READ_BYTES)
        except BlockingIOError:
            return True
        if pipe in self._lines:
            self._lines[pipe].feed(data)
        elif data:
            self.last_sign = time.monotonic()
        return bool(data)

    def has_just_ended(self) -> bool:
        """Returns True once, when the process has ended by itself; its last words are passed on before."""
        if self.status is not None or self._process.poll() is None:
            return False
        code = self._process.returncode
        self.status = code if code >= 0 else 128 - code
        self._hear_last_words()
        return True

    def end(self) -> str:
        """Returns how it ended, such as "exited with status 1"."""
        code = self._process.returncode
        if code >= 0:
            return f"exited with status {code}"
        return f"was killed by signal {-code} ({signal.Signals(-code).name})"

    def terminate(self) -> None:
        """Asks it to end, by SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Ends it and what is left of its process group, by SIGKILL.

        Raises:
          subprocess.TimeoutExpired: the kernel does not let go of it.
        """
        with contextlib.suppress(
            ProcessLookupError, PermissionError
        ):  # nobody is left, as Linux or macOS says
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(KILL_SECONDS)
        self._hear_last_words()
        os.close(self._beats)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def _hear_last_words(self) -> None:
        for pipe, lines in self._lines.items():
            self.read(pipe)
            lines.finish()


def _die_with_parent() -> Callable[[], None]:
    """Returns what a new process runs before its program, so that it does not outlive this one."""
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def die_with_parent() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # which has died before
            os._exit(1)

    return die_with_parent
