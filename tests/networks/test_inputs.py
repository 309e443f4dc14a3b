"""What the network sees beside the observation: what popgym's wrappers show, and nothing of old episodes."""

from __future__ import annotations

import warnings

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from s5rl.envs import make_environment
from s5rl.networks import NetworkInputs, flatten_observation
from s5rl.types import ActorState, EnvironmentSpec, Trajectory

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import gymnasium
    from popgym import envs, wrappers

FIRST, MID, LAST = (int(step_type) for step_type in dm_env.StepType)


def inputs(action_spec, previous_action=True, previous_reward=True, is_first=True):
    spec = EnvironmentSpec(specs.Array((2,), np.float32), action_spec)
    return NetworkInputs(spec, previous_action, previous_reward, is_first)


@pytest.mark.parametrize("flags", list(np.ndindex(2, 2, 2)))
def test_what_is_seen_has_the_nest_of_its_spec(flags):
    chosen = inputs(specs.BoundedArray((3,), np.int32, 0, 4), *map(bool, flags))
    timestep = dm_env.TimeStep(jnp.full(5, MID), jnp.ones(5), jnp.ones(5), jnp.zeros((5, 2)))
    seen = chosen.of_timestep(timestep, chosen.initial_action(5)).observation
    assert jax.tree.structure(seen) == jax.tree.structure(chosen.observation_spec)
    jax.tree.map(lambda spec, leaf: spec.validate(np.asarray(leaf[0])), chosen.observation_spec, seen)
    if not any(flags):
        assert seen is timestep.observation
        assert chosen.observation_spec is chosen.environment_spec.observation


@pytest.mark.parametrize(
    ("spec", "space"),
    [
        (specs.DiscreteArray(3), gymnasium.spaces.Discrete(3)),
        (specs.BoundedArray((), np.int32, 2, 4), gymnasium.spaces.Discrete(3, start=2)),
        (specs.BoundedArray((2,), np.int32, 0, [3, 5]), gymnasium.spaces.MultiDiscrete([4, 6])),
        (specs.BoundedArray((2,), np.float32, -1.0, 1.0), gymnasium.spaces.Box(-1.0, 1.0, (2,))),
        # Zero is in one element and not in the other one: then it is no action.
        (
            specs.BoundedArray((2,), np.float32, [-1.0, 0.5], 1.0),
            gymnasium.spaces.Box(np.float32([-1.0, 0.5]), np.float32([1.0, 1.0])),
        ),
        (specs.BoundedArray((1,), np.float32, -2.0, -1.0), gymnasium.spaces.Box(-2.0, -1.0, (1,))),
    ],
    ids=["discrete", "from 2", "multi-discrete", "box", "box without zero in one element", "negative box"],
)
def test_the_null_action_is_that_of_popgym(spec, space):
    expected = wrappers.PreviousAction.get_null_action(space)
    null = inputs(spec).initial_action()
    assert null.dtype == spec.dtype
    np.testing.assert_array_equal(null, expected)
    spec.validate(np.asarray(null))
    np.testing.assert_array_equal(inputs(spec).initial_action(4), np.stack([expected] * 4))


def deck(environment):
    return {"deck": environment.deck.idx, "is_decided": True, "time": 0}


def board(environment):
    return {"board": environment.board, "guesses": environment.guesses, "hits": 0, "time": 0}


@pytest.mark.parametrize(
    ("name", "hidden"),
    [("RepeatPreviousEasy", deck), ("AutoencodeEasy", deck), ("BattleshipEasy", board)],
)
def test_popgyms_wrappers_show_the_same(name, hidden):
    """Over the end of an episode: two of popgym's, and the stream from the same hidden states and actions."""
    environment = make_environment(f"popgym/{name}")
    spec = EnvironmentSpec.from_environment(environment)
    oracle = wrappers.Antialias(wrappers.PreviousAction(getattr(envs, name)()))
    oracle.action_space.seed(0)
    step = jax.jit(environment.step)
    expected, timesteps, actions = [], [], []
    for seed in range(2):
        seen, _ = oracle.reset(seed=seed)
        state = environment.state_from(**hidden(oracle.unwrapped))
        timestep = environment.begin(state)
        expected.append(seen)
        timesteps.append(timestep)
        while not timestep.last():
            actions.append(oracle.action_space.sample())
            seen, *_ = oracle.step(actions[-1])
            state, timestep = step(state, jnp.asarray(actions[-1], jnp.int32))
            expected.append(seen)
            timesteps.append(timestep)
        actions.append(np.ones_like(actions[-1]))  # of the dead slot: not the null action

    chosen = NetworkInputs(spec, previous_action=True, previous_reward=False, is_first=True)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves)[:, None], *timesteps)
    sent = jnp.asarray(np.stack(actions[:-1]), jnp.int32)[:, None]
    # What an actor would carry here led into the end of an older episode.
    initial_state = ActorState((), jnp.ones_like(sent[-1]))
    learned = chosen.of_trajectory(Trajectory(stacked, sent, (), initial_state)).observation
    previous_action = initial_state.previous_action
    for t, nest in enumerate(expected):
        acted = chosen.of_timestep(
            jax.tree.map(lambda leaf, t=t: leaf[t], stacked), previous_action
        ).observation
        leaves = jax.tree.leaves(nest)
        for leaf, here, there in zip(leaves, jax.tree.leaves(acted), jax.tree.leaves(learned), strict=True):
            np.testing.assert_array_equal(here[0], leaf)
            np.testing.assert_array_equal(there[t, 0], leaf)
        flat = gymnasium.spaces.utils.flatten(oracle.observation_space, nest)
        np.testing.assert_array_equal(flatten_observation(chosen.observation_spec, acted)[0], flat)
        previous_action = jnp.asarray(actions[t], jnp.int32)[None]


def test_nothing_leaks_over_an_auto_reset():
    """Written out by hand, for an action that cannot be zero and windows that start anywhere."""
    chosen = inputs(specs.BoundedArray((), np.int32, 1, 9))
    timesteps = dm_env.TimeStep(
        step_type=jnp.asarray([[MID, FIRST], [LAST, MID], [FIRST, LAST], [MID, FIRST]]),
        reward=jnp.asarray([[0.5, 0.0], [0.25, 2.0], [0.0, 3.0], [4.0, 0.0]]),
        discount=jnp.ones((4, 2)),
        observation=jnp.zeros((4, 2, 2)),
    )
    actions = jnp.asarray([[2, 3], [4, 5], [6, 7]])  # 4 and 7 fill dead slots
    trajectory = Trajectory(timesteps, actions, (), ActorState((), jnp.asarray([8, 9])))
    _, previous_action, previous_reward, is_first = chosen.of_trajectory(trajectory).observation
    np.testing.assert_array_equal(previous_action, [[8, 1], [2, 3], [1, 5], [6, 1]])
    np.testing.assert_array_equal(previous_reward, timesteps.reward)
    np.testing.assert_array_equal(is_first, [[0, 1], [0, 0], [1, 0], [0, 1]])
