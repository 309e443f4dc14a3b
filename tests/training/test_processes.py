"""One run on several devices and in several processes: real ones, on this machine.

N x K is N processes with K devices each. Every process has a time limit, after which it is killed.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from s5rl import FeedForwardCore, make_agent, train
from s5rl.envs import MemoryChain

SCRIPT = Path(__file__).with_name("run_process.py")
SECONDS = 600
"""More than ten times what a process needs on a quiet machine."""
LAYOUTS = {"1x1": (1, 1), "1x2": (1, 2), "1x4": (1, 4), "2x1": (2, 1), "2x2": (2, 2)}
ALGORITHMS = ("ppo", "a2c", "muesli")


def free_port():
    with socket.socket() as meeting:
        meeting.bind(("localhost", 0))
        return meeting.getsockname()[1]


def run_processes(layout, folder, cases, **cases_of):
    """Runs cases in all processes of a layout; returns what each wrote: a list of arrays by case.

    Args:
      layout: a key of `LAYOUTS`.
      folder: for the results.
      cases: keyword arguments of the functions of `run_process.py` by name.
      cases_of: `process_1={...}` for a process that is asked for something else.
    """
    num_processes, devices_each = LAYOUTS[layout]
    coordinator, started = f"localhost:{free_port()}", []
    folder.mkdir(exist_ok=True)
    for index in range(num_processes):
        spec = {
            "num_processes": num_processes,
            "devices_each": devices_each,
            "index": index,
            "coordinator": coordinator,
            "folder": str(folder),
            "cases": cases_of.get(f"process_{index}", cases),
        }
        command = [sys.executable, str(SCRIPT), json.dumps(spec)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    try:
        for process in started:
            output, _ = process.communicate(timeout=SECONDS)
            assert process.returncode == 0, output[-3000:]
    finally:
        for process in started:
            process.kill()
    return [{name: read(folder / f"{name}-{index}.npz") for name in cases} for index in range(num_processes)]


def read(path):
    with np.load(path) as stored:
        return [stored[name] for name in stored.files]


def cases_for(layout):
    cases = {}
    for algorithm in ALGORITHMS if layout in ("1x1", "1x4") else ("ppo",):
        cases[algorithm] = {"function": "trained", "algorithm": algorithm}
        cases[f"gradients-{algorithm}"] = {"function": "gradients", "algorithm": algorithm}
    if layout in ("1x1", "2x1"):
        cases["seeds"] = {"function": "trained", "algorithm": "ppo", "num_seeds": 2, "num_updates": 3}
        cases["evaluated"] = {
            "function": "trained",
            "algorithm": "a2c",
            "num_updates": 2,
            "evaluate_every": 64,
        }
    if layout in ("1x1", "1x2", "2x1"):
        cases["host"] = {"function": "trained", "algorithm": "ppo", "num_updates": 4, "on_host": True}
        cases["microbatches"] = {
            "function": "trained",
            "algorithm": "ppo",
            "num_updates": 3,
            "microbatch_size": 2,
        }
    for options in cases.values():
        options["devices"] = int(np.prod(LAYOUTS[layout]))
    return cases


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What each process of each layout came to, each layout run once."""
    known = {}

    def results(layout):
        if layout not in known:
            folder = tmp_path_factory.mktemp(layout)
            known[layout] = run_processes(layout, folder, cases_for(layout))
        return known[layout]

    return results


def assert_close(left, right, tolerance=1e-6):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, np.nanmax(np.abs(b), initial=0.0)))


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "1x1"])
def test_every_layout_trains_as_one_device(results, layout):
    of_one = results("1x1")[0]
    for case, arrays in results(layout)[0].items():
        if not case.startswith("gradients"):
            assert_close(arrays, of_one[case])


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "1x1"])
def test_gradients_are_those_of_one_device(results, layout):
    """Before Adam and clipping, which hide a factor."""
    of_one = results("1x1")[0]
    for case in (case for case in results(layout)[0] if case.startswith("gradients")):
        assert max(np.abs(leaf).max() for leaf in of_one[case]) > 1e-2
        assert_close(results(layout)[0][case], of_one[case])


