"""Real processes that die, hang, talk and ignore, and what the launcher makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from s5rl.launching import supervise

TIME_LIMIT = 30
"""Seconds for a test: what hangs fails."""
PRELUDE = """
import os, pathlib, signal, subprocess, sys, time
folder = pathlib.Path(sys.argv[1])

def is_new(name):
    "Returns True to the first who asks."
    try:
        return not (folder / name).touch(exist_ok=False)
    except FileExistsError:
        return False

def wait_for(name):
    while not (folder / name).exists():
        time.sleep(0.01)

def beat():
    os.write(int(os.environ["S5RL_HEARTBEAT_PIPE"]), b".")

def tell_pid(name, pid=os.getpid()):
    (folder / "new").write_text(str(pid))
    (folder / "new").rename(folder / name)
"""
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN); tell_pid('deaf'); time.sleep(1000)"


@pytest.fixture(autouse=True)
def time_limit():
    def fail(*_):
        raise TimeoutError(f"the test took more than {TIME_LIMIT} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(TIME_LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def command(program, folder):
    return [sys.executable, "-S", "-c", PRELUDE + program, str(folder)]


@pytest.fixture
def launch(tmp_path):
    """Runs small programs, one a process."""

    def run(*programs, max_restarts=0, grace=TIME_LIMIT, timeout=None):
        limits = {"max_restarts": max_restarts, "grace": grace, "timeout": timeout}
        return supervise(lambda: [command(each, tmp_path) for each in programs], **limits)

    return run


def wait_until(condition):
    deadline = time.monotonic() + TIME_LIMIT / 2
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(file: Path):
    """Returns whether the process lives of which a file holds the number."""
    status = Path(f"/proc/{file.read_text()}/stat")
    if status.parent.parent.exists():
        return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(int(file.read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def test_lines_are_passed_on_behind_the_index_of_their_process(launch, capfd):
    talk = "print('one\\ntwo', flush=True); print('bad', file=sys.stderr); print('10%\\r20%', end='')"
    assert launch(talk, r"os.write(1, b'\xff half')") == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert [line for line in lines if line[1] == "0"] == ["[0] one", "[0] two", "[0] 10%", "[0] 20%"]
    assert [line for line in lines if line[1] != "0"] == ["[1] \ufffd half"]
    assert err == "[0] bad\n"


def test_many_lines_are_whole(launch, capfd):
    talk = "[os.write(1, (str(i) * 3000 + '\\n').encode()) for i in range(100)]"
    assert launch(talk, talk) == 0
    lines = capfd.readouterr().out.splitlines()
    for index in range(2):
        expected = [f"[{index}] {str(i) * 3000}" for i in range(100)]
        assert [line for line in lines if line.startswith(f"[{index}]")] == expected


@pytest.mark.parametrize(
    ("end", "status", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "process 1 was killed by signal 9 (SIGKILL)"),
        ("sys.exit(3)", 3, "process 1 exited with status 3"),
    ],
)
def test_when_one_dies_the_others_are_killed_and_it_is_named(launch, tmp_path, capfd, end, status, words):
    started = time.monotonic()
    assert launch(DEAF, f"wait_for('deaf'); {end}", grace=0.5) == status
    assert time.monotonic() - started < 10
    err = capfd.readouterr().err
    assert f"[launch] {words}: process 0 must end within 0.5 s" in err
    assert "[launch] process 0 had not ended 0.5 s after process 1: killed" in err
    assert not is_alive(tmp_path / "deaf")


def test_the_others_may_say_why_they_end(launch, capfd):
    waits = "while not (folder / 'gone').exists(): time.sleep(0.1)"
    first = f"{waits}\ntime.sleep(1); print('lost process 1'); sys.exit(5)"
    assert launch(first, "(folder / 'gone').touch(); sys.exit(4)") == 4
    out, err = capfd.readouterr()
    assert out == "[0] lost process 1\n"
    assert "process 0 exited with status 5" in err
    assert "killed" not in err


def test_the_last_words_of_a_dead_process_come_before_its_obituary(launch, capfd):
    launch("print('my end', file=sys.stderr, flush=True); os.kill(os.getpid(), signal.SIGKILL)")
    assert capfd.readouterr().err.splitlines() == [
        "[0] my end",
        "[launch] process 0 was killed by signal 9 (SIGKILL)",
    ]


FAIL_ONCE = "sys.exit(7 if is_new('first') else 0)"


def test_all_are_started_again(launch, tmp_path, capfd):
    other = "(folder / str(os.getpid())).touch(); time.sleep(1000 if is_new('second') else 0)"
    assert launch(FAIL_ONCE, other, max_restarts=2, grace=0.5) == 0
    assert "starting all processes again: restart 1 of 2" in capfd.readouterr().err
    assert len([path for path in tmp_path.iterdir() if path.name.isdecimal()]) == 2


def test_restarts_come_to_an_end_and_each_asks_for_new_commands(tmp_path, capfd):
    asked = []

    def make_commands():
        asked.append(None)
        return [command("sys.exit(7)", tmp_path)]

    assert supervise(make_commands, max_restarts=2, grace=1, timeout=None) == 7
    assert len(asked) == 3
    assert "restart 2 of 2" in capfd.readouterr().err


def test_one_that_does_not_end_with_the_others_hangs(launch, tmp_path, capfd):
    hang = "is_new('second') and time.sleep(1000)"
    assert launch("", hang, grace=0.5) == 1
    assert "process 1 had not ended 0.5 s after process 0: killed" in capfd.readouterr().err
    (tmp_path / "second").unlink()
    assert launch("", hang, grace=0.5, max_restarts=1) == 0


def test_without_a_heartbeat_they_hang_whatever_they_print(launch, capfd):
    chat = "while True: print('still here', flush=True); time.sleep(0.05)"
    assert launch(chat, "beat(); time.sleep(1000)", timeout=1) == 1
    assert "processes 0, 1 had given no sign of life for 1 s: killed" in capfd.readouterr().err


def test_with_the_heartbeats_of_one_they_live(launch):
    assert launch("[(beat(), time.sleep(0.05)) for _ in range(40)]", "time.sleep(2)", timeout=1) == 0


def test_a_slow_end_is_not_cut_short_by_the_timeout(launch):
    assert launch("beat()", "time.sleep(1)", timeout=0.5, grace=10) == 0


SAVE_ON_SIGTERM = """
def save(*_):
    print("saved", flush=True)
    sys.exit(130)
