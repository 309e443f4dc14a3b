"""What stands in the folder of a run, and what happens when something is wrong with it."""

from __future__ import annotations

import csv
import dataclasses
import json
import resource
import shutil
from typing import final

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents import small_agent
from dm_env import specs

from s5rl import make_agent
from s5rl.agents import PPOConfig
from s5rl.cores import GRUCore, HaikuCore, LSTMCore
from s5rl.description import DescriptionError
from s5rl.envs import DmEnvBatch, JaxEnvironment, MemoryChain, ProjectedDmControlBatch, as_dm_env
from s5rl.key_data import keys_to_numbers, numbers_to_keys
from s5rl.training import (
    CheckpointError,
    NonFiniteError,
    RunDirectoryError,
    TableError,
    TensorBoardLogger,
    WandbLogger,
    compiled_loop,
    load_policy,
    max_mean_episodic_return,
    train,
)
from s5rl.training.run_directory import RunDirectory, describe_run, read_run
from s5rl.training.tables import METRICS, FileLogger, read_table, to_rows
from s5rl.types import restart, termination

CORE = GRUCore(4)
ENVIRONMENT = MemoryChain(3)
SLOTS = 2 * 8


def agent(core=CORE, **settings):
    return small_agent("a2c", core, **{"num_envs": 2, "unroll_length": 8, "torso_sizes": (4,), **settings})


def run(directory, num_updates=3, *, core=CORE, environment=ENVIRONMENT, settings=(), **options):
    options = {"progress": False, **options}
    return train(
        agent(core, **dict(settings)), environment, num_updates * SLOTS, directory=directory, **options
    )


@pytest.fixture(autouse=True)
def three_updates_a_chunk(monkeypatch):
    monkeypatch.setattr(compiled_loop, "SLOTS_BETWEEN_VISITS", 3 * SLOTS)


def test_tables_and_summary_hold_what_the_result_holds(tmp_path):
    result = run(tmp_path / "new" / "run", num_seeds=2, seed=7, evaluate_every=SLOTS)
    folder = tmp_path / "new" / "run"
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == len(lines) == 2 * 3
    assert [row["seed"] for row in lines] == [7, 8] * 3
    assert [row["update"] for row in lines] == [1, 1, 2, 2, 3, 3]
    for row, line in zip(rows, lines, strict=True):
        seed, update = line["seed"] - 7, line["update"] - 1
        for name, column in result.metrics.items():
            value = column[seed, update]
            assert np.array_equal(value.dtype.type(row[name]), value, equal_nan=True)
            assert (line[name] is None) == bool(np.isnan(value))
    summary = json.loads((folder / "summary.json").read_text())
    np.testing.assert_allclose(summary["mmer"]["seeds"], result.mmer)
    assert summary["updates"] == 3
    assert len((folder / "evaluations.csv").read_text().splitlines()) == 1 + 2 * 3
    assert result.seed(1).evaluations["episode_return"].shape == (3,)


def test_the_largest_mean_return_is_taken_over_updates_with_episodes():
    nan = np.nan
    returns = np.asarray([[nan, 0.5, 0.25, nan], [-3.0, nan, -2.0, -2.5], [nan] * 4])
    np.testing.assert_array_equal(max_mean_episodic_return({"episode_return": returns}), [0.5, -2.0, nan])
    assert max_mean_episodic_return({"episode_return": returns[1]}) == -2.0


def test_float32_survives_a_file(tmp_path):
    random = np.random.default_rng(0)
    column = random.integers(2**32, size=20_000, dtype=np.uint32).view(np.float32)
    column = column[np.isfinite(column)]
    logger = FileLogger(tmp_path)
    logger.write(METRICS, to_rows({"step": np.arange(len(column)), "x": column}, range(len(column)), [0]))
    logger.close()
    read = read_table(tmp_path, METRICS, {"x": "float32", "step": "int64"})
    np.testing.assert_array_equal(read["x"][0], column)
    assert read["x"].dtype == np.float32


