"""`s5rl plot`: pictures of made-up tables."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cycler import cycler
from matplotlib import rcParams
from matplotlib.image import imread

from s5rl.commands import plot as plot_module
from s5rl.training.tables import FileLogger

COLOURS = ((0x1F, 0x77, 0xB4), (0xFF, 0x7F, 0x0E))
"""Of the first two curves."""


def environment_of(length):
    return {"type": "s5rl.envs.memory_chain:MemoryChain", "fields": {"memory_length": length}}


def write_run(folder, environment, returns, settings=None):
    """Writes a run with a row of tables for each update, and a seed for each row of returns."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"run": {"environment": environment}}))
    if settings is not None:
        (folder / "command.json").write_text(json.dumps(settings))
    logger = FileLogger(folder)
    for update in range(returns.shape[1]):
        rows = [
            {
                **{"seed": seed, "update": update + 1, "step": 2_000 * (update + 1), "episodes": update + 1},
                **{"episode_return": returns[seed, update], "loss": 7.0},
            }
            for seed in range(len(returns))
        ]
        logger.write("metrics", rows)
        logger.write("evaluations", [{**row, "episode_return": row["episode_return"] + 1} for row in rows])
    logger.close()
    return folder


@pytest.fixture
def runs(tmp_path):
    """Two runs on one environment, and one on another."""
    rising = np.tanh(np.linspace(0, 2, 300)) + np.linspace(-0.1, 0.1, 3)[:, None]
    settings = {
        **{"environment": "memory_chain", "options": ["memory_length=2"], "num_steps": 1},
        **{"evaluate_every": None, "num_evaluation_episodes": 1, "checkpoint_seconds": 1.0},
        **{"tensorboard": False, "wandb": None, "wandb_id": ""},
    }
    return [
        write_run(tmp_path / "first" / "gru", environment_of(2), rising, settings),
        write_run(tmp_path / "second" / "gru", environment_of(2), rising / 2),
        write_run(tmp_path / "first" / "lstm", environment_of(9), rising[:1]),
    ]


@pytest.fixture
def panels(s5rl, monkeypatch):
    """Returns the panels that a command would draw."""

    def panels_(*words):
        drawn = []
        monkeypatch.setattr(plot_module, "plot_panels", lambda panels, *paths: drawn.append((panels, paths)))
        outcome = s5rl("plot", *words)
        assert outcome.status == 0, outcome.complaint
        return drawn[0]

    return panels_


def test_a_picture_shows_the_curves(s5rl, runs, tmp_path, monkeypatch):
    monkeypatch.setitem(rcParams, "axes.prop_cycle", cycler(color=["k"]))  # as packages do that set a style
    outcome = s5rl("plot", *runs[:2], "--output", tmp_path / "new" / "v1.0")
    assert outcome.status == 0, outcome.complaint
    png, svg = tmp_path / "new" / "v1.0.png", tmp_path / "new" / "v1.0.svg"
    assert {png, svg} == set((tmp_path / "new").iterdir())
    assert f"wrote {svg}" in outcome.shown
    pixels = (imread(png)[..., :3] * 255).round().astype(int)
    assert min(pixels.shape[:2]) > 400
    for colour in COLOURS:
        ys, xs = np.nonzero((np.abs(pixels - colour) < 8).all(axis=-1))
        assert len(ys) > 500
        assert np.ptp(xs) > 0.7 * pixels.shape[1]  # all over the panel
        left, right = ys[xs < xs.min() + 20], ys[xs > xs.max() - 20]
        assert left.mean() > right.mean() + 100  # and rising
    text = svg.read_text()
    for words in ("memory_chain memory_length=2", "environment steps", "first/gru", "second/gru", "200k"):
        assert f"<!-- {words} -->" in text


def test_an_environment_has_a_panel_and_a_run_a_curve(panels, runs):
    (first, second), paths = panels(*runs)
    assert first.title == "memory_chain memory_length=2"
    assert second.title == "MemoryChain(memory_length=9)"
    assert list(first.curves) == ["first/gru", "second/gru"]
    assert list(second.curves) == ["lstm"]
    whole, half = first.curves.values()
    np.testing.assert_allclose(half.middle, np.array(whole.middle) / 2)
    assert whole.middle[-1] == pytest.approx(np.tanh(2), abs=0.01)
    assert whole.x[-1] == pytest.approx(600_000, rel=0.01)
    assert all(np.array(whole.low) < whole.middle)
    (single,) = second.curves.values()
    assert single.low == single.middle
    assert [path.name for path in paths] == ["episode_return.png", "episode_return.svg"]