signal.signal(signal.SIGTERM, save)
tell_pid(NAME)
time.sleep(1000)
"""


def signal_myself(number, *files):
    """Sends a signal to this process, the launcher, once the files exist."""

    def send():
        wait_until(lambda: all(file.exists() for file in files))
        os.kill(os.getpid(), number)

    threading.Thread(target=send).start()


@pytest.fixture(autouse=True)
def ctrl_c_is_heard():
    """In the background it is ignored, and what is ignored stays so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_once_and_nothing_starts_again(launch, tmp_path, capfd, number):
    signal_myself(number, tmp_path / "a", tmp_path / "b")
    programs = [SAVE_ON_SIGTERM.replace("NAME", repr(name)) for name in "ab"]
    assert launch(*programs, max_restarts=3) == 130
    out, err = capfd.readouterr()
    assert sorted(out.splitlines()) == ["[0] saved", "[1] saved"]
    assert "asking all processes to save and stop" in err


def test_nothing_starts_again_where_a_signal_came_too_early_to_be_heard(launch, tmp_path, capfd):
    signal_myself(signal.SIGTERM, tmp_path / "started")
    assert launch("tell_pid('started'); time.sleep(1000)", max_restarts=3) == 143
    err = capfd.readouterr().err
    assert "process 0 was killed by signal 15 (SIGTERM)" in err
    assert "starting all" not in err


def test_a_process_that_was_stopped_from_outside_is_no_failure(launch, capfd):
    assert launch("sys.exit(130)", "time.sleep(0.2); sys.exit(130)", max_restarts=3) == 130
    assert capfd.readouterr().err == ""


def test_the_second_signal_kills(launch, tmp_path, capfd):
    hear = "signal.signal(signal.SIGTERM, lambda *_: tell_pid('heard')); tell_pid('b'); time.sleep(1000)"
    signal_myself(signal.SIGINT, tmp_path / "deaf", tmp_path / "b")
    signal_myself(signal.SIGTERM, tmp_path / "heard")
    assert launch(DEAF, hear, max_restarts=3) == 130
    assert "asked twice to stop, processes 0, 1 had not ended: killed" in capfd.readouterr().err
    assert not is_alive(tmp_path / "deaf")


def test_what_a_process_has_started_does_not_outlive_it(launch, tmp_path):
    start = "tell_pid('below', subprocess.Popen(['sleep', '1000']).pid)"
    assert launch(start) == 0
    wait_until(lambda: not is_alive(tmp_path / "below"))


def test_a_command_that_cannot_start_ends_the_others(tmp_path):
    commands = [command(DEAF, tmp_path), [str(tmp_path / "missing")]]

    def make_commands():
        yield commands[0]
        wait_until((tmp_path / "deaf").exists)
        yield commands[1]

    with pytest.raises(FileNotFoundError, match="missing"):
        supervise(make_commands, max_restarts=3, grace=1, timeout=None)
    assert not is_alive(tmp_path / "deaf")


LAUNCHER = """
import sys
from s5rl.launching import supervise
supervise(lambda: [sys.argv[1:]] * 2, max_restarts=0, grace=1000, timeout=None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere processes end at their next heartbeat")
def test_no_process_outlives_a_launcher_that_is_killed(tmp_path):
    program = "signal.signal(signal.SIGTERM, signal.SIG_IGN); tell_pid(str(os.getpid())); time.sleep(1000)"
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, *command(program, tmp_path)])
    try:
        wait_until(lambda: len(list(tmp_path.glob("[0-9]*"))) == 2)
    finally:
        launcher.kill()
        launcher.wait()
    wait_until(lambda: not any(map(is_alive, tmp_path.glob("[0-9]*"))))


def test_a_heartbeat_that_nobody_hears_ends_the_process(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    program = "from s5rl.launching import beat; beat(); print('goes on')"
    environment = {**os.environ, "S5RL_HEARTBEAT_PIPE": str(writing)}
    outcome = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        pass_fds=(writing,),
        capture_output=True,
        check=False,
        timeout=TIME_LIMIT,
    )
    os.close(writing)
    assert (outcome.returncode, outcome.stdout) == (1, b"")
