"""The main example, run in process with tiny sizes."""

from __future__ import annotations

import csv
import importlib
import io
from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

from s5rl import (
    A2CConfig,
    EnvironmentSpec,
    FeedForwardCore,
    LSTMCore,
    MuesliConfig,
    PPOConfig,
    ResettableS5Core,
    make_agent,
    train,
)
from s5rl.envs import ProjectedDmControl
from s5rl.training import Policy, RunDirectoryError

ROOT = Path(__file__).parent.parent
OWN_CORE = f"{ROOT / 'examples' / 'my_core.py'}:MyCore"
TINY_FLAGS = "--width 8 --lengths 1 2 --episodes 60 --num-seeds 2 --cores lstm feed_forward --unrolls 8"
TINY = TINY_FLAGS.split()
COLUMNS = [
    *("environment", "core", "length", "unroll", "episodes", "width", "num_layers", "learning_rate"),
    *("num_seeds", "seed", "correct", "bsuite_regret", "solved", "steps", "seconds", "steps_per_second"),
]


@pytest.fixture(scope="module", autouse=True)
def path_of_examples():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "examples")
        yield


@pytest.fixture(scope="module")
def example():
    return importlib.import_module("bsuite_memory_length")


@pytest.fixture(scope="module")
def results():
    return importlib.import_module("memory_length_results")