def test_two_processes_equal_two_devices_bit_for_bit(results):
    # On the host, processes act on smaller batches, which a CPU may round in another way.
    for case in ("ppo", "gradients-ppo"):
        for a, b in zip(results("2x1")[0][case], results("1x2")[0][case], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("layout", ["2x1", "2x2"])
def test_all_processes_come_to_the_same(results, layout):
    first, second = results(layout)
    for case in first:
        for a, b in zip(first[case], second[case], strict=True):
            np.testing.assert_array_equal(a, b)


def test_another_number_of_processes_continues_a_run(results, tmp_path):
    def go_on(layout, num_updates):
        folder = {"directory": str(tmp_path / "run")}
        cases = {
            "ppo": {"function": "trained", "algorithm": "ppo", "num_updates": num_updates, **folder},
            "loaded": {"function": "loaded", **folder},
        }
        return run_processes(layout, tmp_path / f"{layout}-{num_updates}", cases)

    go_on("2x1", 6)
    go_on("1x1", 12)
    first, second = go_on("2x1", 20)
    assert_close(first["ppo"], results("1x1")[0]["ppo"])
    for case in first:
        for a, b in zip(first[case], second[case], strict=True):
            np.testing.assert_array_equal(a, b)


def test_processes_that_want_different_runs_are_refused(tmp_path):
    cases = {"ppo": {"function": "trained", "algorithm": "ppo", "num_updates": 2}}
    settings = {"algorithm": "ppo of 8 minibatches", "num_updates": 3, "seed": 4, "memory_budget": "1GiB"}
    other = {"ppo": {**cases["ppo"], **settings}}
    for result in run_processes("2x1", tmp_path, cases, process_1=other):
        (message,) = result["ppo"]
        assert "all processes must train the same run, but these differ" in str(message)
        assert "num_steps: 128 in process 0, 192 in process 1" in str(message)
        assert "memory_budget: None in process 0, 1073741824 in process 1" in str(message)
        assert "seeds: [0] in process 0, [4] in process 1" in str(message)
        assert "agent.config.num_minibatches: 2 in process 0, 8 in process 1" in str(message)


def test_the_others_wait_for_the_loggers_of_the_first(tmp_path):
    options = {"algorithm": "a2c", "num_updates": 1, "ends_slowly": True}
    run_processes("2x1", tmp_path, {"a2c": {"function": "trained", **options}})


def test_a_process_that_fails_alone_ends_with_its_own_message_and_status(tmp_path):
    train = [sys.executable, "-m", "s5rl", "train", "memory_chain", "--env", "memory_length=3"]
    train += ["--distributed", "--coordinator", f"localhost:{free_port()}", "--num-processes", "2"]
    train += ["--directory", str(tmp_path)]
    started = [
        subprocess.Popen(
            [*train, "--process-index", index, "--seed", seed], stderr=subprocess.PIPE, text=True
        )
        for index, seed in (("0", "0"), ("1", "-1"))
    ]
    try:
        _, message = started[1].communicate(timeout=SECONDS)
        assert "seed must be an integer from 0 to 2**32 - 1, got -1" in message
        assert started[1].returncode == 2
        started[0].communicate(timeout=SECONDS)
        assert started[0].returncode != 0
    finally:
        for process in started:
            process.kill()


def test_devices_that_cannot_share_the_environments_are_refused(tmp_path):
    cases = {
        "uneven": {"function": "trained", "algorithm": "a2c", "devices": 3},
        "minibatches": {"function": "trained", "algorithm": "ppo of 8 minibatches", "devices": 4},
        "too many": {"function": "trained", "algorithm": "a2c", "devices": 8},
    }
    (result,) = run_processes("1x4", tmp_path, cases)
    messages = {name: str(message) for name, (message,) in result.items()}
    assert "num_envs must be a multiple of the 3 devices that share the environments" in messages["uneven"]
    assert "num_envs=8 cannot be shared by 4 devices. Each has 2: num_minibatches" in messages["minibatches"]
    assert "devices must be at most those that there are, got 8" in messages["too many"]
    assert "JAX_NUM_CPU_DEVICES=8" in messages["too many"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--process-index", "1", "--num-processes", "2", "--connection-timeout", "2"],
            "nobody has answered at the coordinator's address localhost:{port} within 2 s",
        ),
        (
            ["--process-index", "0", "--num-processes", "2", "--connection-timeout", "2"],
            "process 0 has waited 2 s at the coordinator localhost:{port} for all 2 processes",
        ),
        (["--num-processes", "2"], "coordinator, num_processes and process_index go together"),
        (
            ["--process-index", "2", "--num-processes", "2"],
            "process_index must be from 0 to num_processes - 1",
        ),
    ],
)
def test_who_comes_alone_ends_with_a_message(flags, message, tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "s5rl", "train", "memory_chain", "--directory", str(tmp_path)]
    where = ["--distributed", "--coordinator", f"localhost:{port}", *flags]
    ended = subprocess.run([*command, *where], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert ended.returncode == 2
    assert message.format(port=port) in ended.stderr
    assert not any(tmp_path.iterdir())


def test_sigterm_is_left_to_its_owner():
    """JAX has a service that would swallow it."""
    connect = (
        f"from s5rl.training import connect_processes; connect_processes('localhost:{free_port()}', 1, 0)"
    )
    program = f"import time; {connect}; print('connected', flush=True); time.sleep({SECONDS})"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "connected\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS / 4) == -signal.SIGTERM
    finally:
        process.kill()
        process.communicate()


def test_without_its_flag_a_coordinator_is_refused():
    command = [sys.executable, "-m", "s5rl", "train", "memory_chain", "--num-processes", "2"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert ended.returncode == 2
    assert "--coordinator, --num-processes and --process-index need --distributed" in ended.stderr


def test_more_devices_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"devices must be at most those that there are, got 99"):
        train(make_agent(core=FeedForwardCore()), MemoryChain(3), 1000, devices=99)