def test_rows_that_are_gone_are_noticed(tmp_path):
    run(tmp_path)
    for name, rest, words in (
        ("metrics.csv", 2, "expected 3 rows for each seed until the checkpoint, got 1"),
        ("metrics.csv", 0, "is gone: expected 3 rows"),
        ("metrics.jsonl", None, "metrics.jsonl is gone, but metrics.csv is there"),
    ):
        file = tmp_path / name
        text = file.read_text()
        if rest is None:
            file.unlink()
        else:
            file.write_text("".join(text.splitlines(keepends=True)[:rest]))
        with pytest.raises(TableError, match=words):
            run(tmp_path, 6)
        file.write_text(text)
    assert run(tmp_path, 6).metrics["step"].shape == (6,)


@pytest.mark.parametrize("name", ["metrics.csv", "metrics.jsonl"])
@pytest.mark.parametrize("line", ["\n", "garbage\n"])
def test_a_line_that_is_no_row_is_named(tmp_path, name, line):
    run(tmp_path)
    with (tmp_path / name).open("a") as file:
        file.write(line)
    with pytest.raises(TableError, match=rf"{name} was changed: .* is no row of a table"):
        run(tmp_path, 6)


def test_a_run_without_its_checkpoints_does_not_begin_anew(tmp_path):
    run(tmp_path)
    table = (tmp_path / "metrics.csv").read_text()
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(RunDirectoryError, match="holds the tables of a run, but none of its checkpoints"):
        run(tmp_path)
    assert (tmp_path / "metrics.csv").read_text() == table


