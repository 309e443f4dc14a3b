"""Batches of MuJoCo, with dm_control and `ProjectedDmControl` as the oracles."""

from __future__ import annotations

import warnings

import dm_env
import jax
import numpy as np
import pytest
from dm_control_tasks import lively_actions
from environments import assert_equal

from s5rl.commands.environments import EVALUATION, TRAINING, make_named
from s5rl.envs import (
    HELD_OUT_TASKS,
    TRAINING_TASKS,
    ProjectedDmControl,
    ProjectedDmControlBatch,
    make_environment,
)
from s5rl.envs.dm_control import flatten, load_task
from s5rl.envs.mujoco_batch import BATCHED_TASKS, task_batch
from s5rl.envs.mujoco_batch.formulas import formulas
from s5rl.envs.mujoco_batch.task_batch import TaskBatch

pytest.importorskip("dm_control")

FIRST, MID, LAST = (int(step_type) for step_type in dm_env.StepType)
TASKS = ("finger/turn_easy", "point_mass/hard", "reacher/easy")
"""Those for which something is drawn."""
SEED = 4
"""With which all of them are seen in two episodes of three rows."""


def actions_for(batch, num_steps, seed=0):
    return lively_actions(num_steps, (batch.num_envs, 2), seed)


def play_whole_episode(task, num_steps=1_000):
    """Asserts that one row of three agrees with dm_control; returns what it has shown and paid."""
    batch, real = TaskBatch(task, 3, num_threads=1), load_task(task, 0)
    real.task.random.seed(5)
    for row, seed in enumerate((6, 5, 7)):
        beginning = batch.reset(row, seed)
        if row == 1:
            np.testing.assert_array_equal(beginning, flatten(real.reset().observation))
    shown, paid = [], []
    actions = lively_actions(num_steps, (3, *real.action_spec().shape))
    for t, action in enumerate(actions):
        rows = np.array([0, 1, 2] if t % 3 else [1, 2])  # rows need not step together
        observation, reward, diverged = batch.step(rows, action[rows])
        expected = real.step(action[1])
        (row,) = np.flatnonzero(rows == 1)
        np.testing.assert_allclose(observation[row], flatten(expected.observation), rtol=0, atol=1e-9)
        np.testing.assert_allclose(reward[row], expected.reward, rtol=0, atol=1e-9)
        assert not diverged.any()
        assert batch.is_over(np.array(t + 1)) == expected.last()
        shown.append(observation[row])
        paid.append(reward[row])
    return np.array(shown), np.array(paid)


@pytest.mark.parametrize("task", BATCHED_TASKS)
def test_every_task_agrees_with_dm_control_over_a_whole_episode(task):
    shown, _ = play_whole_episode(task)
    moved = (shown != shown[0]).any(axis=0)
    if "turn" in task:
        moved[9:11] = True  # the target's position
    assert moved.all()
    if task.startswith("cartpole"):
        assert np.abs(shown[:, 0]).max() > 1.79  # the end of the rail
    if task.startswith("finger"):
        assert shown[:, 7:9].any()  # the touch
    if task.startswith("ball"):
        assert np.hypot(*(shown[:, :2] - shown[:, 2:4]).T).max() > 0.3  # the string


def _stand(physics):
    physics.data.qpos[:] = 0


def _spin(physics):
    physics.named.data.qvel["hinge"] = -20


def _hold_the_ball(physics):
    physics.named.data.qpos[["ball_x", "ball_z"]] = 0, 0.33


def _put_the_target(physics):
    physics.forward()
    if "spinner" in physics.named.data.xpos.axes.row.names:
        physics.named.model.site_pos["target"] = physics.named.data.site_xpos["tip"]
        physics.named.data.qvel["hinge"] = 400 * physics.named.model.site_size["target", 0]
    else:
        physics.named.model.geom_pos["target"] = physics.named.data.geom_xpos["finger"]


GOALS = {
    **dict.fromkeys(("acrobot", "cartpole", "pendulum", "point_mass"), _stand),
    **{"ball_in_cup": _hold_the_ball, "finger": _put_the_target, "reacher": _put_the_target},
    "finger/spin": _spin,
}
"""Where the reward is not 0, by domain or task."""


@pytest.mark.parametrize("task", BATCHED_TASKS)
def test_every_reward_agrees_around_its_goal(monkeypatch, task):
    task_class = type(load_task(task, 0).task)
    begin, move = task_class.initialize_episode, GOALS.get(task) or GOALS[task.partition("/")[0]]

    def begin_at_the_goal(self, physics):
        begin(self, physics)
        move(physics)

    monkeypatch.setattr(task_class, "initialize_episode", begin_at_the_goal)
    _, paid = play_whole_episode(task, 100)
    assert (paid > 0.01).sum() > 1
    assert len(np.unique(paid)) > 1


@pytest.mark.parametrize("part", ["observation", "reward"])
def test_a_wrong_formula_is_caught(monkeypatch, part):
    def wrong(task, model):
        right = formulas(task, model)
        return right._replace(**{part: lambda fields: getattr(right, part)(fields) + 1e-8})

    monkeypatch.setattr(task_batch, "formulas", wrong)
    with pytest.raises(AssertionError):
        play_whole_episode("pendulum/swingup", 1)


