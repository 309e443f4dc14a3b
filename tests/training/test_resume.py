"""A run that was stopped, or killed, and continued is bit for bit the run that was not."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents import OBSERVED, small_agent
from cores import CORES
from environments import ENVIRONMENTS, assert_equal, random_actions

from s5rl.cores import GRUCore
from s5rl.envs import DmEnvBatch, MemoryChain, as_dm_env, make_environment
from s5rl.envs.popgym import ENVIRONMENTS as POPGYM
from s5rl.training import TrainingInterrupted, compiled_loop, train
from s5rl.training.checkpoints import Checkpoints
from s5rl.training.host_loop import HostLoop
from s5rl.training.layout import make_layout
from s5rl.training.loop import Snapshot
from s5rl.types import EnvironmentSpec

CORE = GRUCore(4)
ENVIRONMENT = MemoryChain(3)
SLOTS = 2 * 8  # of an update of `agent`
TIMEOUT = 120  # seconds for a process of its own


def agent(algorithm="a2c", core=CORE, **settings):
    settings = {"num_envs": 2, "unroll_length": 8, "torso_sizes": (4,), **settings}
    return small_agent(algorithm, core, **OBSERVED, **settings)


def hosts():
    return [as_dm_env(ENVIRONMENT, seed) for seed in range(2)]


@pytest.fixture(autouse=True)
def three_updates_a_chunk(monkeypatch):
    monkeypatch.setattr(compiled_loop, "SLOTS_BETWEEN_VISITS", 3 * SLOTS)


def assert_equal_trees(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert a.dtype == b.dtype
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


def assert_equal_results(left, right):
    for part in ("state", "metrics", "evaluations"):
        assert_equal_trees(getattr(left, part), getattr(right, part))
    assert list(left.metrics) == list(right.metrics)


def assert_equal_files(left: Path, right: Path):
    for name in ("metrics.csv", "metrics.jsonl", "evaluations.csv", "evaluations.jsonl", "summary.json"):
        assert (left / name).read_bytes() == (right / name).read_bytes()


REPLAY = {"replay_fraction": 0.5, "replay_capacity": 8}  # full after four updates


@pytest.mark.parametrize(
    ("algorithm", "num_seeds", "settings"), [("a2c", 1, {}), ("ppo", 2, {}), ("muesli", 1, REPLAY)]
)
def test_a_continued_run_is_the_run_in_one_go(tmp_path, algorithm, num_seeds, settings):
    def run(name, num_updates):
        return train(
            agent(algorithm, **settings),
            ENVIRONMENT,
            num_updates * SLOTS,
            seed=5,
            num_seeds=num_seeds,
            directory=tmp_path / name,
            evaluate_every=2 * SLOTS,
            num_evaluation_episodes=3,
        )

    run("parts", 3)  # ends between two evaluations
    run("parts", 4)
    continued, whole = run("parts", 10), run("whole", 10)
    assert_equal_results(continued, whole)
    assert_equal_files(tmp_path / "parts", tmp_path / "whole")
    assert whole.metrics["loss"].shape[-1] == 10
    assert whole.evaluations["episode_return"].shape[-1] == 5
    again = run("parts", 7)  # nothing is left to do
    assert_equal_results(again, whole)


def test_host_environments_with_a_state_are_continued_exactly(tmp_path):
    def run(name, num_updates):
        return train(
            agent(),
            hosts(),
            num_updates * SLOTS,
            directory=tmp_path / name,
            evaluate_every=2 * SLOTS,
            num_evaluation_episodes=3,
            evaluation_environment=[as_dm_env(ENVIRONMENT, 9)],
        )

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # not what JAX says of distrax
        run("parts", 3)
        continued = run("parts", 7)
    assert_equal_results(continued, run("whole", 7))
    assert_equal_files(tmp_path / "parts", tmp_path / "whole")


def test_host_environments_without_a_state_begin_new_episodes_and_say_so(tmp_path):
    def run(num_updates):
        environment = make_environment("bsuite/memory_len/2")
        return train(agent(num_envs=1), environment, num_updates * 8, directory=tmp_path / "run")

    before = run(3)
    with pytest.warns(UserWarning, match="no get_state and set_state, .* The run goes on with new episodes"):
        after = run(5)
    for name, column in before.metrics.items():
        np.testing.assert_array_equal(after.metrics[name][:3], column)
    assert len(after.metrics["loss"]) == 5


@pytest.mark.parametrize("core", CORES.values(), ids=CORES)
def test_every_core_is_stored_and_restored(tmp_path, core):
    bound = agent("ppo", core).bind(EnvironmentSpec.from_environment(ENVIRONMENT))
    shapes = jax.eval_shape(lambda: compiled_loop._start(bound, ENVIRONMENT, 2, jnp.int32(0)))
    random = np.random.default_rng(0)

    def fill(leaf):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(random.integers(2**32, size=(*leaf.shape, 2), dtype=np.uint32))
        return jnp.asarray(random.normal(size=leaf.shape) * 100, leaf.dtype)

    run = jax.tree.map(fill, shapes)
    snapshot = Snapshot(run.agent_state, run._replace(agent_state=()))
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(1, snapshot, {})
    assert_equal_trees(checkpoints.restore(1, snapshot), snapshot)
    like = jax.eval_shape(lambda: snapshot.agent_state)
    assert_equal_trees(checkpoints.restore_agent_state(1, like), snapshot.agent_state)
    checkpoints.close()


@pytest.mark.parametrize(
    "environment",
    [*ENVIRONMENTS, *(pytest.param(each, marks=pytest.mark.slow) for each in POPGYM.values())],
    ids=str,
)
def test_every_environment_has_a_state_that_is_set_again(environment):
    """What is stored of a stream is all that decides what follows, through a file and back."""
    one, other = as_dm_env(environment, 3), as_dm_env(environment, 4)
    actions = [random_actions(environment.action_spec(), seed) for seed in range(5)]
    one.reset()
    for action in actions[:2]:
        one.step(action)
    state = tuple(leaf.copy() for leaf in one.get_state())
    expected = [one.step(action) for action in actions[2:]]
    for adapter in (one, other):
        adapter.set_state(state)
        assert_equal([adapter.step(action) for action in actions[2:]], expected)
    with pytest.raises(ValueError, match="state must be that of"):
        one.set_state(state[:-1])


KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
from test_resume import *
def die(done, columns):
    if done >= {kill_at}:
        os.kill(os.getpid(), signal.SIGKILL)
compiled_loop.SLOTS_BETWEEN_VISITS = 3 * SLOTS
train(
    **killed_run({kind!r}),
    num_steps=1000 * SLOTS,
    directory={directory!r},
    checkpoint_seconds=0,
    on_chunk=die,
)
"""


