"""An end to endless waiting: Acme's agents block without a word where their replay gives or takes nothing."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

import dm_env

from s5rl.types import Action, Observation
from s5rl.validation import check_number

if TYPE_CHECKING:
    from acme.core import Actor

CAUSES = (
    "An agent of Acme waits without end where its replay table can never fill (min_replay_size counts "
    "sequences in the table, but steps in LocalLayout; samples_per_insert may allow no further sample), and "
    "where its Reverb server is gone. Give it more seconds where steps or compilation really take that long."
)

RUNTIME_CAUSES = "Where Reverb says it, its server is gone or cannot be reached."
"""What a RuntimeError may mean: Reverb reports every failure of a connection as one, in the words of gRPC."""

Results = queue.Queue[tuple[Any, BaseException | None]]


@final
class TimeLimit:
    """An actor or agent of Acme whose every call must return in time; it has the methods of `acme.Actor`.

        loop = acme.EnvironmentLoop(environment, TimeLimit(agent, seconds=120))

    The calls run in a thread of their own, so that Ctrl-C is heard while they wait too.
    """

    def __init__(self, actor: Actor, seconds: float = 300.0) -> None:
        """Wraps an actor.

        Args:
          actor: an `acme.core.Actor`; Acme's local agents are actors that learn in `update`.
          seconds: how long one call may take; the first ones compile.

        Raises:
          ValueError: the number of seconds is not above 0.
        """
        check_number("seconds", seconds, 0, above=True)
        self._actor, self._seconds = actor, seconds
        self._calls: queue.Queue[tuple[Callable[[], Any], Results]] = queue.Queue()
        self._overdue: str | None = None
        # A daemon, since a call that never returns must not keep the process from ending.
        threading.Thread(target=_serve, args=(self._calls,), daemon=True).start()

    def select_action(self, observation: Observation) -> Action:
        """Returns the actor's action; raises as `update`."""
        return self._call("select_action", observation)

    def observe_first(self, timestep: dm_env.TimeStep) -> None:
        """Shows the actor the first time step of an episode; raises as `update`."""
        self._call("observe_first", timestep)

    def observe(self, action: Action, next_timestep: dm_env.TimeStep) -> None:
        """Shows the actor a time step and the action that led into it; raises as `update`."""
        self._call("observe", action, next_timestep)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Lets the actor update its parameters, or the agent learn.

        Raises:
          TimeoutError: the call, or one before it, did not return in time.
          RuntimeError: as the actor raised it, with a note that Reverb may be gone.
        """
        self._call("update", *args, **kwargs)

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if self._overdue is None:
            # A queue for each call: the result of one that Ctrl-C interrupted is not that of the next.
            results: Results = queue.Queue()
            self._calls.put((lambda: getattr(self._actor, name)(*args, **kwargs), results))
            try:
                value, error = results.get(timeout=min(self._seconds, threading.TIMEOUT_MAX))
            except queue.Empty:
                self._overdue = name
            else:
                if error is None:
                    return value
                if isinstance(error, RuntimeError):
                    error.add_note(f"{type(self._actor).__name__}.{name} raised this. {RUNTIME_CAUSES}")
                raise error
        actor = type(self._actor).__name__
        raise TimeoutError(f"{actor}.{self._overdue} has not returned within {self._seconds:g} s. {CAUSES}")


def _serve(calls: queue.Queue[tuple[Callable[[], Any], Results]]) -> None:
    """Runs one call after the other."""
    while True:
        call, results = calls.get()
        try:
            results.put((call(), None))
        except BaseException as error:  # whatever it is, the caller raises it
            results.put((None, error))
        del call, results  # they would keep the actor alive until the next call
