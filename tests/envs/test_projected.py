"""Random projections: the matrices, Algorithm 1 on dm_control and around environments in JAX."""

from __future__ import annotations

import dataclasses
from typing import final

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_control_tasks import ELIGIBLE_TASKS, lively_actions
from dm_env import specs
from environments import RandomWalk, assert_equal, conformance

from s5rl.envs import (
    HELD_OUT_TASKS,
    TRAINING_TASKS,
    JaxEnvironment,
    MemoryChain,
    ProjectedDmControl,
    ProjectedEnvironment,
    ProjectionSettings,
    advance_stream,
    make_dm_control,
    start_stream,
)
from s5rl.envs.popgym import CartPole, Pendulum
from s5rl.envs.projected import dm_control
from s5rl.envs.projected.episodes import TaskSizes, draw_episode
from s5rl.envs.projected.projections import semi_orthogonal
from s5rl.types import next_timestep, restart

needs_dm_control = pytest.mark.usefixtures("dm_control_installed")
TASKS = ("cartpole/balance", "reacher/easy", "point_mass/hard")


@pytest.fixture(scope="module")
def dm_control_installed():
    pytest.importorskip("dm_control")


@pytest.mark.parametrize("xp", [np, jnp])
@pytest.mark.parametrize("shape", [(12, 5), (12, 12), (1, 2), (2, 2), (3, 2)])
def test_orthogonal_projections_keep_lengths(xp, shape):
    normal = xp.asarray(np.random.default_rng(0).standard_normal(shape), xp.float32)
    matrix = np.asarray(ProjectionSettings(scale=3.0).matrix(normal, xp)) / 3
    inner = matrix.T @ matrix if shape[0] >= shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(inner, np.eye(min(shape)), atol=1e-6)


def is_unbiased(matrices) -> bool:
    """Returns whether every element is 0 on average, within 5 standard errors."""
    error = matrices.std(axis=0) / np.sqrt(len(matrices))
    return bool((np.abs(matrices.mean(axis=0)) < 5 * error).all())


@pytest.mark.parametrize("shape", [(4, 3), (1, 2)])
def test_orthogonal_projections_are_uniform(shape):
    rng = np.random.default_rng(0)
    normals = rng.standard_normal((3_000, *shape))
    uniform = np.stack([semi_orthogonal(normal, np) for normal in normals])
    assert is_unbiased(uniform)
    # Turned by any rotation, the distribution stays; second moments are those of a random unit vector.
    np.testing.assert_allclose((uniform**2).mean(axis=0), 1 / max(shape), atol=0.02)
    plain = np.stack([np.linalg.qr(n if shape[0] >= shape[1] else n.T)[0] for n in normals])
    assert not is_unbiased(plain)  # what the signs are for


def test_gaussian_projections_have_the_variance_of_what_is_projected():
    normal = np.random.default_rng(0).standard_normal((400, 9))
    matrix = ProjectionSettings(projection="gaussian", scale=2.0).matrix(normal, np)
    assert matrix.std() == pytest.approx(2 / 3, rel=0.05)


def test_the_splits_are_those_of_the_paper():
    assert (len(TRAINING_TASKS), len(HELD_OUT_TASKS)) == (6, 5)
    assert len({*TRAINING_TASKS, *HELD_OUT_TASKS} & set(ELIGIBLE_TASKS)) == 11


SIZES = [TaskSizes("a", 5, 1), TaskSizes("b", 12, 2), TaskSizes("c", 3, 2)]


def test_every_episode_draws_anew_and_tasks_are_equally_likely():
    settings = ProjectionSettings()
    drawn = [draw_episode(settings, SIZES, 0, 1, number) for number in range(1_500)]
    counts = np.bincount([episode.task for episode in drawn])
    assert (np.abs(counts - 500) < 5 * np.sqrt(1_500 * 2 / 9)).all()
    assert len({episode.task_seed for episode in drawn}) == 1_500
    for matrices in zip(
        *[(e.observation_matrix, e.action_matrix) for e in drawn if e.task == 1], strict=True
    ):
        assert is_unbiased(np.stack(matrices))
    again = draw_episode(settings, SIZES, 0, 1, 7)
    assert_equal(again, drawn[7])
    for other in ((1, 1, 7), (0, 0, 7), (0, 1, 8)):
        assert draw_episode(settings, SIZES, *other).task_seed != again.task_seed


