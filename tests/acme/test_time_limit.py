"""Calls that never return, that fail, and that are fine; no Acme is needed for them."""

from __future__ import annotations

import os
import signal
import threading
import time

import dm_env
import pytest

from s5rl.acme.time_limit import TimeLimit


class Scripted:
    """An actor that counts, and waits or fails when it learns."""

    def __init__(self, update):
        self.update, self.seen = update, []

    def select_action(self, observation):
        return observation + 1

    def observe_first(self, timestep):
        self.seen.append(timestep)

    def observe(self, action, next_timestep):
        self.seen.append((action, next_timestep))


def test_calls_go_through_in_order():
    waits = []
    actor = Scripted(lambda wait=False: waits.append(wait))
    limited = TimeLimit(actor, seconds=60)
    first, last = dm_env.restart(1), dm_env.termination(1.0, 2)
    limited.observe_first(first)
    assert limited.select_action(1) == 2
    limited.observe(2, next_timestep=last)
    limited.update()
    limited.update(wait=True)
    assert actor.seen == [first, (2, last)]
    assert waits == [False, True]


def test_an_error_goes_through_and_the_next_call_works():
    def fail():
        raise KeyError("key")

    limited = TimeLimit(Scripted(fail), seconds=60)
    with pytest.raises(KeyError, match="key"):
        limited.update()
    assert limited.select_action(1) == 2


def test_a_runtime_error_says_what_it_means_where_it_is_of_reverb():
    def fail():
        raise RuntimeError("GOAWAY received")

    limited = TimeLimit(Scripted(fail), seconds=60)
    with pytest.raises(RuntimeError, match=r"GOAWAY received\nScripted\.update raised this.*server is gone"):
        limited.update()


def test_what_ctrl_c_interrupts_does_not_answer_the_next_call():
    released = threading.Event()
    limited = TimeLimit(Scripted(released.wait), seconds=60)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    try:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            limited.update()
    finally:
        signal.signal(signal.SIGINT, before)
    released.set()
    assert limited.select_action(5) == 6


def test_a_time_that_never_comes_is_none():
    assert TimeLimit(Scripted(None), seconds=1e10).select_action(1) == 2


def test_what_waits_too_long_is_an_error_then_and_ever_after():
    released = threading.Event()
    limited = TimeLimit(Scripted(released.wait), seconds=0.2)
    for call in (limited.update, lambda: limited.select_action(1)):
        start = time.monotonic()
        with pytest.raises(
            TimeoutError, match=r"Scripted\.update has not returned within 0\.2 s.*never fill"
        ):
            call()
        assert time.monotonic() - start < 5
    released.set()


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), "1"])
def test_the_time_must_be_above_zero(seconds):
    with pytest.raises(ValueError, match="seconds must be a number above 0"):
        TimeLimit(Scripted(None), seconds=seconds)
