"""What the processes of one run tell each other; where there is one, nothing is sent.

Every function here is called by all of them together: one that does not come keeps the others waiting until
JAX gives up on it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

Value = TypeVar("Value")


class Wishes(NamedTuple):
    """What is to happen between two updates."""

    save: bool
    stop: bool


def is_first() -> bool:
    """Returns whether this is the process that writes files and logs."""
    return jax.process_index() == 0


def gather(value: Value) -> list[Value]:
    """Returns the values of all processes, in their order.

    Args:
      value: what `pickle` can take.
    """
    if jax.process_count() == 1:
        return [value]
    data = np.frombuffer(pickle.dumps(value), np.uint8)
    sizes = multihost_utils.process_allgather(np.asarray(data.size, np.int32))
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: data.size] = data
    rows = multihost_utils.process_allgather(padded)
    return [pickle.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def on_first(function: Callable[[], Value]) -> Value | None:
    """Runs a function in the first process only, and returns its result there, None elsewhere.

    All processes raise what it raises.
    """
    return _on_first(function, is_sent=False)


def from_first(function: Callable[[], Value]) -> Value:
    """Runs a function in the first process only; all return its result, or raise what it raises.

    Args:
      function: whose result `pickle` can take.
    """
    return _on_first(function, is_sent=True)


def agree(wishes: Wishes) -> Wishes:
    """Returns the same for all: to stop if one of them wishes it, and to save if the first does."""
    if jax.process_count() == 1:
        return wishes
    of_all = multihost_utils.process_allgather(np.asarray(wishes))
    return Wishes(save=bool(of_all[0, 0]), stop=bool(of_all[:, 1].any()))


def _on_first(function: Callable[[], Any], is_sent: bool) -> Any:
    if jax.process_count() == 1:
        return function()
    result, error = None, None
    if is_first():
        try:
            result = function()
        except Exception as raised:
            error = raised
    sent, error_of_first = _broadcast((result if is_sent else None, error))
    if error is not None:
        raise error
    if error_of_first is not None:
        raise error_of_first
    return sent if is_sent else result


def _broadcast(value: Any) -> Any:
    """Returns the value of the first process."""
    data = np.frombuffer(pickle.dumps(value), np.uint8) if is_first() else np.zeros(0, np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.asarray(data.size, np.int32)))
    sent = np.zeros(size, np.uint8) if not is_first() else data
    return pickle.loads(multihost_utils.broadcast_one_to_all(sent).tobytes())
