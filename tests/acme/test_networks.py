"""The networks of dm-acme's agents, with every core."""

from __future__ import annotations

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cores import CORES
from numerics import FP32, assert_close

from s5rl.cores import LSTMCore

pytest.importorskip("reverb", reason="Reverb is not installed: make test-acme runs this")

from acme import specs
from flagged import (
    BATCH_SIZE,
    FLAGGED_SPEC,
    KEY,
    NUM_ACTIONS,
    NUM_STEPS,
    OBSERVATION_SPEC,
    at,
    environment_spec,
    scan,
    sequence,
)

from s5rl.acme.networks import make_impala_networks, make_r2d2_networks


@pytest.mark.parametrize("name", CORES)
def test_impala_acts_without_a_batch_and_unrolls_under_vmap(name):
    networks = make_impala_networks(environment_spec(FLAGGED_SPEC), CORES[name])
    initial = networks.initial_state_fn(networks.initial_state_init_fn(KEY))
    params = networks.unroll_init_fn(KEY, initial)
    observations = sequence(BATCH_SIZE, NUM_STEPS)
    observations.is_first[:, :2] = False  # so that the state at the beginning matters
    states = jax.tree.map(lambda leaf: jnp.stack([leaf] * BATCH_SIZE), initial)
    unroll = jax.jit(jax.vmap(networks.unroll_fn, in_axes=(None, 0, 0)))
    _, warm = unroll(params, observations, states)
    (logits, values), final = unroll(params, observations, warm)
    assert logits.shape == (BATCH_SIZE, NUM_STEPS, NUM_ACTIONS)
    assert values.shape == (BATCH_SIZE, NUM_STEPS)
    step = jax.jit(networks.forward_fn)
    for row in range(BATCH_SIZE):
        expected = scan(lambda *inputs: step(params, *inputs), at(observations, row), at(warm, row))
        assert_close(at(((logits, values), final), row), expected, FP32)


@pytest.mark.parametrize("name", CORES)
def test_r2d2_unrolls_from_a_stored_state_what_it_acted(name):
    """It stores the state after a step, and unrolls from it beginning with the same step."""
    networks = make_r2d2_networks(environment_spec(FLAGGED_SPEC), CORES[name], batch_size=BATCH_SIZE)
    initial = networks.initial_state.apply(networks.initial_state.init(KEY, BATCH_SIZE), KEY, BATCH_SIZE)
    params = networks.unroll.init(KEY, initial)
    observations = sequence(NUM_STEPS, BATCH_SIZE)
    observations.is_first[1:] = False  # so that the stored state matters
    step, unroll = jax.jit(networks.forward.apply), jax.jit(networks.unroll.apply)
    state, acted, stored = initial, [], []
    for t in range(NUM_STEPS):
        values, state = step(params, KEY, at(observations, t), state)
        acted.append(values)
        stored.append(state)
    assert acted[0].shape == (BATCH_SIZE, NUM_ACTIONS)
    for start in (0, 2):
        rest = jax.tree.map(lambda leaf, start=start: leaf[start:], observations)
        values, _ = unroll(params, KEY, rest, stored[start])
        assert_close(values, jnp.stack(acted[start:]), FP32)
    # Burning in, and going on from there, is one unroll.
    cut = 2
    _, middle = unroll(params, KEY, jax.tree.map(lambda leaf: leaf[:cut], observations), stored[0])
    values, _ = unroll(params, KEY, jax.tree.map(lambda leaf: leaf[cut:], observations), middle)
    assert_close(values, jnp.stack(acted[cut:]), FP32)


def test_named_tuples_of_another_class_are_taken():
    """Reverb gives them back so."""
    networks = make_impala_networks(environment_spec(FLAGGED_SPEC), LSTMCore(4))
    initial = networks.initial_state_fn({})
    observations = sequence(NUM_STEPS)
    params = networks.unroll_init_fn(KEY, initial)
    other = collections.namedtuple("FlaggedObservation", ["observation", "is_first"])(*observations)
    expected = networks.unroll_fn(params, observations, initial)
    assert_close(networks.unroll_fn(params, other, initial), expected, 0.0)


def test_actions_that_are_not_discrete_are_refused():
    spec = environment_spec(OBSERVATION_SPEC, specs.BoundedArray((2,), np.float32, -1.0, 1.0))
    for make in (make_impala_networks, lambda spec, core: make_r2d2_networks(spec, core, batch_size=2)):
        with pytest.raises(
            TypeError, match=r"environment_spec\.actions must be a DiscreteArray.*BoundedArray"
        ):
            make(spec, LSTMCore(4))