@pytest.fixture(scope="module")
def finished(example, tmp_path_factory):
    """The folder of one run, which no test changes."""
    folder = tmp_path_factory.mktemp("finished")
    example.main([*TINY, "--directory", str(folder)])
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of the results of one run."""
    (tmp_path / "results.csv").write_text((finished / "results.csv").read_text())
    return tmp_path


@pytest.fixture
def trained(example, monkeypatch):
    """The jobs that are trained during a test; their rows are made up, in no time."""
    jobs = []

    def run(settings, job, progress, stop):
        jobs.append((job.name, job.length, job.unroll))
        numbers = (0.5, 1.0, 0, settings.episodes * job.num_slots, 1.0, 100.0)
        return [example.Row(*identity, *numbers) for identity in example.job_identities(settings, job)]

    monkeypatch.setattr(example, "run", run)
    return jobs


def lines_of(folder):
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def shown(table, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


def test_a_run_writes_a_row_for_each_seed(finished):
    lines = lines_of(finished)
    assert list(lines[0]) == COLUMNS
    found = sorted((line["core"], int(line["length"]), int(line["seed"])) for line in lines)
    assert found == [
        (core, length, seed) for core in ("feed_forward", "lstm") for length in (1, 2) for seed in (0, 1)
    ]
    for line in lines:
        settings = [line[name] for name in COLUMNS[3:9]]
        assert (line["environment"], *settings) == ("memory_chain", "8", "60", "8", "1", "0.0005", "2")
        assert 0 <= float(line["correct"]) <= 1
        assert 0 <= float(line["bsuite_regret"]) <= 2
        assert line["solved"] == str(int(float(line["bsuite_regret"]) < 0.75))
        # Whole trajectories that hold 60 episodes, of length + 2 slots each.
        wanted = 60 * (int(line["length"]) + 2)
        assert 0 < int(line["steps"]) < wanted + 8
        assert float(line["seconds"]) > 0
        assert float(line["steps_per_second"]) > 0


def test_a_run_draws_a_picture(finished):
    assert (finished / "scores.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert {path.name for path in finished.iterdir()} == {"results.csv", "scores.png"}


def test_the_measures_are_those_of_the_metrics(finished):
    # A core without memory guesses: 240 coin flips are far from all right and from all wrong.
    without = [float(line["bsuite_regret"]) for line in lines_of(finished) if line["core"] == "feed_forward"]
    assert 0.5 < np.mean(without) < 1.5


def test_resume_trains_nothing_anew(example, folder, trained):
    before = (folder / "results.csv").read_text()
    example.main([*TINY, "--directory", str(folder), "--resume"])
    assert trained == []
    assert (folder / "results.csv").read_text() == before


def test_resume_trains_what_is_missing_and_keeps_the_rest(example, folder, trained):
    before = lines_of(folder)
    example.main(
        [*TINY, "--directory", str(folder), "--resume", "--lengths", "1", "2", "3", "--cores", "lstm"]
    )
    assert trained == [("lstm", 3, 8)]
    after = lines_of(folder)
    assert after[: len(before)] == before
    assert [(line["core"], line["length"], line["seed"]) for line in after[len(before) :]] == [
        ("lstm", "3", "0"),
        ("lstm", "3", "1"),
    ]


@pytest.mark.parametrize(
    "other",
    [
        "--episodes 61",
        "--width 9",
        "--num-layers 2",
        "--learning-rate 0.1",
        "--num-seeds 1",
        "--seed 1",
        "--unrolls 7",
    ],
)
def test_resume_trains_other_settings(example, folder, trained, other):
    example.main([*TINY, "--directory", str(folder), "--resume", *other.split()])
    assert len(trained) == 4


def test_without_resume_the_old_results_go(example, folder, trained):
    example.main([*TINY, "--directory", str(folder), "--lengths", "1", "--cores", "lstm"])
    assert trained == [("lstm", 1, 8)]
    assert len(lines_of(folder)) == 2


def test_resume_trains_ones_own_core_anew(example, folder, trained):
    own = [*TINY, "--directory", str(folder), "--resume", "--lengths", "1", "--core", OWN_CORE]
    for _ in range(2):
        example.main(own)
        assert trained == [(OWN_CORE, 1, 8)]
        assert len(lines_of(folder)) == 8 + 2
        trained.clear()


def test_a_job_is_trained_once(example):
    settings = example.Settings(lengths=(1, 30, 1), cores=("lstm", "lstm"), unrolls=("32", "cover", "32"))
    jobs = example.plan(settings)
    assert [(job.name, job.length, job.unroll) for job in jobs] == [("lstm", 1, 32), ("lstm", 30, 32)]


def test_other_columns_are_refused(example, tmp_path):
    (tmp_path / "results.csv").write_text("core,score\nlstm,1\n")
    with pytest.raises(SystemExit, match="other columns"):
        example.main([*TINY, "--directory", str(tmp_path), "--resume"])


def test_a_core_of_ones_own_is_trained(example, tmp_path, capsys):
    own = ["--lengths", "1", "--num-seeds", "1", "--episodes", "20", "--cores", "--core", OWN_CORE]
    example.main([*TINY, *own, "--directory", str(tmp_path)])
    (line,) = lines_of(tmp_path)
    assert line["core"] == OWN_CORE
    assert float(line["seconds"]) > 0
    assert "tenth of a run" in capsys.readouterr().out


def test_bsuite_logs_and_scores_a_run(example, tmp_path, capsys):
    pytest.importorskip("bsuite")
    small = ["--num-seeds", "1", "--episodes", "20", "--cores", "feed_forward", "--environment", "bsuite"]
    example.main([*TINY, *small, "--directory", str(tmp_path)])
    lines = sorted(lines_of(tmp_path), key=lambda line: line["length"])  # written as they were finished
    assert [(line["environment"], line["length"]) for line in lines] == [("bsuite", "1"), ("bsuite", "2")]
    run = "episodes_20-width_8-layers_1-lr_0.0005"
    logs = tmp_path / "bsuite" / run / "feed_forward" / "unroll_8" / "seed_0"
    assert sorted(path.name for path in logs.iterdir()) == [
        "bsuite_id_-_memory_len-0.csv",
        "bsuite_id_-_memory_len-1.csv",
    ]
    for line, path in zip(lines, sorted(logs.iterdir()), strict=True):
        with path.open(newline="") as file:
            last = list(csv.DictReader(file))[-1]
        assert int(last["episode"]) == 20
        # bsuite's own count agrees with ours, which may hold one or two more: the last update is whole.
        missed = 1 - float(last["total_perfect"]) / 20
        assert float(line["bsuite_regret"]) == pytest.approx(2 * missed, abs=0.2)
    output = " ".join(capsys.readouterr().out.split())
    assert "by bsuite's own analysis" in output
    assert "Partial runs: 20 of bsuite's 10000 episodes" in output


def log_of_bsuite(folder, length_index, episodes, perfect):
    folder.mkdir(parents=True, exist_ok=True)
    columns = "steps,episode,total_return,episode_len,episode_return,total_perfect"
    values = f"{2 * episodes},{episodes},{2 * perfect - episodes},2,1.0,{perfect}"
    (folder / f"bsuite_id_-_memory_len-{length_index}.csv").write_text(f"{columns}\n{values}\n")


def test_the_score_is_of_the_run_that_was_asked_for(example, tmp_path):
    pytest.importorskip("bsuite")
    scores = {}
    # Regrets, 2 (1 - perfect / episodes), on both sides of bsuite's 0.75.
    for episodes, perfects in ((1000, (700, 600)), (10_000, (7000, 6300))):
        settings = example.Settings(
            cores=("lstm",),
            lengths=(1, 2),
            unrolls=("8",),
            num_seeds=1,
            episodes=episodes,
            directory=tmp_path,
        )
        for index, perfect in enumerate(perfects):
            log_of_bsuite(example.bsuite_folder(settings, "lstm", 8, 0), index, episodes, perfect)
        scores[episodes] = settings
    partial, full = (shown(example.bsuite_table(settings, ["lstm"])) for settings in scores.values())
    assert "0.50" in partial
    assert "not comparable" in " ".join(partial.split())
    assert "1.00" in full
    assert "comparable" not in full


def test_folders_of_bsuite_tell_runs_apart(example):
    settings = [
        example.Settings(environment="bsuite", **other)
        for other in ({}, {"episodes": 3}, {"width": 3}, {"num_layers": 3}, {"learning_rate": 3e-4})
    ]
    folders = {example.bsuite_folder(each, "lstm", 32, 0) for each in settings}
    folders |= {example.bsuite_folder(settings[0], *other) for other in (("gru", 32, 0), ("lstm", 8, 0))}
    folders |= {example.bsuite_folder(settings[0], "a/b.py:C", 32, 1)}
    assert len(folders) == len(settings) + 3
    assert {len(folder.parts) for folder in folders} == {len(settings[0].directory.parts) + 5}


def test_long_names_fold_at_80_columns(results):
    name = "some/folders/deep/my_core_with_a_long_name.py:MyCoreWithALongName"
    row = results.Row("bsuite", name, 100, 128, 9, 8, 1, 1.0, 1, 0, 0.5, 1.0, 0, 9, 12345.0, 1234567.0)
    output = shown(results.results_table([row]))
    assert max(map(len, output.splitlines())) <= 80
    headings = ("core", "length", "unroll", "correct", "worst", "best", "solved", "steps/s", "seconds")
    assert all(word in output for word in (*headings, "1,234,567", "12345"))
    assert "…" not in output
    assert name in "".join(line.split()[0] for line in output.splitlines() if line.strip())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--cores s6", "--cores must be among s5, lstm, gru, attention, feed_forward, got s6"),
        ("--cores", "--cores or --core, --lengths and --unrolls must name at least one"),
        ("--unrolls some", 'numbers from 1 or "cover", got some'),
        ("--unrolls 0", 'numbers from 1 or "cover", got 0'),
        ("--unrolls -1", "unrolls"),
        ("--lengths 0", "--lengths must be at least 1, got 0"),
        ("--environment bsuite --lengths 11", "bsuite's sweep"),
        ("--environment atari", "atari"),
        ("--episodes 0", "--episodes must be at least 1, got 0"),
        ("--num-workers 0", "--num-workers must be at least 1, got 0"),
        ("--episodes few", "few"),
        ("--cares s5", "--cares"),
    ],
)
def test_bad_flags_are_refused(example, trained, tmp_path, capsys, flags, message):
    with pytest.raises(SystemExit) as error:
        example.main(["--directory", str(tmp_path), *flags.split()])
    assert error.value.code == 2
    output = capsys.readouterr()
    assert message in " ".join((output.out + output.err).replace("│", " ").split())
    assert trained == []


def test_a_core_that_is_not_there_is_refused(example, trained, tmp_path):
    with pytest.raises(SystemExit, match=r"error: there is no file 'no_file\.py'"):
        example.main(["--directory", str(tmp_path), "--core", "no_file.py:Core"])
    assert trained == []


def test_full_is_figure_2(example, tmp_path, monkeypatch):
    asked = []

    def plan(settings):
        asked.append(settings)
        return []

    monkeypatch.setattr(example, "plan", plan)
    monkeypatch.setattr(example, "plot", lambda *_: None)
    example.main(["--full", "--directory", str(tmp_path), "--num-seeds", "5"])
    (settings,) = asked
    assert settings.lengths == example.ALL_LENGTHS
    assert len(settings.lengths) == 23
    assert (settings.episodes, settings.width, settings.learning_rate) == (10_000, 256, 3e-4)
    assert settings.resume
    assert settings.num_seeds == 5


def test_lengths_are_those_of_bsuite(example):
    sweep = pytest.importorskip("bsuite.sweep")
    lengths = [sweep.SETTINGS[name]["memory_length"] for name in sweep.MEMORY_LEN]
    assert list(example.ALL_LENGTHS) == lengths


@pytest.mark.parametrize(
    ("length", "num_slots"), [(1, 32), (10, 32), (30, 32), (31, 64), (62, 64), (100, 128)]
)
def test_cover_holds_an_episode(example, length, num_slots):
    assert example.slots("cover", length) == num_slots
    assert example.slots("7", length) == 7


def test_the_measures_of_columns_made_by_hand(results):
    # 20 episodes in 10 updates; the last tenth are those behind the 18th. A return is 2 (share right) - 1.
    columns = {
        "episodes": np.array([2, 2, 2, 0, 4, 2, 2, 2, 2, 2]),
        "episode_return": np.array([-1, 0, 0, np.nan, 0.5, 1, 1, 1, 1, 0.0]),
        "step": 8 * np.arange(1, 11),
    }
    np.testing.assert_array_equal(results.answers(columns), [0, 1, 1, 0, 3, 2, 2, 2, 2, 1])
    correct, regret, solved, steps = results.measure(columns)
    assert (correct, regret, solved, steps) == (0.5, 0.6, 1, 80)  # 14 right of 20

    columns["episode_return"][5] = -0.5  # 12.5 right of 20: a regret of 0.75 is not below it
    assert results.measure(columns) == (0.5, 0.75, 0, 80)


def test_rows_are_read_as_they_were_written(results, tmp_path):
    rows = [
        results.Row("bsuite", "a,b.py:C", 1, 8, 60, 8, 1, 5e-4, 2, seed, 0.25, 1.5, 0, 180, 3.21, 99.5)
        for seed in range(2)
    ]
    path = tmp_path / "new" / "results.csv"
    assert results.read_rows(path) == []
    results.write_rows(path, rows)
    assert results.read_rows(path) == rows


def test_popgym_ppo_compares_memories_and_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    example = importlib.import_module("popgym_ppo")
    flags = ["--environments", "RepeatPreviousEasy", "--cores", "feed_forward", "--num-seeds", "2"]
    folder = tmp_path / "RepeatPreviousEasy" / "feed_forward"
    words = [*flags, "--num-steps", "20e3", "--directory", str(tmp_path)]

    def train_one_update(agent, environment, num_steps, **options):
        return train(agent, environment, 1024, **options)

    with monkeypatch.context() as patch:  # as if it had been stopped behind the first of two updates
        patch.setattr(example, "train", train_one_update)
        example.main(words)
    written = []
    for _ in range(2):  # goes on; then nothing is left to do
        written.append((folder / "metrics.csv").read_text())
        example.main(words)
    assert [row["update"] for row in csv.DictReader(written[0].splitlines())] == ["1", "1"]
    assert [row["update"] for row in csv.DictReader(written[1].splitlines())] == ["1", "1", "2", "2"]
    assert (folder / "metrics.csv").read_text() == written[1]
    with pytest.raises(RunDirectoryError, match="annealing_updates"):
        example.main([*flags, "--num-steps", "40e3", "--directory", str(tmp_path)])
    shown = capsys.readouterr().out
    assert "RepeatPreviousEasy" in shown
    assert "±" in shown
    results = list(csv.DictReader((tmp_path / "results.csv").open(newline="")))
    keys = [(row["core"], row["seed"], row["num_steps"]) for row in results]
    assert keys == [("feed_forward", "0", "20000"), ("feed_forward", "1", "20000")]
    assert all(-1 <= float(row["mmer"]) <= 1 for row in results)
    with pytest.raises(SystemExit, match="--cores must be of s5, "):
        example.main(["--cores", "rnn"])


def test_popgym_ppo_has_the_setting_of_the_paper(monkeypatch):
    example = importlib.import_module("popgym_ppo")
    calls = []

    def record(agent, environment, num_steps, **options):
        calls.append((agent.core, agent.config, num_steps, options["num_seeds"]))
        raise InterruptedError

    monkeypatch.setattr(example, "train", record)
    with pytest.raises(InterruptedError):
        example.main(["--paper"])
    assert calls == [(ResettableS5Core.popgym(), PPOConfig.popgym(), 15_000_000, 8)]


def test_popgym_ppo_keeps_the_rows_of_other_cores(tmp_path):
    example = importlib.import_module("popgym_ppo")
    settings = example.Settings(directory=tmp_path, num_steps=8)
    for core, mmer in [("s5", 0.1), ("gru", 0.2), ("s5", 0.3)]:
        example.keep_rows(settings, "RepeatFirstEasy", core, np.asarray(mmer), np.asarray(0.0))
    results = list(csv.DictReader((tmp_path / "results.csv").open(newline="")))
    assert [(row["core"], row["mmer"]) for row in results] == [("gru", "0.2000"), ("s5", "0.3000")]


def test_popgym_ppo_knows_the_results_of_the_paper():
    example = importlib.import_module("popgym_ppo")
    assert example.paper_result("RepeatPreviousHard", "s5") == "0.91 ± 0.04"
    assert example.paper_result("RepeatPreviousHard", "lstm") == ""
    assert example.paper_result("RepeatPreviousEasy", "s5") == ""


@pytest.fixture
def projected():
    return importlib.import_module("projected_dm_control")


@pytest.fixture
def tiny_projected(projected, monkeypatch):
    config = MuesliConfig(
        num_envs=2, unroll_length=4, torso_sizes=(4,), model_size=4, num_bins=5, num_samples=2
    )
    monkeypatch.setattr(projected, "small_config", lambda: config)
    cores = {"s5": ResettableS5Core(4, 4, 1), "lstm": LSTMCore(4), "feed_forward": FeedForwardCore((4,))}
    monkeypatch.setattr(projected, "SMALL_CORES", cores)
    return projected


def test_projected_dm_control_writes_evaluations_and_plots(tiny_projected, tmp_path, capsys):
    words = "--num-steps 8 --num-evaluations 1 --num-episodes 1 --cores s5 --held-out pendulum/swingup"
    arguments = [*words.split(), "--directory", str(tmp_path)]
    tiny_projected.main(arguments)
    evaluations = tiny_projected.Evaluations(tmp_path / "evaluations.csv")
    keys = [(row["core"], int(row["steps"]), row["task"], row["split"]) for row in evaluations.rows]
    tasks = [("cartpole/swingup", "train"), ("pendulum/swingup", "test")]
    assert keys == [(core, steps, *task) for core, steps in [("random", 0), ("s5", 8)] for task in tasks]
    for row in evaluations.rows:
        parts = [float(row[f"part_{i}"]) for i in range(1, 5)]
        np.testing.assert_allclose(sum(parts), float(row["return"]), rtol=1e-5)
    for name in ("curves.png", "quarters.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert "pendulum/swingup" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"holds runs with other num_episodes, seed: name another"):
        tiny_projected.main([*arguments, "--seed", "1", "--num-episodes", "3"])
    # A second call trains and evaluates nothing again.
    before = (tmp_path / "evaluations.csv").read_bytes()
    tiny_projected.main(arguments)
    assert (tmp_path / "evaluations.csv").read_bytes() == before


def test_projected_dm_control_at_papers_size_is_the_papers(projected):
    settings = projected.paper_settings()
    assert len(settings.tasks) == 6
    assert len(settings.held_out) == 5
    assert settings.num_steps == 2e9


@pytest.mark.parametrize(
    ("words", "message"), [("--cores gru", "--cores must be of"), ("--num-episodes 0", "--num-episodes must")]
)
def test_projected_dm_control_refuses_wrong_words(projected, capsys, words, message):
    with pytest.raises(SystemExit):
        projected.main(words.split())
    assert message in capsys.readouterr().err


def test_projected_cartpole_compares_memories_and_goes_on(tmp_path, capsys, monkeypatch):
    example = importlib.import_module("projected_cartpole")
    config = MuesliConfig(
        num_envs=2, unroll_length=4, torso_sizes=(4,), model_unroll_length=1, model_size=4, num_bins=5
    )
    monkeypatch.setattr(example, "muesli_config", lambda num_steps: config)
    monkeypatch.setitem(example.CORES, "feed_forward", FeedForwardCore((4,)))
    flags = "--num-steps 80 --num-episodes 2 --cores feed_forward --environments CartPole --directory"
    for _ in range(2):  # the second call reads what the first one has trained
        example.main([*flags.split(), str(tmp_path)])
    rows = list(csv.DictReader((tmp_path / "feed_forward" / "metrics.csv").open(newline="")))
    assert [row["update"] for row in rows] == [str(update) for update in range(1, 11)]
    rows = list(csv.DictReader((tmp_path / "feed_forward" / "evaluations.csv").open(newline="")))
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    lines = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
    assert ["feed_forward", *[f"{float(rows[-1]['episode_return']):.2f}"] * 2] in lines
    assert sum(line[:1] == ["random"] for line in lines) == 2
    with pytest.raises(SystemExit):
        example.main(["--environments", "Acrobot"])
    assert "--environments must be of CartPole, Pendulum" in capsys.readouterr().err


def test_projected_cartpole_has_as_many_projections_as_asked_for():
    example = importlib.import_module("projected_cartpole")
    for projections, is_fixed, count in ((0, False, 2), (1, True, 2), (3, True, 6)):
        environment = example.projected(example.Settings(projections=projections))
        assert environment.settings.fixed_projections == is_fixed
        assert len(environment.environments) == count


def test_a_strip_shows_an_episode(tmp_path, monkeypatch):
    pytest.importorskip("dm_control")
    example = importlib.import_module("episode_strip")
    environment = ProjectedDmControl(["cartpole/swingup"])
    spec = EnvironmentSpec.from_environment(environment)
    agent = make_agent(spec, core=FeedForwardCore((4,)), algorithm="a2c", config=A2CConfig(torso_sizes=(4,)))
    policy = Policy(agent, agent.acting_params(agent.init(jax.random.key(0))))
    # Without a renderer; pictures are tested with dm_control. The colour tells how often one was drawn.
    pictures = iter(np.full((6, 8, 3), (level, 90, 200), np.uint8) for level in range(255))
    monkeypatch.setattr(ProjectedDmControl, "render", lambda self: next(pictures))
    monkeypatch.setattr(example, "load_policy", lambda folder: policy)
    frames = example.play(policy, environment, every=300)
    assert [frame.step for frame in frames] == [0, 300, 600, 900, 1000]
    assert [int(frame.picture[0, 0, 0]) for frame in frames] == [0, 1, 2, 3, 4]
    returns = [frame.episode_return for frame in frames]
    assert returns == sorted(returns)
    example.main(["a_folder", "--every", "500", "--output", str(tmp_path / "new" / "strip.png")])
    strip = (255 * imread(tmp_path / "new" / "strip.png")[..., :3]).round().astype(int)
    for level in (5, 6, 7):  # of steps 0, 500 and 1000, behind the five above
        assert (strip == (level, 90, 200)).all(axis=-1).sum() > 1_000
    with pytest.raises(ValueError, match="bound to another environment"):
        example.play(policy, ProjectedDmControl(["cartpole/swingup"], previous_action=True), every=300)
