"""`train`: an agent and an environment in, a trained agent out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias, final

import dm_env
import jax
import numpy as np

from s5rl.agents import Agent, AgentState
from s5rl.envs import BatchedEnvironment, DmEnvBatch, JaxEnvironment
from s5rl.training.compiled_loop import run_compiled
from s5rl.training.host_loop import run_on_host
from s5rl.training.keys import check_seed
from s5rl.training.metrics import Columns
from s5rl.types import EnvironmentSpec
from s5rl.validation import check_positive

TrainingEnvironment: TypeAlias = (
    JaxEnvironment | BatchedEnvironment | dm_env.Environment | Sequence[dm_env.Environment]
)


@final
@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What training leaves behind.

    Attributes:
      agent: the agent, bound to the environment.
      state: what it learned; `state.params` are the parameters. With several seeds every leaf has a leading
        seed axis.
      metrics: columns by name, one row an update, [updates] or [seeds, updates]: `step` (environment steps
        until then), `steps`, `episodes`, `episode_return`, `episode_length`, and those of the algorithm.
    """

    agent: Agent
    state: AgentState
    metrics: Columns

    @property
    def num_seeds(self) -> int | None:
        """Number of seeds, None where there is no seed axis."""
        return self.metrics["step"].shape[0] if self.metrics["step"].ndim == 2 else None

    def seed(self, index: int) -> TrainResult:
        """Returns the result of one of several seeds.

        Args:
          index: which one, from 0.

        Raises:
          ValueError: there is no seed axis, or the index is beyond it.
        """
        if self.num_seeds is None or not 0 <= index < self.num_seeds:
            raise ValueError(
                f"index must be that of one of {self.num_seeds or 'several'} seeds, got {index}."
            )
        return TrainResult(
            agent=self.agent,
            state=jax.tree.map(lambda leaf: leaf[index], self.state),
            metrics={name: column[index] for name, column in self.metrics.items()},
        )


def train(
    agent: Agent,
    environment: TrainingEnvironment,
    num_steps: int,
    seed: int = 0,
    *,
    num_seeds: int = 1,
    num_envs: int | None = None,
    on_chunk: Callable[[int, Columns], None] | None = None,
) -> TrainResult:
    """Trains an agent.

    A JaxEnvironment is trained on in one compiled program; every other environment is stepped on the host,
    with the same agent. Training ends after ceil(num_steps / (num_envs * unroll_length)) updates; slots
    behind the end of an episode count there, so that slightly fewer environment steps are done.

    Args:
      agent: bound to the environment, or not bound yet.
      environment: a JaxEnvironment, a BatchedEnvironment, a dm_env.Environment or a list of those.
      num_steps: number of slots over all environments; the same for each seed.
      seed: of everything random in the run, but for environments on the host, which have their own.
      num_seeds: number of runs under vmap, with seeds seed, seed + 1, ...; only with a JaxEnvironment.
      num_envs: number of environments; None for the config's. Environments on the host bring their own
        number, whatever the config says.
      on_chunk: called from time to time with the number of updates done and the metrics since the last call.

    Returns:
      The bound agent, its state, and the metrics.

    Raises:
      TypeError: the environment is none of these.
      ValueError: an argument is out of its range, or does not go with this environment.
    """
    check_positive(num_steps=num_steps, num_seeds=num_seeds)
    check_seed(seed)
    check_seed(seed + num_seeds - 1)
    if isinstance(environment, JaxEnvironment):
        num_envs = agent.config.num_envs if num_envs is None else num_envs
        check_positive(num_envs=num_envs)
        agent = agent.bind(EnvironmentSpec.from_environment(environment))
        state, metrics = run_compiled(
            agent,
            environment,
            num_updates=_num_updates(agent, num_steps, num_envs),
            num_envs=num_envs,
            seeds=np.asarray(seed if num_seeds == 1 else seed + np.arange(num_seeds)),
            on_chunk=on_chunk,
        )
    else:
        batch = as_batch(environment)
        if num_seeds != 1:
            raise ValueError(
                f"num_seeds must be 1 on host environments, got {num_seeds}: start several runs."
            )
        if num_envs not in (None, batch.num_envs):
            raise ValueError(
                f"num_envs must be None or {batch.num_envs}, the number of those given, got {num_envs}."
            )
        agent = agent.bind(EnvironmentSpec.from_environment(batch))
        state, metrics = run_on_host(
            agent,
            batch,
            num_updates=_num_updates(agent, num_steps, batch.num_envs),
            seed=seed,
            on_chunk=on_chunk,
        )
    # Counted on the host: a long run has more steps than an int32 holds.
    return TrainResult(
        agent, state, {"step": np.cumsum(metrics["steps"], axis=-1, dtype=np.int64), **metrics}
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


def _num_updates(agent: Agent, num_steps: int, num_envs: int) -> int:
    return math.ceil(num_steps / (num_envs * agent.config.unroll_length))
