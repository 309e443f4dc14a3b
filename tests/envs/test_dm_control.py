"""The tasks of dm_control behind dm_env, with dm_control itself as the oracle."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import dm_env
import jax
import numpy as np
import pytest
from dm_control_tasks import CLASSES_OF_STATE, lively_actions
from environments import assert_equal, conformance

import s5rl.envs
from s5rl.envs import (
    DmEnvBatch,
    ProjectedDmControl,
    dm_control,
    environment_names,
    make_dm_control,
    make_environment,
)
from s5rl.envs.dm_control import DRAWN_FIELDS, dm_control_tasks, load_task
from s5rl.training.checkpoints import Checkpoints
from s5rl.training.loop import Snapshot

suite = pytest.importorskip("dm_control.suite")


def play(environment, num_steps, seed=0):
    """Returns the steps of an environment under lively actions, within its bounds."""
    spec = environment.action_spec()
    actions = lively_actions(num_steps, spec.shape, seed)
    actions = np.clip(actions, spec.minimum, spec.maximum).astype(np.float32)
    return [environment.step(action) for action in actions]


def test_every_task_of_the_suite_is_named():
    tasks = [f"{domain}/{name}" for domain, name in suite.ALL_TASKS]
    assert list(dm_control_tasks()) == tasks
    assert [name for name in environment_names() if name.startswith("dm_control/")] == [
        f"dm_control/{task}" for task in tasks
    ]


@pytest.mark.parametrize(
    ("task", "num_steps"), [("cartpole/swingup", 1_200), ("finger/turn_hard", 1_200), ("quadruped/fetch", 50)]
)
def test_it_is_dm_control_flattened(task, num_steps):
    ours = make_environment(f"dm_control/{task}", seed=7)
    real = suite.load(*task.split("/"), task_kwargs={"random": 7})
    assert ours.action_spec().dtype == np.float32
    for name in ("minimum", "maximum"):
        np.testing.assert_array_equal(
            getattr(ours.action_spec(), name), np.float32(getattr(real.action_spec(), name))
        )
    steps = list(zip(play(ours, num_steps), play(real, num_steps), strict=True))
    for ours_t, real_t in steps:
        for name in ("step_type", "reward", "discount"):
            assert getattr(ours_t, name) == getattr(real_t, name)
        flat = np.concatenate([np.ravel(real_t.observation[name]) for name in real.observation_spec()])
        np.testing.assert_array_equal(ours_t.observation, flat.astype(np.float32), strict=True)
    assert sum(step.last() for step, _ in steps) == num_steps // 1_000


TestCartPole = conformance("TestCartPole", lambda: make_dm_control("cartpole/balance", seed=1))
TestFinger = conformance("TestFinger", lambda: make_dm_control("finger/turn_hard", seed=1))


def test_seeds_decide():
    def beginnings(seed):
        environment = make_dm_control("reacher/easy", seed=seed)
        return np.stack([environment.reset().observation for _ in range(3)])

    np.testing.assert_array_equal(beginnings(3), beginnings(3))
    assert (beginnings(3) != beginnings(4)).any(axis=1).all()
    with pytest.raises(
        ValueError, match="seed must be a number of at least 0 and at most 4294967295, got -1"
    ):
        make_dm_control("reacher/easy", seed=-1)


@pytest.mark.parametrize("task", CLASSES_OF_STATE)
def test_a_state_is_gone_back_to_bit_for_bit(task):
    stored, other = make_dm_control(task, seed=1), make_dm_control(task, seed=2)
    play(stored, 8)
    state = stored.get_state()
    play(other, 0 if task == "finger/turn_easy" else 3)  # one that has not begun has the sizes of the model
    assert_equal(jax.tree.map(np.shape, other.get_state()), jax.tree.map(np.shape, state))
    other.set_state(state)
    assert_equal(other.get_state(), state)
    for continued in (1, 2):
        for left, right in zip(play(stored, 10, continued), play(other, 10, continued), strict=True):
            assert_equal(left, right)
        assert_equal(stored.reset(), other.reset())


@pytest.mark.parametrize("task", CLASSES_OF_STATE)
def test_a_reset_changes_no_field_of_the_model_that_a_state_lacks(task):
    model = load_task(task, 0).physics.model.ptr
    drawn = load_task(task, 1)
    names = [name for name in dir(model) if isinstance(getattr(model, name, None), np.ndarray)]
    assert set(DRAWN_FIELDS) < set(names)
    drawn.reset()
    changed = {
        name
        for name in names
        if not np.array_equal(getattr(model, name), getattr(drawn.physics.model.ptr, name))
        and not np.isnan(getattr(model, name)).any()
    }
    assert changed <= set(DRAWN_FIELDS)


def test_a_state_of_another_task_is_refused():
    reacher = make_dm_control("reacher/easy")
    for task in ("cartpole/swingup", "reacher/hard"):  # another model, and the same one with another target
        with pytest.raises(ValueError, match="state must be that of reacher/easy"):
            reacher.set_state(make_dm_control(task).get_state())


def test_a_batch_is_stored_in_a_checkpoint_and_continued(tmp_path):
    def batch(seed):
        return DmEnvBatch([make_dm_control("point_mass/hard", seed=seed + i) for i in range(2)])

    stored, other = batch(0), batch(5)
    actions = lively_actions(20, (2, 2))
    stored.reset(), other.reset()
    for action in actions[:10]:
        stored.step(action)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, Snapshot({"params": np.zeros(1)}, stored.get_state()), {})
    other.set_state(checkpoints.restore(1, Snapshot({"params": np.zeros(1)}, other.get_state())).run_state)
    for action in actions[10:]:
        assert_equal(stored.step(action), other.step(action))


def test_diverging_physics_end_an_episode_with_a_warning_and_nothing_else():
    batch = DmEnvBatch([make_dm_control("lqr/lqr_2_1", seed=seed) for seed in range(2)])
    steps = [batch.reset()]

    def push_the_first_row_the_way_it_goes(num_steps):
        for _ in range(num_steps):
            push = 1e10 if steps[-1].observation[0, 2] >= 0 else -1e10
            steps.append(batch.step(np.array([[push], [0.5]], np.float32)))

    with pytest.warns(UserWarning, match="the physics of lqr/lqr_2_1 diverged"):
        push_the_first_row_the_way_it_goes(250)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(steps))
    ends = [t for t, step in enumerate(steps[:-1]) if step.step_type[0] == dm_env.StepType.LAST]
    assert ends
    for t in ends:
        assert (steps[t].reward[0], steps[t].discount.tolist()) == (0, [0, 1])
        assert not steps[t].observation[0].any()
        assert steps[t + 1].step_type[0] == dm_env.StepType.FIRST
    assert all(step.step_type[1] == dm_env.StepType.MID for step in steps[1:])


def test_a_nan_is_refused_by_the_row_and_changes_nothing():
    batch = DmEnvBatch([make_dm_control("pendulum/swingup", seed=seed) for seed in range(2)])
    batch.reset()
    before = batch.get_state()
    with pytest.raises(ValueError, match=r"row 1: action must be within the bounds .* got \[nan\]"):
        batch.step(np.array([[0.0], [np.nan]], np.float32))
    assert_equal(batch.get_state(), before)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dm_control/carpole/swingup", r"unknown task of dm_control 'carpole/swingup'; .*'cartpole/swingup'"),
        ("dm_control/cartpole", r"'cartpole/"),
        ("dm_control/xyz/q", r"known are \['acrobot/', 'ball_in_cup/'"),
        ("dm_controll/cartpole/swingup", r"unknown environment"),
    ],
)
def test_unknown_tasks_list_the_nearest(name, message):
    with pytest.raises(ValueError, match=message):
        make_environment(name)


def test_without_dm_control_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dm_control", None)
    assert not any("dm_control" in name for name in environment_names())
    for name in ("dm_control/cartpole/swingup", "projected_dm_control/train"):
        with pytest.raises(ImportError, match=r"pip install 's5rl\[dm_control\]'"):
            make_environment(name)


def test_importing_s5rl_imports_neither_dm_control_nor_mujoco():
    for path in Path(s5rl.envs.__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert not any(word in ast.unparse(node) for word in ("from dm_control", "import mujoco"))


@pytest.mark.parametrize(("given", "used"), [(None, "disable"), ("egl", "egl")])
def test_nothing_is_drawn_unless_one_says_how(monkeypatch, given, used):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    if given:
        monkeypatch.setenv("MUJOCO_GL", given)
    assert dm_control.dm_control_tasks()
    assert os.environ["MUJOCO_GL"] == used


PICTURES = """
import numpy as np
from s5rl.envs import ProjectedDmControl, make_dm_control

