"""Faults planted into the environments of POPGym, each of which the comparison with popgym must notice."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from dm_env import specs
from popgym_oracle import assert_same, replay
from test_popgym import episodes_of, row

from s5rl.compat import enable_x64
from s5rl.envs.popgym import (
    ENVIRONMENTS,
    CartPole,
    Concentration,
    Pendulum,
    autoencode,
    battleship,
    cart_pole,
    deck,
    labyrinth,
    pendulum,
)


def is_noticed(name, environment):
    """Returns whether some episode differs from popgym's."""
    episodes = [episode for episode in episodes_of(name) if episode.length <= 200 or "Pole" not in name]
    with enable_x64():
        timesteps = replay(environment, episodes)
    for index, episode in enumerate(episodes):
        try:
            assert_same(name, row(timesteps, index), episode)
        except AssertionError:
            return True
    return False


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("RepeatPreviousEasy", {"k": 5}),  # a target one further back, a reward of another scale
        ("RepeatPreviousEasy", {"paper_compatible": True}),
        ("MultiarmedBanditEasy", {"episode_length": 201}),
        ("PositionOnlyCartPoleEasy", {"episode_length": 201}),
        ("PositionOnlyPendulumHard", {"episode_length": 101}),
        ("NoisyPositionOnlyPendulumEasy", {"sigma": 0.1001}),
        ("MineSweeperEasy", {"num_mines": 3}),
        ("VelocityOnlyCartPoleEasy", {"observed": "position"}),
        ("PositionOnlyCartPoleEasy", {}),
        ("NoisyPositionOnlyPendulumEasy", {}),
    ],
    ids=str,
)
def test_other_settings_are_noticed(name, settings):
    environment = dataclasses.replace(ENVIRONMENTS[name], **settings)
    assert is_noticed(name, environment) == bool(settings)


@pytest.mark.parametrize(
    ("name", "module", "constant", "value"),
    [
        ("AutoencodeEasy", autoencode, "PLAY", 1),
        ("BattleshipEasy", battleship, "NUM_SHIP_CELLS", 13),
        ("LabyrinthEscapeEasy", labyrinth, "MAX_STEPS", 1025),
        ("LabyrinthEscapeEasy", labyrinth, "NO_ACTION", 0),
        ("LabyrinthExploreEasy", labyrinth, "MOVES", labyrinth.MOVES[::-1]),
        ("LabyrinthExploreEasy", labyrinth, "FREE", 2),
        ("PositionOnlyCartPoleEasy", cart_pole, "MAX_THETA", 0.22),
        ("PositionOnlyCartPoleEasy", cart_pole, "FORCE", 10.5),
        ("PositionOnlyPendulumEasy", pendulum, "MAX_SPEED", 7.0),
        ("PositionOnlyPendulumEasy", pendulum, "HALF_MAX_COST", pendulum.HALF_MAX_COST * 1.001),
        ("PositionOnlyPendulumEasy", pendulum, "MAX_TORQUE", 1.9),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_another_constant_is_noticed(monkeypatch, name, module, constant, value):
    monkeypatch.setattr(module, constant, value)
    assert is_noticed(name, ENVIRONMENTS[name])


@pytest.mark.parametrize("name", ["RepeatFirstEasy", "CountRecallEasy", "HigherLowerEasy", "AutoencodeEasy"])
def test_a_card_dealt_too_early_is_noticed(monkeypatch, name):
    right = deck.dealt
    monkeypatch.setattr(deck, "dealt", lambda cards, turn: right(cards, turn + 1))
    assert is_noticed(name, ENVIRONMENTS[name])


def test_a_longer_concentration_is_noticed(monkeypatch):
    monkeypatch.setattr(Concentration, "max_episode_length", property(lambda self: 105))
    assert is_noticed("ConcentrationEasy", ENVIRONMENTS["ConcentrationEasy"])


@pytest.mark.parametrize("cls", [CartPole, Pendulum])
def test_noise_that_is_not_clipped_is_noticed(monkeypatch, cls):
    name = f"NoisyPositionOnly{cls.__name__}Easy"
    wide = specs.BoundedArray((2,), np.float32, -100, 100)
    monkeypatch.setattr(cls, "observation_spec", lambda self: wide)
    assert is_noticed(name, ENVIRONMENTS[name])
