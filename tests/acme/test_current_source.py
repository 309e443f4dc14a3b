"""The modules that Acme's current source asks for, with every core; neither it nor Reverb is needed."""

from __future__ import annotations

import importlib.util

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cores import CORES
from numerics import FP32, assert_close

from s5rl.cores import LSTMCore

if importlib.util.find_spec("acme") is None:
    pytest.skip("dm-acme is not installed", allow_module_level=True)
from acme import specs
from flagged import (
    BATCH_SIZE,
    FLAGGED_SPEC,
    KEY,
    NUM_STEPS,
    OBSERVATION_SPEC,
    at,
    environment_spec,
    scan,
    sequence,
)

from s5rl.acme.networks import RecurrentNetwork, duelling_network, policy_value_network


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


@pytest.mark.parametrize(
    ("spec", "observation", "words"),
    [
        (
            FLAGGED_SPEC,
            sequence().observation,
            r"expected FlaggedObservation.*is_first=bool\[\].*got float32\[2, 2\]\..*IsFirst",
        ),
        (OBSERVATION_SPEC, sequence(), r"expected float32\[2, 2\] behind.*got FlaggedObservation"),
        (OBSERVATION_SPEC, np.zeros((2, 3), np.float32), r"expected float32\[2, 2\].*got float32\[2, 3\]"),
        (OBSERVATION_SPEC, np.zeros(2, np.float32), r"expected float32\[2, 2\].*got float32\[2\]"),
        (
            {"left": OBSERVATION_SPEC, "right": OBSERVATION_SPEC},
            dict.fromkeys(("left", "other"), np.zeros((2, 2), np.float32)),
            r"expected \{left: .*, right: .*got \{left: .*, other: ",
        ),
        (
            {"left": OBSERVATION_SPEC, "right": OBSERVATION_SPEC},
            {"left": np.zeros((2, 2), np.float32), "right": np.zeros((5, 2, 2), np.float32)},
            r"got \{left: float32\[2, 2\], right: float32\[5, 2, 2\]\}",
        ),
    ],
)
def test_an_observation_of_another_spec_is_refused(spec, observation, words):
    def act(inputs):
        network = RecurrentNetwork(spec, LSTMCore(4), hk.Linear(1))
        return network(inputs, network.initial_state(None))

    with pytest.raises(ValueError, match=f"observation does not fit the spec .*{words}"):
        hk.transform(act).init(KEY, observation)
