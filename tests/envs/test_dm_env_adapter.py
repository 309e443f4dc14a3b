"""The adapters to and from dm_env."""

from __future__ import annotations

import collections

import dm_env
import jax
import numpy as np
import pytest
from dm_env import specs
from environments import (
    ENVIRONMENTS,
    RandomWalk,
    assert_equal,
    conformance,
    random_actions,
)

from s5rl.envs import (
    MemoryChain,
    advance_stream,
    as_dm_env,
    from_dm_env,
    make_bsuite,
    start_stream,
)

BSUITE_IDS = [
    "memory_len/0",
    "catch/0",
    "deep_sea/0",
    "cartpole/0",
    "bandit/0",
    "umbrella_length/0",
    "discounting_chain/0",
]


for _environment in ENVIRONMENTS:
    _name = f"Test{_environment}"
    globals()[_name] = conformance(_name, lambda e=_environment: as_dm_env(e, seed=0))
for _id in BSUITE_IDS:
    _name = f"TestBsuite {_id}"
    globals()[_name] = conformance(_name, lambda i=_id: make_bsuite(i))


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=str)
def test_walks_the_stream(environment):
    stream = jax.jit(start_stream, static_argnums=0)(environment, jax.random.key(4))
    adapted = as_dm_env(environment, seed=4)
    advance = jax.jit(advance_stream, static_argnums=0)
    spec = environment.observation_spec()
    timestep = adapted.reset()
    for seed in range(25):
        assert_equal(from_dm_env(timestep, spec), jax.device_get(stream.timestep))
        action = random_actions(environment.action_spec(), seed)
        timestep, stream = adapted.step(action), advance(environment, stream, action)


def test_converts_to_what_dm_env_promises():
    environment = as_dm_env(RandomWalk(), seed=np.int64(0))
    action = random_actions(environment.action_spec(), 0)
    first = environment.step(action)
    assert first.step_type is dm_env.StepType.FIRST
    assert (first.reward, first.discount) == (None, None)
    second = environment.step(action)
    assert {type(second.reward), type(second.discount)} == {float}
    assert isinstance(second.step_type, dm_env.StepType)
    assert {type(leaf) for leaf in jax.tree.leaves(second.observation)} == {np.ndarray}
    assert all(leaf.flags.writeable for leaf in jax.tree.leaves(second.observation))


def test_reset_in_an_episode_begins_the_next_one():
    environment = MemoryChain(5, num_bits=16)
    adapted = as_dm_env(environment, jax.random.key(2))
    for episode in range(3):
        state, _ = environment.reset(jax.random.fold_in(jax.random.key(2), episode))
        cue = 2 * np.asarray(state.context) - 1
        np.testing.assert_array_equal(adapted.reset().observation[0, 2:], cue)
        assert adapted.step(0).mid()


def test_integers_and_keys_seed_alike():
    by_seed, by_key = as_dm_env(RandomWalk(), 9), as_dm_env(RandomWalk(), jax.random.key(9))
    other = as_dm_env(RandomWalk(), 8)
    assert_equal(by_seed.reset().observation, by_key.reset().observation)
    assert (by_key.reset().observation["position"] != other.reset().observation["position"]).any()


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        ({"push": np.zeros(3, np.float32), "stay": 0}, ValueError, r"push.*got shape \(3,\)"),
        ({"push": np.zeros(2, np.float32), "stay": 0.5}, TypeError, "stay.*got dtype float64"),
        ({"push": np.zeros(2, np.float32), "stay": 2}, ValueError, r"bounds of.*stay.*got 2"),
        ({"push": np.zeros(2, np.float32), "stay": -1}, ValueError, r"bounds of.*stay.*got -1"),
        ({"push": np.zeros(2, np.float32), "stay": 2**40}, ValueError, "bounds of.*stay"),
        ({"push": np.array([0, 1.01]), "stay": 0}, ValueError, r"bounds of.*push.*got \[0.0, 1.01\]"),
        ({"push": np.array([0, np.nan]), "stay": 0}, ValueError, "bounds of.*push.*nan"),
        ({"push": np.zeros(2, np.float32)}, ValueError, "stay"),
    ],
)
def test_bad_actions_are_refused_and_change_nothing(action, error, message):
    environment, other = as_dm_env(RandomWalk(), 0), as_dm_env(RandomWalk(), 0)
    for started in (environment, other):
        started.reset()
    with pytest.raises(error, match=message):
        environment.step(action)
    good = random_actions(environment.action_spec(), 0)
    assert_equal(environment.step(good), other.step(good))


def test_behind_a_last_step_any_action_begins_an_episode():
    environment = as_dm_env(RandomWalk(), 0)
    environment.reset()
    while not environment.step(random_actions(environment.action_spec(), 0)).last():
        pass
    assert environment.step(None).first()


def test_from_dm_env_follows_the_nest_of_the_spec_in_silence(caplog):
    leaf = specs.Array((), np.float32)
    spec = collections.OrderedDict(b=leaf, a={"c": leaf})
    observation = {"a": {"c": np.float32(1)}, "b": np.float32(2)}
    converted = from_dm_env(dm_env.restart(observation), spec).observation
    assert jax.tree.structure(converted) == jax.tree.structure(spec)
    assert (converted["b"], converted["a"]["c"]) == (2, 1)
    assert caplog.records == []


def test_from_dm_env_fixes_types_and_copies():
    spec = {"a": specs.Array((2,), np.float32), "b": specs.Array((), np.uint8)}
    observation = {"a": np.zeros(2), "b": 3}
    first = from_dm_env(dm_env.restart(observation), spec)
    assert_equal(
        first,
        dm_env.TimeStep(
            np.array(0, np.int32),
            np.array(0, np.float32),
            np.array(1, np.float32),
            {"a": np.zeros(2, np.float32), "b": np.array(3, np.uint8)},
        ),
    )
    last = from_dm_env(dm_env.truncation(np.float64(0.5), observation, 0.25), spec)
    assert (last.step_type, last.reward, last.discount) == (2, 0.5, 0.25)
    assert last.last()

    shared = np.zeros(2, np.float32)
    converted = from_dm_env(dm_env.restart(shared), spec["a"])
    shared += 1
    np.testing.assert_array_equal(converted.observation, [0, 0])


@pytest.mark.parametrize("bad", [None, np.zeros(2)])
@pytest.mark.parametrize("name", ["reward", "discount"])
def test_from_dm_env_refuses_what_is_no_scalar(name, bad):
    timestep = dm_env.transition(0.0, np.zeros(1))._replace(**{name: bad})
    with pytest.raises(ValueError, match=f"{name} of a MID or LAST step must be a scalar, got"):
        from_dm_env(timestep, specs.Array((1,), np.float32))
