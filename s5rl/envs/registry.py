"""Environments by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import dm_env

from s5rl.envs.base import JaxEnvironment
from s5rl.envs.batched import BatchedEnvironment
from s5rl.envs.bsuite import bsuite_ids, make_bsuite
from s5rl.envs.distracted_cue import DistractedCue
from s5rl.envs.dm_control import dm_control_tasks, make_dm_control
from s5rl.envs.memory_chain import MemoryChain
from s5rl.envs.mujoco_batch import ProjectedDmControlBatch
from s5rl.envs.names import unknown_name
from s5rl.envs.popgym.names import ALIASES, ENVIRONMENTS, make_popgym
from s5rl.envs.projected import HELD_OUT_TASKS, TRAINING_TASKS

_Maker = Callable[..., JaxEnvironment | BatchedEnvironment | dm_env.Environment]

_PROJECTED: dict[str, _Maker] = {
    "projected_dm_control": ProjectedDmControlBatch,
    "projected_dm_control/train": partial(ProjectedDmControlBatch, TRAINING_TASKS),
    "projected_dm_control/test": partial(ProjectedDmControlBatch, HELD_OUT_TASKS),
}
_DIAGNOSTICS: dict[str, _Maker] = {"memory_chain": MemoryChain, "distracted_cue": DistractedCue}
_ENVIRONMENTS: dict[str, _Maker] = {**_DIAGNOSTICS, **_PROJECTED}
_FAMILIES: dict[str, _Maker] = {
    "bsuite/": make_bsuite,
    "dm_control/": make_dm_control,
    "popgym/": make_popgym,
}
"""By prefix; the rest of the name is the first argument."""


def make_environment(name: str, **options: Any) -> JaxEnvironment | BatchedEnvironment | dm_env.Environment:
    """Returns the environment of a name.

    Args:
      name: "memory_chain" or "distracted_cue"; "bsuite/" and a bsuite id, such as "bsuite/memory_len/22";
        "popgym/" and a name of POPGym, such as "popgym/RepeatPreviousHard"; "dm_control/" and a task, such as
        "dm_control/cartpole/swingup"; or "projected_dm_control/train", "projected_dm_control/test", or
        "projected_dm_control" with `tasks=[...]`, which are batches of `num_envs=...`.
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
    """Returns the names that `make_environment` takes, but for aliases.

    Those of bsuite and of dm_control are among them where these are installed.
    """
    tasks = dm_control_tasks()
    return [
        *_DIAGNOSTICS,
        *(f"popgym/{member}" for member in ENVIRONMENTS),
        *(f"bsuite/{bsuite_id}" for bsuite_id in bsuite_ids()),
        *(f"dm_control/{task}" for task in tasks),
        *(_PROJECTED if tasks else ()),
    ]
