"""Environments by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dm_env

from s5rl.envs.base import JaxEnvironment
from s5rl.envs.bsuite import bsuite_ids, make_bsuite
from s5rl.envs.memory_chain import MemoryChain
from s5rl.envs.names import unknown_name
from s5rl.envs.popgym.names import ALIASES, ENVIRONMENTS, make_popgym

_ENVIRONMENTS: dict[str, Callable[..., JaxEnvironment | dm_env.Environment]] = {
    "memory_chain": MemoryChain,
}
_FAMILIES: dict[str, Callable[..., JaxEnvironment | dm_env.Environment]] = {
    "bsuite/": make_bsuite,
    "popgym/": make_popgym,
}
"""By prefix; the rest of the name is the first argument."""


def make_environment(name: str, **options: Any) -> JaxEnvironment | dm_env.Environment:
    """Returns the environment of a name.

    Args:
      name: "memory_chain"; "bsuite/" and a bsuite id, such as "bsuite/memory_len/22"; or "popgym/" and a
        name of POPGym, such as "popgym/RepeatPreviousHard".
      **options: arguments of the environment, such as `memory_length=64`.

    Raises:
      ImportError: the name belongs to an extra that is not installed.
      TypeError: options that the environment does not take.
      ValueError: an unknown name, or options out of range.
    """
    if name in _ENVIRONMENTS:
        return _ENVIRONMENTS[name](**options)
    family, slash, member = name.partition("/")
    if family + slash in _FAMILIES:
        return _FAMILIES[family + slash](member, **options)
    overview = [*_ENVIRONMENTS, *_FAMILIES]
    popgym = [f"popgym/{member}" for member in (*ENVIRONMENTS, *ALIASES)]
    raise unknown_name("environment", name, [*overview, *popgym], overview)


def environment_names() -> list[str]:
    """Returns the names that `make_environment` takes, but for aliases; bsuite's where it is installed."""
    return [
        *_ENVIRONMENTS,
        *(f"popgym/{member}" for member in ENVIRONMENTS),
        *(f"bsuite/{bsuite_id}" for bsuite_id in bsuite_ids()),
    ]
