"""MemoryChain against bsuite's own."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from environments import assert_equal
from hypothesis import given, settings
from hypothesis import strategies as st

from s5rl.compat import enable_x64
from s5rl.envs import DmEnvBatch, MemoryChain, advance_stream, as_dm_env, from_dm_env, start_stream

memory_chain = pytest.importorskip("bsuite.environments.memory_chain")


@pytest.mark.parametrize("num_bits", [1, 3])
@pytest.mark.parametrize("memory_length", [1, 2, 3, 7, 30, 100])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_equals_bsuite_step_by_step(memory_length, num_bits, seed):
    real = memory_chain.MemoryChain(memory_length, num_bits, seed=seed)
    ours = MemoryChain(memory_length, num_bits)
    step = jax.jit(ours.step)
    rng = np.random.default_rng(seed)

    expected = real.reset()
    state, timestep = ours.reset_to(real._context, real._query)
    spec = real.observation_spec()
    assert_equal(jax.device_get(timestep), from_dm_env(expected, spec))
    num_steps = 0
    while not expected.last():
        action = np.int32(rng.integers(2))
        expected = real.step(action)
        state, timestep = step(state, action)
        num_steps += 1
        assert_equal(jax.device_get(timestep), from_dm_env(expected, spec))
    assert num_steps == memory_length + 1


@pytest.mark.parametrize("memory_length", [1, 5])
def test_shows_the_cue_twice_and_the_query_at_the_end(memory_length):
    environment = MemoryChain(memory_length, num_bits=3)
    state, timestep = environment.reset_to(np.array([1, 0, 1]), np.int32(2))
    observations = [timestep.observation]
    for _ in range(memory_length + 1):
        state, timestep = environment.step(state, 1)
        observations.append(timestep.observation)
    observations = np.stack(observations)[:, 0]

    shows_cue = (observations[:, 2:] == [1, -1, 1]).all(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(shows_cue), [0, 1])
    shows_query = observations[:, 1] == 2
    expected = [0, 1] if memory_length == 1 else [memory_length]
    np.testing.assert_array_equal(np.flatnonzero(shows_query), expected)
    np.testing.assert_array_equal(observations[-1], np.zeros(5))
    assert timestep.last()
    assert (timestep.reward, timestep.discount) == (1.0, 0.0)


def test_specs_equal_those_of_bsuite():
    real, ours = memory_chain.MemoryChain(5, num_bits=2), MemoryChain(5, num_bits=2)
    assert repr(ours.observation_spec()) == repr(real.observation_spec())
    assert repr(ours.action_spec()) == repr(real.action_spec())


def test_reset_draws_every_context_and_query_equally_often():
    environment = MemoryChain(4, num_bits=2)
    keys = jax.random.split(jax.random.key(0), 4000)
    state, _ = jax.jit(jax.vmap(environment.reset))(keys)
    code = np.asarray(4 * state.query + 2 * state.context[:, 0] + state.context[:, 1])
    counts = np.bincount(code, minlength=8)
    assert len(counts) == 8
    assert abs(counts - 500).max() < 120  # more than five standard deviations


def test_x64_changes_reward_and_discount_only():
    environment = MemoryChain(2)
    with enable_x64():
        stream = jax.jit(start_stream, static_argnums=0)(environment, jax.random.key(0))
        batch = DmEnvBatch([as_dm_env(environment, 0)])
        timestep = batch.reset()
        for _ in range(5):
            assert_equal(jax.tree.map(lambda leaf: leaf[0], timestep), jax.device_get(stream.timestep))
            assert (timestep.reward.dtype, timestep.discount.dtype) == (np.float64, np.float64)
            assert timestep.observation.dtype == np.float32
            stream = jax.jit(advance_stream, static_argnums=0)(environment, stream, np.int32(1))
            timestep = batch.step(np.ones(1, np.int32))
        assert (stream.num_steps.dtype, stream.num_episodes) == (np.int32, 2)


@pytest.mark.parametrize("bad", [0, -1, 2.0, True, None])
@pytest.mark.parametrize("name", ["memory_length", "num_bits"])
def test_bad_sizes_are_named(name, bad):
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1, got {bad}"):
        MemoryChain(**{"memory_length": 3, name: bad})
