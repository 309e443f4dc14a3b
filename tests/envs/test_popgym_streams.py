"""Streams of POPGym's environments: a batch with resets, under two vmaps, is its rows one by one."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from environments import assert_equal, random_actions

from s5rl.envs import advance_stream, start_stream
from s5rl.envs.popgym import ENVIRONMENTS, Noisy

SHAPE = (2, 40)
"""Enough rows for each way in which rows are replaced."""
IN_THE_FAST_SUITE = {"RepeatPreviousEasy", "MineSweeperEasy"}


def near_its_end(environment, state):
    """Returns the state with few steps left, so that episodes end soon."""
    if isinstance(environment, Noisy):
        return dataclasses.replace(state, inner=near_its_end(environment.environment, state.inner))
    return dataclasses.replace(state, time=state.time + environment.max_episode_length - 3)


@pytest.mark.parametrize(
    "name",
    [
        name if name in IN_THE_FAST_SUITE else pytest.param(name, marks=pytest.mark.slow)
        for name in ENVIRONMENTS
    ],
)
def test_a_batch_with_resets_is_its_rows(name):
    environment = ENVIRONMENTS[name]
    actions = random_actions(environment.action_spec(), 0, (*SHAPE, 8))

    def run(key, actions):
        stream = start_stream(environment, key)
        stream = stream._replace(state=near_its_end(environment, stream.state))

        def body(stream, action):
            stream = advance_stream(environment, stream, action)
            return stream, stream

        return jax.lax.scan(body, stream, actions)[1]

    keys = jax.random.split(jax.random.key(0), SHAPE)
    streams = jax.jit(jax.vmap(jax.vmap(run)))(keys, actions)
    single = jax.jit(run)
    for i, j in [(0, 0), (1, 39), (0, 17)]:
        row = jax.tree.map(lambda leaf, i=i, j=j: leaf[i, j], streams)
        _assert_close(row, single(keys[i, j], actions[i, j]))
    assert np.asarray(streams.num_episodes)[..., -1].min() >= 2


def _assert_close(row, expected):
    """Floats may be rounded otherwise in a batch; all else is equal."""
    is_float = [jax.numpy.issubdtype(leaf.dtype, np.floating) for leaf in jax.tree.leaves(row)]
    pairs = zip(is_float, jax.tree.leaves(row), jax.tree.leaves(expected), strict=True)
    for inexact, left, right in pairs:
        if inexact:
            np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
        else:
            assert_equal(left, right)
