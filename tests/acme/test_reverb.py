"""What comes back from a real Reverb server: states of every core, and sequences that cross episodes."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from cores import CORES, INPUT_SIZE
from numerics import random_params

from s5rl import make_environment
from s5rl.acme.is_first import FlaggedObservation, IsFirstWrapper
from s5rl.cores import HaikuCore
from s5rl.envs import as_dm_env

pytest.importorskip("reverb", reason="Reverb is not installed: make test-acme runs this")

import acme
import reverb
import tensorflow as tf
import tree
from acme import specs, wrappers
from acme.adders import reverb as adders
from acme.agents.jax import impala
from acme.agents.jax.impala import builder as impala_builder
from acme.utils import loggers

from s5rl.acme.networks import make_impala_networks
from s5rl.acme.time_limit import TimeLimit

TABLE = adders.DEFAULT_PRIORITY_TABLE
STATEFUL = [name for name, core in CORES.items() if jax.tree.leaves(core.initial_state())]
NUM_STEPS = 3
SEQUENCE_LENGTH, NUM_SEQUENCES = 20, 6


@pytest.fixture
def serve():
    """Starts Reverb servers, and stops them after the test."""
    servers = []

    def start(table):
        servers.append(reverb.Server([table], port=None))
        return reverb.Client(f"localhost:{servers[-1].port}")

    yield start
    for server in servers:
        server.stop()


def sampled(client, count):
    """Returns the data of so many items of the table, in its order."""
    dataset = reverb.TrajectoryDataset.from_table_signature(
        client.server_address, TABLE, max_in_flight_samples_per_worker=1, rate_limiter_timeout_ms=20_000
    )
    return [sample.data for sample in dataset.take(count).as_numpy_iterator()]


def any_bits(tree, seed):
    """Returns a state of random bits: every float may be there, NaN, inf and subnormal ones too."""
    rng = np.random.default_rng(seed)

    def fill(leaf):
        if leaf.dtype == np.bool_:
            return rng.random(leaf.shape) < 0.5
        return np.frombuffer(rng.bytes(leaf.nbytes), leaf.dtype).reshape(leaf.shape)

    return jax.tree.map(fill, tree)


def leaf_paths(state):
    return [path for path, _ in jax.tree_util.tree_flatten_with_path(state)[0]]


@pytest.mark.parametrize("name", STATEFUL)
def test_states_survive_bit_for_bit(name, serve):
    core = CORES[name]
    states = [any_bits(jax.tree.map(np.asarray, core.initial_state()), seed) for seed in range(NUM_STEPS)]
    signature = jax.tree.map(lambda leaf: tf.TensorSpec((NUM_STEPS, *leaf.shape), leaf.dtype), states[0])
    client = serve(reverb.Table.queue(TABLE, 10, signature=signature))
    with client.trajectory_writer(NUM_STEPS) as writer:
        for state in states:
            writer.append(state)
        writer.create_item(TABLE, 1.0, tree.map_structure(lambda column: column[:], writer.history))
        writer.flush()
    (got,) = sampled(client, 1)
    if isinstance(core, HaikuCore):  # whose module may have a NamedTuple: that comes back as another class
        assert leaf_paths(got) == leaf_paths(states[0])
    else:
        assert jax.tree.structure(got) == jax.tree.structure(states[0])
    for t, state in enumerate(states):
        for actual, expected in zip(jax.tree.leaves(got), jax.tree.leaves(state), strict=True):
            assert actual.dtype == expected.dtype
            assert actual[t].tobytes() == expected.tobytes()
    inputs = np.ones(INPUT_SIZE, np.float32)
    core.step(random_params(core, INPUT_SIZE), inputs, jax.tree.map(lambda leaf: leaf[0], got))


def make_flagged(*, is_flagged=True):
    environment = wrappers.SinglePrecisionWrapper(
        as_dm_env(make_environment("memory_chain", memory_length=4), seed=0)
    )
    return IsFirstWrapper(environment) if is_flagged else environment


def replayed(core, serve, *, is_flagged):
    """Returns the logits of IMPALA's actor, and those of its learner on the replayed sequences.

    Acme's own builder makes table, adder, actor and learner; its adder goes on across episodes.
    """
    environment = make_flagged(is_flagged=is_flagged)
    spec = specs.make_environment_spec(environment)
    networks = make_impala_networks(spec, core)
    # So large a batch, since the table takes no more sequences than that before one is sampled.
    config = impala.IMPALAConfig(batch_size=2 * NUM_SEQUENCES, sequence_length=SEQUENCE_LENGTH)
    builder = impala_builder.IMPALABuilder(
        config, networks.initial_state_fn({}), logger_fn=loggers.NoOpLogger
    )
    (table,) = builder.make_replay_tables(spec)
    client = serve(table)
    learner = builder.make_learner(jax.random.PRNGKey(0), networks, dataset=iter(()))
    actor = builder.make_actor(
        jax.random.PRNGKey(1), networks, builder.make_adder(client), variable_source=learner
    )
    loop = acme.EnvironmentLoop(
        environment, TimeLimit(actor, seconds=60), logger=loggers.NoOpLogger(), should_update=False
    )
    loop.run(num_steps=SEQUENCE_LENGTH * (NUM_SEQUENCES + 1))
    (params,) = learner.get_variables([""])
    unroll = jax.jit(networks.unroll_fn)
    for data in sampled(client, NUM_SEQUENCES):
        assert data.start_of_episode.sum() >= 3  # it crosses episodes
        first_state = jax.tree.map(lambda leaf: leaf[0], data.extras["core_state"])
        (logits, _), _ = unroll(params, data.observation, first_state)
        # No action is taken at the end of an episode: the adder writes zeros in the place of its logits.
        acted = np.any(data.extras["logits"] != 0, axis=-1)
        assert acted.sum() >= SEQUENCE_LENGTH // 2
        yield data.extras["logits"][acted], logits[acted]


def largest_difference(pairs):
    return max(float(np.abs(actor - learner).max()) for actor, learner in pairs)


@pytest.mark.parametrize("name", STATEFUL)
def test_the_learner_sees_the_actors_logits_across_episodes(name, serve):
    assert largest_difference(replayed(CORES[name], serve, is_flagged=True)) < 1e-5


@pytest.mark.parametrize("name", ["lstm", "attention_short_window", "s5"])
def test_without_the_flag_it_does_not(name, serve):
    assert largest_difference(replayed(CORES[name], serve, is_flagged=False)) > 1e-3


def test_a_flag_comes_back_as_it_was_written(serve):
    """And beside it Acme's own mark of where an episode starts, which no network sees."""
    environment = make_flagged()
    spec = specs.make_environment_spec(environment)
    signature = adders.SequenceAdder.signature(spec, sequence_length=SEQUENCE_LENGTH)
    client = serve(reverb.Table.queue(TABLE, 10, signature=signature))
    adder = adders.SequenceAdder(
        client, SEQUENCE_LENGTH, SEQUENCE_LENGTH, end_of_episode_behavior=adders.EndBehavior.CONTINUE
    )
    for _ in range(NUM_SEQUENCES):
        timestep = environment.reset()
        adder.add_first(timestep)
        while not timestep.last():
            timestep = environment.step(0)
            adder.add(np.int32(0), timestep)
    (data,) = sampled(client, 1)
    assert type(data.observation)._fields == FlaggedObservation._fields
    assert data.observation.is_first.dtype == np.bool_
    np.testing.assert_array_equal(data.observation.is_first, data.start_of_episode)
    assert data.observation.is_first.sum() >= 3
