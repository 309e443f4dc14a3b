"""`s5rl launch`: the processes of one run on this machine."""

from __future__ import annotations

import shlex
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import tyro

from s5rl.launching import supervise
from s5rl.validation import check_number, check_positive

EXAMPLE = "s5rl launch -n 2 -- train popgym/RepeatPreviousEasy --directory runs/two"


def launch_command(words: Sequence[str]) -> Callable[..., int]:
    """Returns the command, for what its processes are to do.

    Args:
      words: the command line behind `--`.
    """

    def launch(
        num_processes: Annotated[int, tyro.conf.arg(aliases=["-n"])],
        max_restarts: int = 0,
        grace: float = 10.0,
        timeout: float | None = 1800.0,
    ) -> int:
        """Starts and watches the processes of one run on this machine: s5rl launch -n 2 -- train ...

        Each runs what stands behind `--` with --distributed. When one dies or hangs, all are killed. Ctrl-C
        and SIGTERM stop all at the same step, with a checkpoint; once more kills them.

        Args:
          num_processes: how many.
          max_restarts: how often all are started again where one died or hung, from the last checkpoint.
          grace: seconds that the others have to end when one has ended.
          timeout: seconds without a finished chunk of updates until they count as hung; None for no limit.

        Returns:
          The exit status of the process that failed first, 128 + number for a signal; 1 where they hung, 130
          where they were stopped, 0 where all are done.
        """
        check_positive(**{"--num-processes": num_processes})
        check_number("--max-restarts", max_restarts, 0)
        check_number("--grace", grace, 0)
        if timeout is not None:
            check_number("--timeout", timeout, 0, above=True)
        if list(words[:1]) != ["train"]:
            raise ValueError(
                f"expected a `train` behind `--`, got {shlex.join(words)!r}; such as:\n  {EXAMPLE}"
            )
        return supervise(
            lambda: commands(words, num_processes), max_restarts=max_restarts, grace=grace, timeout=timeout
        )

    return launch


def commands(words: Sequence[str], num_processes: int) -> list[list[str]]:
    """Returns the command lines of the processes, which meet at a port that is free now.

    Where there are GPUs, process i takes GPU i, as under SLURM; else JAX would let each have all of them.

    Args:
      words: the command line of one of them, without `s5rl`.
      num_processes: how many.
    """
    with socket.socket() as meeting:
        meeting.bind(("localhost", 0))
        coordinator = f"localhost:{meeting.getsockname()[1]}"
    alike = [*words, "--distributed", "--coordinator", coordinator, "--num-processes", str(num_processes)]
    program = [sys.executable, "-m", "s5rl", *alike]
    return [
        ["env", f"JAX_LOCAL_DEVICE_IDS={index}", *program, "--process-index", str(index)]
        for index in range(num_processes)
    ]