def test_host_environments_with_other_settings_have_panels_of_their_own(panels, tmp_path):
    def batch_of(tasks):
        return {"host": "s5rl.envs.mujoco_batch:ProjectedDmControlBatch", "fields": {"tasks": tasks}}

    tasks = (["cartpole/swingup"], ["pendulum/swingup"], ["cartpole/swingup"])
    returns = np.ones((1, 3))
    runs = [write_run(tmp_path / str(i), batch_of(each), returns) for i, each in enumerate(tasks)]
    drawn, _ = panels(*runs)
    assert [list(panel.curves) for panel in drawn] == [["0", "2"], ["1"]]


def test_files_go_where_the_runs_are(panels, runs):
    folder = runs[0].parent
    for words, place in ((runs[:1], runs[0]), ((runs[0], runs[2]), folder), (runs, folder.parent)):
        _, (png, _) = panels(*words)
        assert png.resolve() == place / "episode_return.png"


def test_other_metrics(panels, runs):
    (panel,), (png, _) = panels(runs[2], "--metric", "evaluation")
    assert panel.y_label == "return in evaluations"
    assert panel.curves["lstm"].middle[-1] == pytest.approx(np.tanh(2) + 0.9, abs=0.01)
    assert png.name == "evaluation.png"
    (panel,), _ = panels(runs[2], "--metric", "loss")
    assert set(panel.curves["lstm"].middle) == {7.0}


def test_a_run_named_twice_is_drawn_once(panels, runs, monkeypatch):
    monkeypatch.chdir(runs[0].parent)
    (panel,), _ = panels("gru", "gru/", runs[0])
    assert list(panel.curves) == ["gru"]


def test_episodes_count_equally(panels, tmp_path):
    returns = np.ones((1, 1000))  # ten updates in a bin, of 1, 2, 3... episodes
    returns[0, 0], returns[0, 1:5] = np.nan, 0
    write_run(tmp_path / "run", environment_of(2), returns)
    (panel,), _ = panels(tmp_path / "run")
    assert panel.curves["run"].middle[0] == pytest.approx(sum(range(6, 11)) / sum(range(2, 11)))
    assert panel.curves["run"].x[0] > 2000  # nothing is known of the first update


def test_a_csv_file_of_several_environments(panels, tmp_path):
    lines = ["environment,core,seed,step,episode_return"]
    for environment in ("popgym/A", "popgym/B"):
        for core, slope in (("s5", 2.0), ("gru", 1.0)):
            for seed, num_rows in ((0, 50), (1, 40)):
                lines += [
                    f"{environment},{core},{seed},{10 * i},{slope * i if i else ''}" for i in range(num_rows)
                ]
    (tmp_path / "results.csv").write_text("\n".join(lines))
    (first, second), (png, _) = panels(tmp_path / "results.csv")
    assert [first.title, second.title] == ["popgym/A", "popgym/B"]
    assert list(first.curves) == list(second.curves) == ["s5", "gru"]
    curve = second.curves["s5"]
    np.testing.assert_allclose(curve.middle, np.array(curve.x) / 5)
    assert (curve.x[0], curve.x[-1]) == (10, 390)
    assert png.resolve() == tmp_path / "episode_return.png"


def test_what_cannot_be_drawn_is_refused(s5rl, runs, tmp_path):
    def complaint(*words):
        outcome = s5rl("plot", *words)
        assert outcome.status == 2
        return outcome.complaint

    assert "one of update, episodes, episode_return, loss, got lss" in complaint(runs[0], "--metric", "lss")
    unfinished = write_run(tmp_path / "new", environment_of(2), np.full((2, 3), np.nan))
    assert "new: a seed has no value yet" in complaint(unfinished)
    (unfinished / "metrics.csv").unlink()
    assert "has no metrics yet" in complaint(unfinished)
    (tmp_path / "x.csv").write_text("core,step\ns5,1\n")
    assert "must have the columns environment, episode_return, seed" in complaint(tmp_path / "x.csv")
