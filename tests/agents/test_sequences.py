"""PPO on trajectories that are cut into sequences: the memories at the cuts, and what a cut changes."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents import ENVIRONMENT, OBSERVED, amid_episodes, small_agent, subject_of

from s5rl.agents.sequences import cut, join, minibatch_places, take_minibatch
from s5rl.conformance import WINDOWS
from s5rl.cores import GRUCore
from s5rl.types import EnvironmentSpec

# Episodes of 5 slots, so that from the beginning of the stream on each cut is at a FIRST step.
WHOLE = {"num_envs": 4, "unroll_length": 10, "num_minibatches": 1, "num_epochs": 1}
CUT = {**WHOLE, "sequence_length": 5}
KEY = jax.random.key(0)


def agent(**settings):
    unbound = small_agent("ppo", GRUCore(4), **OBSERVED, **settings)
    return unbound.bind(EnvironmentSpec.from_environment(ENVIRONMENT))


@functools.cache
def subject():
    return subject_of("ppo", GRUCore(4), **OBSERVED, **WHOLE)


@functools.cache
def sequences():
    return jax.jit(agent(**CUT)._sequences)(subject().state.params, amid_episodes(subject()))


@functools.cache
def refreshed_states():
    return jax.jit(lambda params, sequences: agent(**CUT)._refreshed_states(params, sequences, 4))


def assert_close_trees(left, right):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_cut_is_joined_again():
    tree = {"a": jnp.arange(12 * 3).reshape(12, 3), "b": jnp.arange(12 * 3 * 2).reshape(12, 3, 2)}
    pieces = cut(tree, 4)
    for t, row in np.ndindex(12, 3):
        np.testing.assert_array_equal(pieces["b"][t % 4, 3 * row + t // 4], tree["b"][t, row])
    for left, right in zip(jax.tree.leaves(join(pieces, 3)), jax.tree.leaves(tree), strict=True):
        np.testing.assert_array_equal(left, right)


def test_memories_and_values_are_those_of_a_whole_unroll():
    state, trajectory = subject().state, amid_episodes(subject())
    whole = jax.jit(agent(**WHOLE)._sequences)(state.params, trajectory)
    before_cut = jax.tree.map(lambda leaf: leaf[:5], whole.seen)
    _, at_cut = jax.jit(agent(**WHOLE).network.unroll)(state.params, before_cut, whole.core_state)
    for first, later, both in zip(
        *(jax.tree.leaves(tree) for tree in (whole.core_state, at_cut, sequences().core_state)), strict=True
    ):
        np.testing.assert_array_equal(both[0::2], first)
        np.testing.assert_allclose(both[1::2], later, rtol=1e-5, atol=1e-6)
    assert_close_trees(join(sequences()._replace(core_state=()), 4), whole._replace(core_state=()))


def test_refreshed_memories_are_those_of_the_new_parameters():
    state, trajectory = subject().state, amid_episodes(subject())
    params = jax.tree.map(lambda leaf: 1.5 * leaf, state.params)
    refreshed = refreshed_states()(params, sequences())
    expected = jax.jit(agent(**CUT)._sequences)(params, trajectory).core_state
    assert_close_trees(refreshed, expected)
    old = jax.tree.leaves(sequences().core_state)[0]
    np.testing.assert_array_equal(jax.tree.leaves(refreshed)[0][0::2], old[0::2])
    assert not np.allclose(jax.tree.leaves(refreshed)[0][1::2], old[1::2])


def test_every_epoch_but_the_first_begins_with_a_refresh():
    settings = {**CUT, "num_epochs": 3, "learning_rate": 0.1}
    refreshing = agent(**settings, refresh_states=True)
    gradient_step = jax.jit(refreshing._gradient_step)

    def by_hand(is_refreshed):
        state, current = subject().state, sequences()
        for epoch in range(3):
            if epoch and is_refreshed:
                current = current._replace(core_state=refreshed_states()(state.params, current))
            (places,) = minibatch_places(jax.random.fold_in(KEY, epoch), 8, num_minibatches=1)
            state, _ = gradient_step(state, take_minibatch(current, places))
        return state

    got, _ = jax.jit(refreshing.update)(subject().state, amid_episodes(subject()), KEY)
    assert_close_trees(got, by_hand(is_refreshed=True))
    with pytest.raises(AssertionError):
        assert_close_trees(got, by_hand(is_refreshed=False))


def test_a_cut_at_the_beginning_of_an_episode_changes_nothing_and_one_within_ends_the_gradient():
    update_cut = jax.jit(agent(**CUT).update)
    for window, is_same in zip(WINDOWS, (True, False), strict=True):
        trajectory = subject().acted(window).trajectory
        whole, metrics = subject().update(subject().state, trajectory, KEY)
        in_pieces, metrics_of_pieces = update_cut(subject().state, trajectory, KEY)
        # All values are the same, wherever it is cut.
        for name in ("loss", "policy_loss", "value_loss", "entropy", "explained_variance"):
            np.testing.assert_allclose(metrics_of_pieces[name], metrics[name], rtol=1e-4, atol=1e-5)
        norms = metrics_of_pieces["gradient_norm"], metrics["gradient_norm"]
        assert np.allclose(*norms, rtol=1e-4) == is_same
        if is_same:
            assert_close_trees(in_pieces, whole)
