"""What can be trained and evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import dm_env

from s5rl.envs import BatchedEnvironment, DmEnvBatch, JaxEnvironment

TrainingEnvironment: TypeAlias = (
    JaxEnvironment | BatchedEnvironment | dm_env.Environment | Sequence[dm_env.Environment]
)


def as_batch(
    environment: BatchedEnvironment | dm_env.Environment | Sequence[dm_env.Environment],
) -> BatchedEnvironment:
    """Returns any host environment as a BatchedEnvironment.

    Raises:
      TypeError: it is no environment.
    """
    if isinstance(environment, BatchedEnvironment):
        return environment
    members = [environment] if isinstance(environment, dm_env.Environment) else environment
    if not isinstance(members, list | tuple) or not all(isinstance(e, dm_env.Environment) for e in members):
        raise TypeError(
            "environment must be a JaxEnvironment, a BatchedEnvironment, a dm_env.Environment or a list of "
            f"those, got {environment!r}."
        )
    return DmEnvBatch(members)