task = "cartpole/swingup"
ours, projected = make_dm_control(task, seed=7), ProjectedDmControl([task])

from dm_control import suite

real = suite.load(*task.split("/"), task_kwargs={"random": 7})
for environment in (ours, real, projected):
    environment.reset()
pictures = [ours.render(48, 64), projected.render(48, 64)]
np.testing.assert_array_equal(pictures[0], real.physics.render(48, 64, camera_id=0))
assert pictures[0].dtype == np.uint8 and pictures[0].shape == pictures[1].shape == (48, 64, 3)
for _ in range(20):
    ours.step(np.ones(1, np.float32))
assert (ours.render(48, 64) != pictures[0]).any()
for freed in (ours.close, real.physics.free, projected.close):
    freed()
"""


def test_pictures_are_those_of_dm_control():
    for renderer in ("egl", "osmesa"):
        result = subprocess.run(
            [sys.executable, "-c", PICTURES],
            env={**os.environ, "MUJOCO_GL": renderer},
            capture_output=True,
            text=True,
        )
        if result.returncode == 0:
            assert "Exception ignored" not in result.stderr, result.stderr  # a renderer that was left open
            return
        assert f"cannot draw with MUJOCO_GL={renderer}" in result.stderr, result.stderr
    pytest.skip("neither EGL nor OSMesa is here")


def test_without_a_renderer_a_message_says_what_to_install(monkeypatch):
    environment = make_dm_control("pendulum/swingup")
    monkeypatch.setenv("MUJOCO_GL", "disable")
    with pytest.raises(RuntimeError, match=r"cannot draw with MUJOCO_GL=disable .*libegl1.*libosmesa6"):
        environment.render()
    with pytest.raises(RuntimeError, match="nothing to draw before the first episode"):
        ProjectedDmControl(["pendulum/swingup"]).render()
