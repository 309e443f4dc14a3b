"""All 48 environments of POPGym against the real popgym, step for step."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import popgym_policies as policies
import pytest
from popgym_oracle import CLASSES, Episode, assert_same, play, replay, scripted, state_at

from s5rl.compat import enable_x64
from s5rl.envs.popgym import ENVIRONMENTS

NAMES = sorted(CLASSES)
PHYSICAL = [
    name for name in NAMES if name.endswith(("Easy", "Medium", "Hard")) and ("Pole" in name or "Pend" in name)
]
PLAYS = [
    (policies.at_random, 1),
    (policies.at_random, 2),
    (policies.winning, 3),
    (policies.winning, 4),
    (policies.losing, 5),
    (policies.smallest, 6),
    (policies.largest, 7),
    (policies.alternating, 8),
]


@functools.cache
def episodes_of(name: str) -> list[Episode]:
    extra = [(policies.stepping_on_a_mine, 9)] if name.startswith("Mine") else []
    return [play(name, policy, seed) for policy, seed in PLAYS + extra]


def row(timesteps, index):
    return jax.tree.map(lambda leaf: leaf[index], timesteps)


def test_all_48_are_there():
    assert len(NAMES) == 48
    assert sorted(ENVIRONMENTS) == NAMES


@pytest.mark.parametrize("name", [name for name in NAMES if name not in PHYSICAL])
def test_equals_popgym_step_for_step(name):
    episodes = episodes_of(name)
    timesteps = replay(ENVIRONMENTS[name], episodes)
    for index, episode in enumerate(episodes):
        assert episode.length <= ENVIRONMENTS[name].max_episode_length
        assert_same(name, row(timesteps, index), episode)


@pytest.mark.parametrize("name", PHYSICAL)
def test_equals_popgym_over_whole_episodes_in_float64(name):
    # A pole that is balanced for longer drifts apart in float64 too; the next test has those.
    episodes = [episode for episode in episodes_of(name) if episode.length <= 200]
    with enable_x64():
        timesteps = replay(ENVIRONMENTS[name], episodes)
    for index, episode in enumerate(episodes):
        assert_same(name, row(timesteps, index), episode)


@pytest.mark.parametrize("name", PHYSICAL)
def test_equals_popgym_from_each_state_in_float32(name):
    won = episodes_of(name)[2:4]
    assert {episode.length for episode in won} == {ENVIRONMENTS[name].max_episode_length}
    for episode in won:
        environment = scripted(ENVIRONMENTS[name], episode.draws[None])
        states = [
            state_at(environment, {"physics": physics, "time": time})
            for time, physics in enumerate(episode.physics[:-1])
        ]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        _, steps = jax.jit(jax.vmap(environment.step))(stacked, np.array(episode.actions))
        first = jax.tree.map(lambda leaf: leaf[None], environment.begin(states[0]))
        timesteps = jax.tree.map(lambda *leaves: np.concatenate(leaves), first, steps)
        assert_same(name, timesteps, episode)
