"""The networks of dm-acme's agents, and the interface of Acme's current source, with every core."""

from __future__ import annotations

import collections

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cores import CORES
from numerics import FP32, assert_close

from s5rl.acme.is_first import FlaggedObservation
from s5rl.cores import LSTMCore

pytest.importorskip("reverb", reason="Reverb is not installed: make test-acme runs this")

from acme import specs

from s5rl.acme.networks import (
    RecurrentNetwork,
    duelling_network,
    make_impala_networks,
    make_r2d2_networks,
    policy_value_network,
)

NUM_STEPS, BATCH_SIZE, NUM_ACTIONS = 5, 2, 3
KEY = jax.random.PRNGKey(0)
OBSERVATION_SPEC = specs.Array((2, 2), np.float32)
FLAGGED_SPEC = FlaggedObservation(OBSERVATION_SPEC, specs.Array((), np.bool_))


def environment_spec(observations, actions=None):
    return specs.EnvironmentSpec(
        observations=observations,
        actions=actions or specs.DiscreteArray(NUM_ACTIONS),
        rewards=specs.Array((), np.float32),
        discounts=specs.BoundedArray((), np.float32, 0.0, 1.0),
    )


def sequence(*leading):
    """Returns flagged observations; some inside begin an episode."""
    rng = np.random.default_rng(0)
    flags = rng.random(leading) < 0.3
    return FlaggedObservation(rng.standard_normal((*leading, 2, 2)).astype(np.float32), flags)


def at(tree, *index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def scan(step, observations, state):
    """Returns what a step function gives along a sequence, stacked, and the last state."""
    outputs = []
    for t in range(NUM_STEPS):
        output, state = step(at(observations, t), state)
        outputs.append(output)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs), state


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


@pytest.mark.parametrize(
    ("make_network", "name"),
    [*((policy_value_network, name) for name in CORES), (duelling_network, "s5")],
)
def test_the_interface_of_acmes_current_source(make_network, name):
    """Its agents transform a module's __call__, unroll and initial_state together; the first initialises.

    The initial state is asked for without parameters. IMPALA maps an unroll of [T, ...] over the batch, R2D2
    unrolls [T, B, ...].
    """
    spec = environment_spec(FLAGGED_SPEC)

    def functions():
        model = make_network(spec, CORES[name])
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), FLAGGED_SPEC)
        init = lambda: model(zeros, model.initial_state(None))  # noqa: E731
        return init, (model, model.unroll, model.initial_state)

    transformed = hk.multi_transform(functions)
    apply, unroll, initial_state = transformed.apply
    params = transformed.init(KEY)
    batched = initial_state(None, KEY, BATCH_SIZE)
    observations = sequence(NUM_STEPS, BATCH_SIZE)
    whole = jax.jit(unroll)(params, KEY, observations, batched)
    step = jax.jit(apply)
    assert_close(scan(lambda *inputs: step(params, KEY, *inputs), observations, batched), whole, FP32)
    mapped = jax.jit(jax.vmap(unroll, in_axes=(None, None, 1, 0), out_axes=(1, 0)))
    assert_close(mapped(params, KEY, observations, batched), whole, FP32)
    single = initial_state(None, KEY, None)
    row = unroll(params, KEY, at(observations, slice(None), 0), single)
    assert_close(row, (at(whole[0], slice(None), 0), at(whole[1], 0)), FP32)


def test_flags_reset_and_their_absence_does_not():
    core = LSTMCore(4)
    observations = sequence(NUM_STEPS, BATCH_SIZE)
    observations.is_first[:] = False
    observations.is_first[3] = True

    def unroll(spec, inputs):
        network = policy_value_network(environment_spec(spec), core)
        return network.unroll(inputs, network.initial_state(BATCH_SIZE))[0]

    transformed = hk.without_apply_rng(hk.transform(unroll))
    params = transformed.init(KEY, FLAGGED_SPEC, observations)
    logits, _ = transformed.apply(params, FLAGGED_SPEC, observations)
    plain, _ = transformed.apply(params, OBSERVATION_SPEC, observations.observation)
    fresh, _ = transformed.apply(params, FLAGGED_SPEC, at(observations, slice(3, None)))
    assert_close(logits[:3], plain[:3], FP32)
    assert_close(logits[3:], fresh, FP32)
    assert np.abs(logits[3:] - plain[3:]).max() > 1e-3


