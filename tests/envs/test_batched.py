"""DmEnvBatch: rows, fresh arrays, errors."""

from __future__ import annotations

from functools import partial

import dm_env
import jax
import numpy as np
import pytest
from dm_env import specs
from environments import ENVIRONMENTS, RandomWalk, assert_equal, random_actions

from s5rl.envs import (
    DmEnvBatch,
    MemoryChain,
    advance_stream,
    as_dm_env,
    make_bsuite,
    start_stream,
)


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=str)
def test_equals_the_vmapped_stream_row_by_row(environment):
    keys = jax.random.split(jax.random.key(0), 3)
    batch = DmEnvBatch([as_dm_env(environment, key) for key in keys])
    streams = jax.jit(jax.vmap(partial(start_stream, environment)))(keys)
    advance = jax.jit(jax.vmap(partial(advance_stream, environment)))

    assert batch.num_envs == 3
    timestep = batch.reset()
    for seed in range(20):
        assert_equal(timestep, jax.device_get(streams.timestep))
        actions = random_actions(environment.action_spec(), seed, (3,))
        timestep, streams = batch.step(actions), advance(streams, actions)
    assert int(streams.num_episodes.min()) > 2

    assert batch.reset().first().all()
    assert batch.observation_spec() == environment.observation_spec()
    assert batch.action_spec() == environment.action_spec()


class Recorder(dm_env.Environment):
    """Records its actions and returns the very same observation buffer at every step."""

    def __init__(self, action_spec, shape=(2,)):
        self.actions, self.closed = [], False
        self._action_spec, self._buffer = action_spec, np.zeros(shape, np.float32)

    def reset(self):
        return dm_env.restart(self._buffer)

    def step(self, action):
        self.actions.append(action)
        self._buffer += 1
        return dm_env.transition(1.0, self._buffer)

    def observation_spec(self):
        return specs.Array(self._buffer.shape, np.float32)

    def action_spec(self):
        return self._action_spec

    def close(self):
        self.closed = True


DISCRETE = specs.DiscreteArray(3, np.int64)


@pytest.mark.parametrize("num_envs", [1, 2])
def test_returned_arrays_are_fresh(num_envs):
    batch = DmEnvBatch([Recorder(DISCRETE) for _ in range(num_envs)])
    timesteps = [batch.reset()] + [batch.step(np.zeros(num_envs, np.int32)) for _ in range(3)]
    for t, timestep in enumerate(timesteps):
        np.testing.assert_array_equal(timestep.observation, np.full((num_envs, 2), t))
    leaves = [leaf for timestep in timesteps for leaf in jax.tree.leaves(timestep)]
    for i, leaf in enumerate(leaves):
        assert not any(np.shares_memory(leaf, other) for other in leaves[:i])


def test_actions_arrive_in_the_dtype_of_their_spec():
    spec = {"choice": DISCRETE, "force": specs.BoundedArray((2,), np.float64, -1, 1)}
    members = [Recorder(spec), Recorder(spec)]
    batch = DmEnvBatch(members)
    batch.reset()
    sent = {"choice": jax.numpy.array([1, 2]), "force": np.array([[0, 1], [-1, 0]], np.float32)}
    batch.step(sent)
    sent["force"][:] = 7
    for member, choice, force in zip(members, (1, 2), ([0, 1], [-1, 0]), strict=True):
        (action,) = member.actions
        assert (type(action["choice"]), action["choice"]) == (np.int64, choice)
        assert (type(action["force"]), action["force"].dtype) == (np.ndarray, np.float64)
        np.testing.assert_array_equal(action["force"], force)


def test_rows_of_bsuite_reset_on_their_own():
    batch = DmEnvBatch([make_bsuite("catch/0"), make_bsuite("catch/1")])
    steps = [batch.reset()] + [batch.step(np.ones(2, np.int32)) for _ in range(11)]
    step_types = np.stack([step.step_type for step in steps])
    np.testing.assert_array_equal(step_types[:, 0], [0, *[1] * 8, 2, 0, 1])
    discounts = np.stack([step.discount for step in steps])
    np.testing.assert_array_equal(discounts[step_types == 0], np.ones(4))
    assert steps[0].observation.shape == (2, 10, 5)


def test_close_closes_every_member():
    members = [Recorder(DISCRETE), Recorder(DISCRETE)]
    DmEnvBatch(members).close()
    assert [member.closed for member in members] == [True, True]


@pytest.mark.parametrize(
    ("environments", "message"),
    [
        ([], "at least one dm_env.Environment, got none"),
        ([as_dm_env(RandomWalk(), 0)] * 2, "distinct objects"),
        (
            [as_dm_env(MemoryChain(2, bits), 0) for bits in (1, 1, 2)],
            r"observation_spec of environments\[2\] must equal .*\(1, 3\).*got.*\(1, 4\)",
        ),
        (
            [Recorder(DISCRETE), Recorder(specs.BoundedArray((), np.int64, 0, 2))],
            r"action_spec of environments\[1\] must equal .*Discrete.*got Bounded",
        ),
        (
            [Recorder({"a": DISCRETE}), Recorder({"b": DISCRETE})],
            r"action_spec of environments\[1\]",
        ),
    ],
)
def test_bad_members_are_named(environments, message):
    with pytest.raises(ValueError, match=message):
        DmEnvBatch(environments)


@pytest.mark.parametrize(
    ("actions", "error", "message"),
    [
        (np.zeros(3, np.int32), ValueError, r"leading axis of 2 rows, got shape \(3,\)"),
        (np.int32(0), ValueError, r"leading axis of 2 rows, got shape \(\)"),
        (np.zeros((2, 1), np.int32), ValueError, r"got shape \(1,\)"),
        (np.zeros(2, np.float32), TypeError, "got dtype float32"),
    ],
)
def test_bad_actions_are_refused(actions, error, message):
    batch = DmEnvBatch([as_dm_env(MemoryChain(2), seed) for seed in range(2)])
    batch.reset()
    with pytest.raises(error, match=message):
        batch.step(actions)