def killed_run(kind):
    environment = ENVIRONMENT if kind == "compiled" else hosts()
    return {"agent": agent("ppo"), "environment": environment, "seed": 1, "progress": False}


@pytest.mark.parametrize(("kind", "kill_at"), [("compiled", 9), ("host", 5)])
def test_a_killed_run_is_continued_bit_for_bit(tmp_path, kind, kill_at):
    script = KILLED.format(path=sys.path, kill_at=kill_at, kind=kind, directory=str(tmp_path / "parts"))
    result = subprocess.run(
        [sys.executable, "-c", script], timeout=TIMEOUT, check=False, capture_output=True, text=True
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    # Killed behind rows of which no checkpoint knows, and, to be sure, in the midst of a line.
    metrics = tmp_path / "parts" / "metrics.csv"
    assert metrics.read_text().splitlines()[-1].split(",")[1] == str(kill_at)
    with metrics.open("a") as file:
        file.write(f"1,{kill_at + 1},6")
    steps = {"num_steps": 2 * kill_at * SLOTS}
    continued = train(**killed_run(kind), **steps, directory=tmp_path / "parts")
    assert_equal_results(continued, train(**killed_run(kind), **steps, directory=tmp_path / "whole"))
    for name in ("metrics.csv", "metrics.jsonl"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_killed_at_any_instant_of_saving_the_latest_checkpoint_is_intact(tmp_path):
    script = KILLED.format(path=sys.path, kill_at=10**9, kind="compiled", directory=str(tmp_path / "parts"))
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    try:
        checkpoints, last = tmp_path / "parts" / "checkpoints", []
        for _ in range(TIMEOUT * 10):
            last = [p.name for p in checkpoints.glob("*") if p.name.isdigit()] if checkpoints.exists() else []
            if len(last) > 1:
                break
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        assert len(last) > 1, f"no two checkpoints after {TIMEOUT} s"
    finally:
        process.kill()
        process.wait(TIMEOUT)
        process.stderr.close()
    steps = {"num_steps": (max(map(int, last)) + 20) * SLOTS}
    continued = train(**killed_run("compiled"), **steps, directory=tmp_path / "parts")
    assert_equal_results(continued, train(**killed_run("compiled"), **steps))


@pytest.fixture
def heeded():
    """The handlers of a process in the foreground; a test run in the background ignores Ctrl-C."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("heeded")
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, number):
    def run(directory, on_chunk=None):
        return train(agent(), ENVIRONMENT, 12 * SLOTS, directory=tmp_path / directory, on_chunk=on_chunk)

    def stop(done, columns):
        if done == 6:
            signal.raise_signal(number)

    handler = signal.getsignal(number)
    with pytest.raises(TrainingInterrupted, match=r"stopped after 6 updates, .* s5rl resume .*parts"):
        run("parts", stop)
    assert signal.getsignal(number) is handler
    assert_equal_results(run("parts"), run("whole"))


@pytest.mark.usefixtures("heeded")
def test_a_second_ctrl_c_stops_at_once(tmp_path):
    def stop(done, columns):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        train(agent(), ENVIRONMENT, 12 * SLOTS, directory=tmp_path, on_chunk=stop)
    assert not isinstance(caught.value, TrainingInterrupted)


@pytest.mark.usefixtures("heeded")
def test_an_ignored_signal_stays_ignored(tmp_path):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    options = {"directory": tmp_path, "on_chunk": lambda *_: signal.raise_signal(signal.SIGINT)}
    assert len(train(agent(), ENVIRONMENT, 6 * SLOTS, **options).metrics["loss"]) == 6


def test_a_continued_run_compiles_nothing_anew(tmp_path):
    def run(num_updates):
        return train(agent(), ENVIRONMENT, num_updates * SLOTS, directory=tmp_path)

    run(3)
    size = compiled_loop._run_chunk._cache_size()
    run(9)
    assert compiled_loop._run_chunk._cache_size() == size


def test_a_host_loop_goes_back_to_a_snapshot():
    bound = agent().bind(EnvironmentSpec.from_environment(ENVIRONMENT))
    loop = HostLoop(bound, DmEnvBatch(hosts()), 0, make_layout(None, 2, 1))
    loop.advance(1)
    snapshot: Snapshot = loop.snapshot()
    first = loop.advance(2)
    loop.restore(snapshot)
    assert_equal_trees(loop.advance(2), first)
