"""The 48 environments of POPGym by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from s5rl.envs.names import unknown_name
from s5rl.envs.popgym.autoencode import Autoencode
from s5rl.envs.popgym.base import PopgymEnvironment
from s5rl.envs.popgym.battleship import Battleship
from s5rl.envs.popgym.cart_pole import CartPole
from s5rl.envs.popgym.concentration import Concentration
from s5rl.envs.popgym.count_recall import CountRecall
from s5rl.envs.popgym.higher_lower import HigherLower
from s5rl.envs.popgym.labyrinth import LabyrinthEscape, LabyrinthExplore
from s5rl.envs.popgym.mine_sweeper import MineSweeper
from s5rl.envs.popgym.multiarmed_bandit import MultiarmedBandit
from s5rl.envs.popgym.noise import Noisy
from s5rl.envs.popgym.pendulum import Pendulum
from s5rl.envs.popgym.repeat_first import RepeatFirst
from s5rl.envs.popgym.repeat_previous import RepeatPrevious

DIFFICULTIES = ("Easy", "Medium", "Hard")

_FAMILIES: dict[str, Iterable[PopgymEnvironment]] = {
    "Autoencode": (Autoencode(num_decks) for num_decks in (1, 2, 3)),
    "Battleship": (Battleship(board_size) for board_size in (8, 10, 12)),
    "Concentration": (Concentration(1, "colours"), Concentration(2, "colours"), Concentration(1, "ranks")),
    "CountRecall": (CountRecall(1, "colours"), CountRecall(2, "suits"), CountRecall(4, "ranks")),
    "HigherLower": (HigherLower(num_decks) for num_decks in (1, 2, 3)),
    "LabyrinthEscape": (LabyrinthEscape(size) for size in (5, 7, 9)),
    "LabyrinthExplore": (LabyrinthExplore(size) for size in (5, 7, 9)),
    "MineSweeper": (MineSweeper(4, 2), MineSweeper(6, 6), MineSweeper(8, 10)),
    "MultiarmedBandit": (MultiarmedBandit(10, 200), MultiarmedBandit(20, 400), MultiarmedBandit(30, 600)),
    "NoisyPositionOnlyCartPole": (Noisy(CartPole(), sigma) for sigma in (0.1, 0.2, 0.3)),
    "NoisyPositionOnlyPendulum": (Noisy(Pendulum(), sigma) for sigma in (0.1, 0.2, 0.3)),
    "PositionOnlyCartPole": (CartPole(length) for length in (200, 400, 600)),
    "PositionOnlyPendulum": (Pendulum(length) for length in (200, 150, 100)),
    "RepeatFirst": (RepeatFirst(num_decks) for num_decks in (1, 8, 16)),
    "RepeatPrevious": (RepeatPrevious(1, 4), RepeatPrevious(2, 32), RepeatPrevious(3, 64)),
    "VelocityOnlyCartPole": (CartPole(length, observed="velocity") for length in (200, 400, 600)),
}

ENVIRONMENTS: dict[str, PopgymEnvironment] = {
    family + difficulty: environment
    for family, environments in _FAMILIES.items()
    for difficulty, environment in zip(DIFFICULTIES, environments, strict=True)
}
"""By popgym's name."""

ALIASES: dict[str, str] = {
    **{name.replace("PositionOnly", "Stateless"): name for name in ENVIRONMENTS if "PositionOnly" in name},
    **{
        name.replace("CartPole", "Cartpole"): name for name in ENVIRONMENTS if name.startswith("VelocityOnly")
    },
}
"""Other names: those of the paper's tables, and the ids of popgym, which spell "Cartpole" in one family."""


def make_popgym(name: str, **options: Any) -> PopgymEnvironment:
    """Returns an environment of POPGym.

    Args:
      name: popgym's or the paper's, with its difficulty, such as "RepeatPreviousHard" or
        "StatelessCartPoleEasy".
      **options: settings of the environment other than those of the difficulty, such as
        `paper_compatible=True` of RepeatPrevious.

    Raises:
      TypeError: options that the environment does not take.
      ValueError: an unknown name, or options out of range.
    """
    name = ALIASES.get(name, name)
    if name not in ENVIRONMENTS:
        raise unknown_name("environment of POPGym", name, [*ENVIRONMENTS, *ALIASES])
    environment: Any = ENVIRONMENTS[name]  # each is a dataclass, which the type does not say
    return dataclasses.replace(environment, **options)