def test_a_torso_of_ones_own_and_a_nest_of_observations():
    nest = {"image": specs.Array((4, 4, 1), np.uint8), "speed": specs.Array((), np.float32)}
    seen = []

    def torso(observation):
        seen.append({key: leaf.shape for key, leaf in observation.items()})
        image = hk.Conv2D(2, 3)(observation["image"].astype(float)).reshape(len(observation["speed"]), -1)
        return jnp.concatenate([image, observation["speed"][:, None]], axis=-1)

    def unroll(inputs):
        network = RecurrentNetwork(nest, LSTMCore(4), hk.Linear(2), torso)
        return network.unroll(inputs, network.initial_state(BATCH_SIZE))[0]

    inputs = {
        "image": np.zeros((NUM_STEPS, BATCH_SIZE, 4, 4, 1), np.uint8),
        "speed": np.zeros((NUM_STEPS, BATCH_SIZE), np.float32),
    }
    transformed = hk.transform(unroll)
    outputs = transformed.apply(transformed.init(KEY, inputs), KEY, inputs)
    assert outputs.shape == (NUM_STEPS, BATCH_SIZE, 2)
    assert seen[0] == {"image": (NUM_STEPS * BATCH_SIZE, 4, 4, 1), "speed": (NUM_STEPS * BATCH_SIZE,)}


def test_named_tuples_of_another_class_are_taken():
    """Reverb gives them back so."""
    networks = make_impala_networks(environment_spec(FLAGGED_SPEC), LSTMCore(4))
    initial = networks.initial_state_fn({})
    observations = sequence(NUM_STEPS)
    params = networks.unroll_init_fn(KEY, initial)
    other = collections.namedtuple("FlaggedObservation", ["observation", "is_first"])(*observations)
    expected = networks.unroll_fn(params, observations, initial)
    assert_close(networks.unroll_fn(params, other, initial), expected, 0.0)


@pytest.mark.parametrize(
    ("spec", "observation", "words"),
    [
        (
            FLAGGED_SPEC,
            sequence().observation,
            r"expected leaves \[\[2, 2\], \[\]\].*got \[\[2, 2\]\].*IsFirst",
        ),
        (OBSERVATION_SPEC, sequence(), r"expected leaves \[\[2, 2\]\].*got \[\[2, 2\], \[\]\]"),
        (OBSERVATION_SPEC, np.zeros((2, 3), np.float32), r"expected leaves \[\[2, 2\]\].*got \[\[2, 3\]\]"),
        (OBSERVATION_SPEC, np.zeros(2, np.float32), r"expected leaves \[\[2, 2\]\].*got \[\[2\]\]"),
    ],
)
def test_an_observation_of_another_spec_is_refused(spec, observation, words):
    networks = make_impala_networks(environment_spec(spec), LSTMCore(4))
    initial = networks.initial_state_fn({})
    params = networks.unroll_init_fn(KEY, initial)
    with pytest.raises(ValueError, match=f"observation does not fit the spec .*{words}"):
        networks.forward_fn(params, observation, initial)


def test_actions_that_are_not_discrete_are_refused():
    spec = environment_spec(OBSERVATION_SPEC, specs.BoundedArray((2,), np.float32, -1.0, 1.0))
    for make in (make_impala_networks, lambda spec, core: make_r2d2_networks(spec, core, batch_size=2)):
        with pytest.raises(
            TypeError, match=r"environment_spec\.actions must be a DiscreteArray.*BoundedArray"
        ):
            make(spec, LSTMCore(4))