def test_fixed_projections_belong_to_the_task_and_the_seed():
    settings = ProjectionSettings(fixed_projections=True)

    def matrices(seed, sizes):
        drawn = [draw_episode(settings, sizes, seed, row, n) for row in range(3) for n in range(20)]
        by_task = {}
        for episode in drawn:
            by_task.setdefault(sizes[episode.task].name, set()).add(
                (episode.observation_matrix.tobytes(), episode.action_matrix.tobytes())
            )
        assert len({episode.task_seed for episode in drawn}) == 60
        return by_task

    fixed = matrices(0, SIZES)
    assert [len(values) for values in fixed.values()] == [1, 1, 1]
    assert matrices(0, SIZES[1:]) == {name: fixed[name] for name in ("b", "c")}
    assert matrices(1, SIZES)["a"] != fixed["a"]


def assert_follows_algorithm_1(num_episodes=2, **options):
    """Plays, and repeats it with one task of dm_control and two products of matrices."""
    settings = ProjectionSettings(**options)
    environment = ProjectedDmControl(TASKS, seed=4, row=2, **options)
    for number in range(num_episodes):
        timestep = environment.reset()
        tasks = [make_dm_control(task) for task in TASKS]
        sizes = [
            TaskSizes(name, task.observation_spec().shape[0], task.action_spec().shape[0])
            for name, task in zip(TASKS, tasks, strict=True)
        ]
        episode = draw_episode(settings, sizes, 4, 2, number)
        assert environment.task == TASKS[episode.task]
        inner = tasks[episode.task]
        inner.reseed(episode.task_seed)
        expected, action = inner.reset(), np.zeros(2, np.float32)
        for next_action in [*lively_actions(1_000, (2,), number), None]:
            signals = [expected.reward or 0.0, float(expected.last() and not settings.bootstrap)]
            tail = action if settings.previous_action else []
            shown = np.concatenate([episode.observation_matrix @ expected.observation, signals, tail])
            np.testing.assert_allclose(timestep.observation, shown, rtol=1e-6, atol=1e-6)
            assert (timestep.step_type, timestep.reward) == (expected.step_type, expected.reward)
            if next_action is None:
                break
            action = next_action
            projected = np.clip(episode.action_matrix @ action, -1.0, 1.0)
            timestep, expected = environment.step(action), inner.step(projected)
        assert timestep.last()
        assert timestep.discount == (1.0 if settings.bootstrap else 0.0)
        assert environment.step(action).first()  # of the next episode, which is left at once


@needs_dm_control
@pytest.mark.parametrize(
    "options", [{}, {"projection": "gaussian", "previous_action": True, "bootstrap": False}], ids=str
)
def test_it_follows_algorithm_1(options):
    assert_follows_algorithm_1(num_episodes=1, **options)


@needs_dm_control
@pytest.mark.parametrize("which", ["observation", "action", "clamp"])
def test_wrong_projections_are_caught(monkeypatch, which):
    if which == "observation":
        real = dm_control.observe
        monkeypatch.setattr(dm_control, "observe", lambda matrix, *rest: real(matrix[:, ::-1], *rest))
    elif which == "action":
        real = dm_control.project
        monkeypatch.setattr(dm_control, "project", lambda matrix, action: real(matrix[:, ::-1], action))
    else:
        monkeypatch.setattr(dm_control, "project", lambda matrix, action: 0.9 * (matrix * action).sum(-1))
    with pytest.raises(AssertionError):
        assert_follows_algorithm_1(num_episodes=1)


TestProjected = pytest.mark.usefixtures("dm_control_installed")(
    conformance("TestProjected", lambda: ProjectedDmControl(TASKS, seed=1))
)


