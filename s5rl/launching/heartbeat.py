"""The signs of life of a process that `s5rl launch` has started."""

from __future__ import annotations

import os

HEARTBEAT_PIPE = "S5RL_HEARTBEAT_PIPE"
"""The variable of the environment with the number of the pipe that the process writes to."""


def beat() -> None:
    """Says that this process goes on; does nothing where `s5rl launch` has not started it.

    Ends the process if the launcher is gone: the others end alike, at the same place of the run.
    """
    pipe = os.environ.get(HEARTBEAT_PIPE)
    if pipe is None:
        return
    try:
        os.write(int(pipe), b".")
    except BrokenPipeError:
        os._exit(1)  # stderr leads to the launcher too, and what runs at exit may wait for the others