def test_a_field_that_is_drawn_but_not_copied_is_caught(monkeypatch):
    def forgetful(task, model):
        return formulas(task, model)._replace(drawn=())

    monkeypatch.setattr(task_batch, "formulas", forgetful)
    for task in TASKS:
        with pytest.raises(AssertionError):
            play_whole_episode(task, 10)


@pytest.mark.parametrize(
    "options", [{}, {"previous_action": True, "bootstrap": False, "scale": 2.0}], ids=str
)
def test_the_stream_is_that_of_the_plain_environments(options):
    batch = ProjectedDmControlBatch(TASKS, num_envs=3, seed=SEED, **options)
    plain = [ProjectedDmControl(TASKS, seed=SEED, row=row, **options) for row in range(3)]
    timestep, expected = batch.reset(), [environment.reset() for environment in plain]
    seen = set()
    for action in actions_for(batch, 1_010):
        assert [TASKS[index] for index in batch.task_of_row] == [environment.task for environment in plain]
        for row, step in enumerate(expected):
            np.testing.assert_array_equal(timestep.observation[row], step.observation, strict=True)
            reward, discount = (0.0, 1.0) if step.first() else (step.reward, step.discount)
            got = (timestep.step_type[row], timestep.reward[row], timestep.discount[row])
            assert got == (step.step_type, np.float32(reward), discount)
            seen.add((int(step.step_type), plain[row].task))
        timestep = batch.step(action)
        expected = [environment.step(a) for environment, a in zip(plain, action, strict=True)]
    assert {step_type for step_type, _ in seen} == {FIRST, MID, LAST}
    assert len({task for _, task in seen}) == 3


def cut_short(monkeypatch, num_steps):
    """Lets all episodes of batches end after so many steps."""
    monkeypatch.setattr(TaskBatch, "is_over", lambda self, steps: steps >= num_steps)


def test_without_bootstrap_the_time_limit_terminates_and_shows(monkeypatch):
    cut_short(monkeypatch, 3)
    batch = ProjectedDmControlBatch(TASKS, num_envs=4, bootstrap=False)
    steps = [batch.reset()] + [batch.step(action) for action in actions_for(batch, 6)]
    is_last = np.stack([step.step_type for step in steps]) == LAST
    assert is_last.any()
    np.testing.assert_array_equal(np.stack([step.observation for step in steps])[..., 13], is_last)
    np.testing.assert_array_equal(np.stack([step.discount for step in steps]), ~is_last)


def test_each_row_follows_the_stream_and_draws_anew(monkeypatch):
    cut_short(monkeypatch, 3)
    batch = ProjectedDmControlBatch(TASKS, num_envs=4)
    steps = [batch.reset()]
    matrices, tasks = [], []
    for action in actions_for(batch, 40):
        dead = steps[-1].step_type == LAST
        action[dead] = np.nan  # is ignored
        steps.append(batch.step(action))
        if dead.any():
            matrices.append(batch.get_state()[0][4])
            tasks.append(batch.task_of_row)
    types = np.stack([step.step_type for step in steps])
    np.testing.assert_array_equal(types, np.tile([[FIRST], [MID], [MID], [LAST]], (11, 4))[:41])
    firsts = types == FIRST
    assert (np.stack([step.discount for step in steps]) == 1).all()
    assert not np.stack([step.reward for step in steps])[firsts].any()
    # Cut off, not terminated: done is not shown.
    assert not np.stack([step.observation for step in steps])[..., 13].any()
    assert len(np.unique(np.array(matrices)[..., 0, 0])) == 40
    assert len(np.unique(tasks)) == 3
    assert all(step.observation.dtype == step.reward.dtype == np.float32 for step in steps)
    assert types.dtype == np.int32


def test_returned_arrays_are_fresh():
    batch = ProjectedDmControlBatch(TASKS, num_envs=2)
    timesteps = [batch.reset()] + [batch.step(action) for action in actions_for(batch, 3)]
    leaves = jax.tree.leaves(timesteps)
    for i, leaf in enumerate(leaves):
        assert not any(np.shares_memory(leaf, other) for other in leaves[:i])


def test_a_state_is_gone_back_to_bit_for_bit(monkeypatch):
    cut_short(monkeypatch, 30)
    stored = ProjectedDmControlBatch(TASKS, num_envs=5, seed=0)
    other = ProjectedDmControlBatch(TASKS, num_envs=5, seed=1)
    kind = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), stored.get_state())
    stored.reset(), other.reset()
    for action in actions_for(stored, 47):
        stored.step(action)
    state = stored.get_state()
    kept = jax.tree.map(np.copy, state)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) == kind
    other.set_state(state)
    for action in actions_for(stored, 70, seed=1):
        assert_equal(other.step(action), stored.step(action))
    assert_equal(state, kept)
    with pytest.raises(ValueError, match="state must be that of 4 rows and the tasks"):
        ProjectedDmControlBatch(TASKS, num_envs=4).set_state(state)