def test_a_call_that_cannot_work_does_not_claim_the_folder(tmp_path):
    unfit = make_agent(core=CORE, algorithm="ppo", config=PPOConfig(num_envs=4, num_minibatches=2))
    with pytest.raises(ValueError, match=r"num_minibatches must divide .* num_envs=3"):
        train(unfit, ENVIRONMENT, 10, num_envs=3, directory=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_folder_without_a_checkpoint_may_be_removed(tmp_path):
    with pytest.raises(NonFiniteError):
        run(tmp_path, environment=Broken("reward"))
    with pytest.raises(RunDirectoryError, match="or remove the folder, which has no checkpoint yet"):
        run(tmp_path)


def test_environments_on_the_host_are_told_apart_by_their_classes():
    class Other(type(as_dm_env(ENVIRONMENT, 0))):
        pass

    def described(*classes):
        return describe_run(
            agent(), DmEnvBatch([each(ENVIRONMENT, n) for n, each in enumerate(classes)]), [0], 2
        )

    own = type(as_dm_env(ENVIRONMENT, 0))
    assert described(own, own) == described(own, own)
    assert described(own, own)["environment"] != described(own, Other)["environment"]


def test_other_tasks_or_options_of_a_batch_are_refused_and_named(tmp_path):
    pytest.importorskip("dm_control")

    def open_folder(tasks, **options):
        batch = ProjectedDmControlBatch(tasks, num_envs=2, **options)
        RunDirectory(tmp_path, describe_run(agent(), batch, [0], 2), 3 * SLOTS).close()

    open_folder(["reacher/easy"])
    open_folder(["reacher/easy"], seed=1, num_threads=1)  # the seed comes back with the state
    for expected, tasks, options in [
        (
            r"environment\.tasks: \['reacher/easy'\] in the folder, \['reacher/hard'\] now$",
            ["reacher/hard"],
            {},
        ),
        (r"environment\.scale: 1\.0 in the folder, 2\.0 now$", ["reacher/easy"], {"scale": 2.0}),
    ]:
        with pytest.raises(RunDirectoryError, match=f"holds another run(.|\n)*differ:\n  {expected}"):
            open_folder(tasks, **options)


def test_a_table_that_was_changed_is_refused(tmp_path):
    run(tmp_path)
    table = tmp_path / "metrics.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text(lines[0].replace("loss", "lost") + "".join(lines[1:]))
    with pytest.raises(TableError, match="was changed: expected the columns step"):
        run(tmp_path, 6)
    table.write_text("".join([lines[0], *lines[1:]]).replace(lines[1].split(",")[3], "x,"))
    with pytest.raises(TableError, match="was changed"):
        run(tmp_path, 6)


def test_another_config_is_refused_and_the_fields_are_named(tmp_path):
    run(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for expected, options in [
        (
            r"agent\.config\.learning_rate: 0\.003 in the folder, 0\.1 now$",
            {"settings": {"learning_rate": 0.1}},
        ),
        (r"agent\.core: s5rl.*GRUCore in the folder, s5rl.*LSTMCore now$", {"core": LSTMCore(4)}),
        (r"agent\.core\.hidden_size: 4 in the folder, 5 now$", {"core": GRUCore(5)}),
        (r"environment\.memory_length: 3 in the folder, 4 now$", {"environment": MemoryChain(4)}),
        (r"seeds: \[0\] in the folder, \[1\] now$", {"seed": 1}),
        (r"num_envs: 2 in the folder, 4 now$", {"num_envs": 4}),
    ]:
        with pytest.raises(RunDirectoryError, match=f"holds another run(.|\n)*{expected}"):
            run(tmp_path, **options)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_cannot_be_imported_again_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(DescriptionError, match=r"agent\.core\.make_core cannot be stored"):
        run(tmp_path / "run", core=HaikuCore(lambda: hk.LSTM(4)))
    assert not (tmp_path / "run").exists()
    run(None, core=HaikuCore(lambda: hk.LSTM(4)))  # without a folder it is no matter


def test_a_folder_that_cannot_be_one_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "run", tmp_path / ("x" * 300), "/proc/run"):
        with pytest.raises(RunDirectoryError, match="directory must be a folder that can be written to, got"):
            run(directory)
    (tmp_path / "metrics.csv").write_text("mine")
    with pytest.raises(RunDirectoryError, match=r"holds metrics\.csv but no run\.json"):
        run(tmp_path)
    assert (tmp_path / "metrics.csv").read_text() == "mine"
    with pytest.raises(RunDirectoryError, match="holds no run"):
        load_policy(tmp_path)


def test_one_process_at_a_time_trains_in_a_folder(tmp_path):
    bound = run(tmp_path).agent
    description = describe_run(bound, ENVIRONMENT, [0], 2)
    assert json.loads(json.dumps(description)) == read_run(tmp_path)
    folder = RunDirectory(tmp_path, description, 3 * SLOTS)
    with pytest.raises(RunDirectoryError, match="another process trains in directory"):
        run(tmp_path)
    folder.close()
    run(tmp_path)


def damage(folder):
    largest = max((p for p in folder.rglob("d/*") if p.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    largest.write_bytes(content)


def test_a_damaged_checkpoint_is_named_with_the_one_before(tmp_path):
    run(tmp_path, 3)
    expected = run(tmp_path, 6)
    damage(tmp_path / "checkpoints" / "6")
    for call in (lambda: run(tmp_path, 9), lambda: load_policy(tmp_path)):
        with pytest.raises(
            CheckpointError, match=r"after 6 updates .* is damaged(.|\n)*is that after 3\. .*delete"
        ):
            call()
    load_policy(tmp_path, num_updates=3)
    for path in sorted((tmp_path / "checkpoints" / "6").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (tmp_path / "checkpoints" / "6").rmdir()
    again = run(tmp_path, 6)
    np.testing.assert_array_equal(again.metrics["loss"], expected.metrics["loss"])
    with pytest.raises(CheckpointError, match=r"num_updates must be .* one of \[3, 6\], got 5"):
        load_policy(tmp_path, num_updates=5)


@pytest.fixture
def fill_disk():
    """A function after which no file may grow beyond a size, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("room", "error"), [(50, RunDirectoryError), (1800, CheckpointError)])
def test_a_full_disk_loses_nothing(tmp_path, fill_disk, room, error):
    run(tmp_path, 3)

    def fill(done, columns):
        is_table = error is RunDirectoryError
        fill_disk(room + ((tmp_path / "metrics.csv").stat().st_size if is_table else 0))

    with pytest.raises(error, match=r"could not be written(.|\n)* after 3"):
        run(tmp_path, 9 if error is RunDirectoryError else 6, on_chunk=fill)
    fill_disk(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    np.testing.assert_array_equal(
        run(tmp_path, 9).metrics["loss"], run(tmp_path / "whole", 9).metrics["loss"]
    )


@final
@dataclasses.dataclass(frozen=True)
class Broken(JaxEnvironment):
    """Returns NaN after action 1, and else nothing of note."""

    where: str

    def reset(self, key):
        return jnp.int32(0), restart(jnp.zeros(1))

    def step(self, state, action):
        bad = jnp.where(action == 1, jnp.nan, 0.0)
        reward = bad if self.where == "reward" else 0.0
        observation = jnp.zeros(1) + (bad if self.where == "observation" else 0.0)
        return state, termination(reward, observation)

    def observation_spec(self):
        return specs.Array((1,), np.float32)

    def action_spec(self):
        return specs.DiscreteArray(2)


@pytest.mark.parametrize("where", ["observation", "reward"])
def test_nan_on_the_host_stops_the_run_before_it_reaches_an_action(tmp_path, where):
    environment = as_dm_env(Broken(where), 0)
    with pytest.raises(NonFiniteError, match=r"reward that is NaN, in update 1\. There is no checkpoint"):
        run(tmp_path, environment=environment)


@pytest.mark.parametrize("where", ["observation", "reward"])
def test_nan_from_the_environment_stops_the_run_and_is_named(where):
    with pytest.raises(
        NonFiniteError, match="The environment returned an observation or a reward that is NaN"
    ):
        run(None, environment=Broken(where))


def test_a_loss_that_is_not_finite_stops_the_run_at_its_step(tmp_path):
    with pytest.raises(
        NonFiniteError, match=r"is (nan|inf|-inf) at step \d+, in update \d+ of seed 4\. There is no"
    ):
        run(tmp_path / "a", 30, settings={"learning_rate": 1e38}, seed=4, checkpoint_seconds=1e6)
    rows = (tmp_path / "a" / "metrics.csv").read_text().splitlines()
    assert any("nan" in row.split(",")[7:] or "inf" in row for row in rows[1:])
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        load_policy(tmp_path / "a")
    with pytest.raises(NonFiniteError, match=r"Nothing is saved: the run has no directory"):
        run(None, 30, settings={"learning_rate": 1e38})


def test_tensorboard_gets_every_row(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    result = run(None, num_seeds=2, evaluate_every=SLOTS, loggers=[TensorBoardLogger(tmp_path)])
    (file,) = tmp_path.iterdir()
    data, scalars = file.read_bytes(), {}
    while data:  # records of a length, its checksum, an event, its checksum
        length = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + length])
        scalars |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
        data = data[16 + length :]
    for seed in range(2):
        for step, loss in zip(result.metrics["step"][seed], result.metrics["loss"][seed], strict=True):
            np.testing.assert_allclose(scalars[f"metrics/loss/seed_{seed}", int(step)], loss, rtol=1e-6)
        last = int(result.evaluations["step"][seed, -1])
        assert (f"evaluations/episode_return/seed_{seed}", last) in scalars


def test_wandb_gets_every_metric(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="it is not among the packages of the fast tests")
    for name, value in [("MODE", "offline"), ("SILENT", "true"), ("DIR", str(tmp_path))]:
        monkeypatch.setenv(f"WANDB_{name}", value)
    result = run(None, num_seeds=2, evaluate_every=SLOTS, loggers=[WandbLogger(project="memory", id="mine")])
    (file,) = tmp_path.rglob("*.wandb")
    written = file.read_bytes()
    for table, columns in (("metrics", result.metrics), ("evaluations", result.evaluations)):
        for name in columns.keys() - {"step", "explained_variance"}:
            assert all(f"{table}/{name}/seed_{seed}".encode() in written for seed in range(2)), name


def test_the_progress_bar_shows_steps_speed_and_the_spread_over_seeds(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    run(None, 9, num_seeds=2, evaluate_every=SLOTS, progress=True)
    shown = capsys.readouterr().err
    assert "9/9 updates" in shown
    for text in ("steps/s", "return ", " ± ", "evaluation "):
        assert text in shown


def test_bad_arguments_are_named(tmp_path):
    for name, value in [("evaluate_every", 0), ("num_evaluation_episodes", 0), ("checkpoint_seconds", -1.0)]:
        with pytest.raises(ValueError, match=name):
            run(tmp_path, **{name: value})
    assert list(tmp_path.iterdir()) == []


def test_keys_are_stored_as_numbers():
    tree = {"key": jax.random.split(jax.random.key(3)), "x": jnp.ones(2)}
    numbers = keys_to_numbers(tree)
    assert numbers["key"].dtype == jnp.uint32
    back = numbers_to_keys(numbers, tree)
    assert back["key"].dtype == tree["key"].dtype
    np.testing.assert_array_equal(jax.random.key_data(back["key"]), numbers["key"])