@needs_dm_control
def test_a_state_is_gone_back_to_in_another_episode_of_another_seed():
    stored, other = ProjectedDmControl(TASKS, seed=0), ProjectedDmControl(TASKS, seed=1, row=3)
    shapes = jax.tree.map(np.shape, stored.get_state())
    for environment, num_steps in ((stored, 1_100), (other, 5)):
        for action in lively_actions(num_steps, (2,)):
            environment.step(action)
    state = stored.get_state()
    assert jax.tree.map(np.shape, state) == shapes
    other.set_state(state)
    assert other.task == stored.task
    other.set_state(ProjectedDmControl(TASKS).get_state())
    assert other.task is None
    other.set_state(state)
    for action in lively_actions(1_000, (2,), 1):  # into the next episode
        assert_equal(other.step(action), stored.step(action))
    with pytest.raises(ValueError, match="state must be that of 1 tasks"):
        ProjectedDmControl(TASKS[:1]).set_state(state)
    reacher = ProjectedDmControl(["reacher/hard"]).get_state()
    with pytest.raises(ValueError, match="state must be that of reacher/easy"):
        ProjectedDmControl(["reacher/easy"]).set_state(reacher)


@needs_dm_control
@pytest.mark.parametrize("task", ELIGIBLE_TASKS)
def test_every_eligible_task_fits(task):
    environment = ProjectedDmControl([task])
    assert environment.reset().observation.shape == (14,)
    assert environment.step(np.ones(2, np.float32)).observation.dtype == np.float32


@needs_dm_control
@pytest.mark.parametrize(
    ("tasks", "options", "message"),
    [
        (["walker/walk"], {}, "walker/walk has 24 numbers .* and 6 .* exceeds observation_size=12"),
        (["swimmer/swimmer6"], {"observation_size": 30}, "25 numbers .* and 5 .* exceeds action_size=2"),
        (["cartpole/swingupp"], {}, "unknown task of dm_control"),
        ([], {}, r"at least one, got \[\]"),
        ("reacher/easy", {}, "list of different tasks"),
        (["reacher/easy"] * 2, {}, "list of different tasks"),
        (TASKS, {"seed": -1}, "seed must be"),
        (TASKS, {"row": -1}, "row must be"),
        (TASKS, {"projection": "uniform"}, "projection must be one of 'orthogonal', 'gaussian'"),
        (TASKS, {"scale": 0}, "scale must be a number above 0"),
        (TASKS, {"bootstrap": 1}, "bootstrap must be True or False"),
        (TASKS, {"action_size": 0}, "action_size must be an integer of at least 1"),
    ],
)
def test_bad_arguments_are_named(tasks, options, message):
    with pytest.raises(ValueError, match=message):
        ProjectedDmControl(tasks, **options)


@needs_dm_control
def test_a_nan_is_refused():
    environment = ProjectedDmControl(TASKS)
    environment.reset()
    with pytest.raises(ValueError, match=r"got \[0.0, nan\]"):
        environment.step(np.array([0, np.nan], np.float32))


SETTINGS = ProjectionSettings(previous_action=True, bootstrap=False)
MIXED = ProjectedEnvironment((Pendulum(5), CartPole(7)), SETTINGS)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_environments_in_jax_are_projected_alike(bootstrap):
    """By hand, with the inner environments and products of matrices in numpy."""
    mixed = dataclasses.replace(MIXED, settings=dataclasses.replace(SETTINGS, bootstrap=bootstrap))
    reset, step = jax.jit(mixed.reset), jax.jit(mixed.step)
    inner_steps = {inner: jax.jit(inner.step) for inner in mixed.environments}
    played, ends = set(), set()
    for seed in range(6):
        state, timestep = reset(jax.random.key(seed))
        inner = mixed.environments[int(state.task)]
        played.add(type(inner))
        inner_state = state.inner[int(state.task)]
        matrix_o = np.asarray(state.observation_matrix, float)
        matrix_a = np.asarray(state.action_matrix, float)
        assert timestep.observation.shape == (16,)
        assert timestep.first()
        assert not np.asarray(timestep.observation[12:]).any()
        action = np.zeros(2, np.float32)
        while not timestep.last():
            action = lively_actions(1, (2,), len(played) + seed)[0]
            state, timestep = step(state, action)
            projected = matrix_a @ action
            if isinstance(inner, CartPole):
                inner_action = int(np.argmax(projected))
            else:
                inner_action = 2 * np.clip(projected[:1], -1, 1)  # torques from -2 to 2
            inner_state, expected = inner_steps[inner](inner_state, inner_action)
            is_done = expected.last() and (expected.discount == 0 or not bootstrap)
            signals = [float(expected.reward), float(is_done)]
            shown = np.concatenate([matrix_o @ np.asarray(expected.observation), signals, action])
            np.testing.assert_allclose(timestep.observation, shown, rtol=1e-5, atol=1e-5)
            assert timestep.reward == pytest.approx(float(expected.reward), rel=1e-5)
            assert timestep.discount == (0 if is_done else 1)
        ends.add(float(expected.discount))
    assert played == {Pendulum, CartPole}
    assert 1.0 in ends  # the time limit was reached


