"""Several processes become one run: JAX's own runtime, with an end to endless waiting."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time

import jax

from s5rl.compat import initialize_distributed
from s5rl.validation import check_number, check_positive

HEARTBEAT_SECONDS = 10
"""How long a process may be silent until the others end: it died, or its machine did."""
FAREWELL_SECONDS = 5
"""How long a process that has failed may take to end, less than the others wait for it."""
LONGER = 60
"""Seconds that JAX's own limit is longer than ours: it ends the process without saying what it waited for."""


def connect_processes(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_index: int | None = None,
    timeout: float = 300.0,
) -> None:
    """Connects this process with the others of a run, before anything else is done with JAX.

    Without arguments, JAX finds them out: under SLURM, Kubernetes, Open MPI or on TPUs. Afterwards `train`
    shares a run out over the devices of all.

    Args:
      coordinator: HOST:PORT at which process 0 listens and the others ask.
      num_processes: how many there are.
      process_index: which this is, from 0.
      timeout: seconds to wait for the others. Where they are still not there, the process ends with status 2
        and a message; a process other than 0 raises as long as nobody answers at the coordinator's address.

    Raises:
      ValueError: some of the three are missing or out of range, or none is given and JAX finds nothing.
      TimeoutError: nobody answered at the coordinator's address in time.
    """
    check_number("timeout", timeout, 0, above=True)
    given = {"coordinator": coordinator, "num_processes": num_processes, "process_index": process_index}
    missing = [name for name, value in given.items() if value is None]
    if missing and len(missing) < len(given):
        raise ValueError(
            f"coordinator, num_processes and process_index go together; {', '.join(missing)} missing."
        )
    if coordinator is not None and num_processes is not None and process_index is not None:
        _check(coordinator, num_processes, process_index)
        if process_index:
            _wait_for(coordinator, timeout)
    connected = threading.Timer(timeout, _give_up, (coordinator, num_processes, process_index, timeout))
    connected.daemon = True
    connected.start()
    try:
        initialize_distributed(
            coordinator,
            num_processes,
            process_index,
            initialization_timeout=int(timeout) + LONGER,
            lost_after=HEARTBEAT_SECONDS,
        )
    except ValueError as error:
        if coordinator is not None:
            raise
        raise ValueError(
            "coordinator, num_processes and process_index must be given where JAX cannot find them out (it "
            f"knows SLURM, Kubernetes, Open MPI and TPUs): {error}"
        ) from error
    finally:
        connected.cancel()


def end_soon(status: int) -> None:
    """Ends this process, which has failed, in a few seconds at the latest; does nothing where it is alone.

    When Python exits, JAX waits for the other processes, who may wait for this one, and ends all of them by
    SIGABRT: nobody could tell which has failed. Where all fail alike, they end before.

    Args:
      status: to exit with.
    """
    if jax.distributed.is_initialized():
        end = threading.Timer(FAREWELL_SECONDS, os._exit, (status,))
        end.daemon = True
        end.start()


def _check(coordinator: str, num_processes: int, process_index: int) -> None:
    check_positive(num_processes=num_processes)
    if not 0 <= process_index < num_processes:
        raise ValueError(
            f"process_index must be from 0 to num_processes - 1, {num_processes - 1}, got {process_index}."
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"coordinator must be HOST:PORT, got {coordinator!r}.")


def _wait_for(coordinator: str, timeout: float) -> None:
    end = time.monotonic() + timeout
    while not _answers(coordinator):
        if time.monotonic() > end:
            raise TimeoutError(
                f"nobody has answered at the coordinator's address {coordinator} within {timeout:g} s: is "
                "process 0 running there, and may this machine reach it?"
            )
        time.sleep(min(0.5, timeout / 10))


def _answers(coordinator: str) -> bool:
    host, _, port = coordinator.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def _give_up(
    coordinator: str | None, num_processes: int | None, process_index: int | None, timeout: float
) -> None:
    """Ends the process: what waits for the others hears of nothing else."""
    who = "this process" if process_index is None else f"process {process_index}"
    whom = "all others" if num_processes is None else f"all {num_processes} processes"
    where = "the coordinator that JAX found" if coordinator is None else f"the coordinator {coordinator}"
    print(
        f"s5rl: {who} has waited {timeout:g} s at {where} for {whom}: they did not all come.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(2)