def test_rows_and_threads_do_not_change_a_row():
    few = ProjectedDmControlBatch(TRAINING_TASKS, num_envs=5, seed=2, num_threads=1)
    many = ProjectedDmControlBatch(TRAINING_TASKS, num_envs=9, seed=2, num_threads=3)
    left, right = few.reset(), many.reset()
    for action in actions_for(many, 50):
        assert_equal(left, jax.tree.map(lambda leaf: leaf[:5], right))
        left, right = few.step(action[:5]), many.step(action)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda a: np.where(np.arange(3)[:, None] == 1, np.nan, a), ValueError, r"row 1 .* got \[nan, nan\]"),
        (lambda a: np.where(np.arange(3)[:, None] == 2, 1.5, a), ValueError, r"row 2 .* within -1 and 1"),
        (lambda a: a[:2], ValueError, r"shape \(3, 2\), got \(2, 2\)"),
        (lambda a: a.astype(complex), TypeError, "got dtype complex128"),
    ],
)
def test_bad_actions_are_refused_and_change_nothing(change, error, message):
    batch = ProjectedDmControlBatch(TASKS, num_envs=3)
    batch.reset()
    before = batch.get_state()
    with pytest.raises(error, match=message):
        batch.step(change(np.zeros((3, 2), np.float32)))
    assert_equal(batch.get_state(), before)


def test_physics_that_diverge_end_the_episode_of_their_row_alone():
    batch, healthy = (ProjectedDmControlBatch(["pendulum/swingup"], num_envs=4, seed=1) for _ in range(2))
    batch.reset(), healthy.reset()
    rows, seed, tasks = batch.get_state()
    physics = tasks[0][0]
    physics[2, 2] = 1e12  # the velocity: time and position come before it
    batch.set_state((rows, seed, tasks))
    action = np.ones((4, 2), np.float32)
    with pytest.warns(UserWarning, match=r"pendulum/swingup diverged, .* in rows \[2\]"):
        timestep = batch.step(action)
    assert timestep.step_type.tolist() == [MID, MID, LAST, MID]
    assert (timestep.reward[2], timestep.discount[2]) == (0, 0)
    np.testing.assert_array_equal(timestep.observation[2], [*[0] * 13, 1])
    others = np.array([0, 1, 3])
    expected = healthy.step(action)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # not what numpy says of dm_control
        for t in range(3):
            assert_equal(*(jax.tree.map(lambda leaf: leaf[others], step) for step in (timestep, expected)))
            timestep, expected = batch.step(action), healthy.step(action)
            assert np.isfinite(timestep.observation).all()
            assert timestep.step_type[2] == (FIRST if t == 0 else MID)


@pytest.mark.parametrize(
    ("tasks", "options", "message"),
    [
        (["walker/walk"], {}, "unknown task of the batch of MuJoCo 'walker/walk'"),
        (["lqr/lqr_2_1"], {}, "unknown task of the batch of MuJoCo 'lqr/lqr_2_1'"),
        (["cartpole/swingupp"], {}, "unknown task of dm_control 'cartpole/swingupp'; the nearest are"),
        (["finger/spin"], {"observation_size": 8}, "finger/spin has 9 .* exceeds observation_size=8"),
        ([], {}, r"at least one, got \[\]"),
        (TASKS, {"num_envs": 0}, "num_envs must be an integer of at least 1"),
        (TASKS, {"num_threads": -1}, "num_threads must be a number of at least 0"),
        (TASKS, {"seed": 2**32}, "seed must be a number of at least 0 and at most"),
    ],
)
def test_bad_arguments_are_named(tasks, options, message):
    with pytest.raises(ValueError, match=message):
        ProjectedDmControlBatch(tasks, **options)


def test_it_is_made_by_name_and_by_the_command_line():
    assert make_environment("projected_dm_control/train", num_envs=2).tasks == TRAINING_TASKS
    assert make_environment("projected_dm_control/test").tasks == HELD_OUT_TASKS
    assert make_environment("projected_dm_control", tasks=["reacher/easy"]).tasks == ("reacher/easy",)
    with pytest.raises(TypeError, match="projections"):
        make_environment("projected_dm_control/train", projections="gaussian")

    def beginning(purpose):
        options = ["tasks=('reacher/easy',)", "previous_action=True"]
        batch = make_named("projected_dm_control", options, num_envs=3, seed=0, purpose=purpose)
        assert isinstance(batch, ProjectedDmControlBatch)
        return batch.reset().observation

    assert beginning(TRAINING).shape == (3, 16)
    assert (beginning(TRAINING) == beginning(TRAINING)).all()
    assert (beginning(TRAINING)[:, 0] != beginning(EVALUATION)[:, 0]).all()
    with pytest.raises(ValueError, match="cannot be made with the options"):
        make_named("projected_dm_control/train", ["num_envs=3"], num_envs=2, seed=0, purpose=TRAINING)