@final
@dataclasses.dataclass(frozen=True)
class Uneven(JaxEnvironment):
    """Its state is the action; in float32, low + (high - low) is above high."""

    def reset(self, key):
        return jnp.zeros(1), restart(jnp.zeros(1))

    def step(self, state, action):
        return action, next_timestep(0.0, action, terminated=False)

    def observation_spec(self):
        return specs.Array((1,), np.float32)

    def action_spec(self):
        return specs.BoundedArray((1,), np.float32, -0.3, 0.9)


def test_in_jax_no_action_leaves_its_bounds():
    environment = ProjectedEnvironment((Uneven(),), ProjectionSettings(scale=100.0))
    state, _ = environment.reset(jax.random.key(0))
    reached = {float(environment.step(state, sign * jnp.ones(2))[0].inner[0][0]) for sign in (-1.0, 1.0)}
    assert reached == {float(np.float32(-0.3)), float(np.float32(0.9))}


def test_in_jax_every_episode_draws_anew():
    keys = jax.random.split(jax.random.key(0), 4)

    def run(key):
        stream = start_stream(MIXED, key)
        zeros = jnp.zeros(2, jnp.float32)

        def slot(stream, _):
            stream = advance_stream(MIXED, stream, zeros)
            return stream, (stream.state.task, stream.state.observation_matrix, stream.timestep.step_type)

        return jax.lax.scan(slot, stream, None, 40)[1]

    tasks, matrices, types = jax.jit(jax.vmap(run))(keys)
    firsts = np.asarray(types == int(dm_env.StepType.FIRST))
    drawn = np.asarray(matrices)[firsts]
    assert len(np.unique(drawn.round(4), axis=0)) == len(drawn) > 12
    assert set(np.asarray(tasks)[firsts].tolist()) == {0, 1}
    changes = np.abs(np.diff(np.asarray(matrices), axis=1)).max(axis=(2, 3)) > 0
    np.testing.assert_array_equal(changes, firsts[:, 1:])


def test_in_jax_fixed_projections_belong_to_the_environment():
    def matrices(seed):
        settings = ProjectionSettings(fixed_projections=True)
        environment = ProjectedEnvironment((Pendulum(),), settings, seed)
        states, _ = jax.jit(jax.vmap(environment.reset))(jax.random.split(jax.random.key(1), 3))
        return np.asarray(states.observation_matrix)

    fixed, other = matrices(0), matrices(1)
    assert len(np.unique(fixed, axis=0)) == len(np.unique(other, axis=0)) == 1
    assert (fixed != other).all()


@pytest.mark.parametrize(
    ("environments", "message"),
    [
        ((), "at least one"),
        (Pendulum(), "must be a tuple"),
        ((MemoryChain(3),), "flat array of floats"),
        ((RandomWalk(),), "flat array of floats"),
    ],
)
def test_environments_that_cannot_be_projected_are_named(environments, message):
    with pytest.raises(ValueError, match=message):
        ProjectedEnvironment(environments)


def test_in_jax_sizes_are_checked():
    with pytest.raises(ValueError, match=r"CartPole.* exceeds action_size=1"):
        ProjectedEnvironment((CartPole(),), ProjectionSettings(action_size=1))
