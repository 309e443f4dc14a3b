"""`load_policy`: what a run has learned, to act with, without the code that trained it."""

from __future__ import annotations

import functools
import os
from typing import Any, NamedTuple, final

import dm_env
import jax
import jax.numpy as jnp
import numpy as np

from s5rl.agents import Agent
from s5rl.cores import RecurrentCore
from s5rl.training.saved import SavedRun, load_run
from s5rl.types import Action, ActorState, EnvironmentSpec, Params, PRNGKey


class PolicyStep(NamedTuple):
    """What a policy returns for one time step."""

    action: Action
    """In numpy, in the dtype and range of the action spec."""
    state: ActorState
    """For the next time step."""


@final
class Policy:
    """A trained agent that acts.

    Attributes:
      agent: bound to the specs of its environment.
      params: from `agent.acting_params`.
    """

    def __init__(self, agent: Agent, params: Params) -> None:
        """Takes an agent and its parameters.

        Args:
          agent: a bound one.
          params: from `agent.acting_params`.
        """
        self.agent, self.params = agent, params

    @property
    def environment_spec(self) -> EnvironmentSpec:
        """What the policy sees and does."""
        assert self.agent.environment_spec is not None
        return self.agent.environment_spec

    def initial_state(self, batch_size: int | None = None) -> ActorState:
        """Returns an empty memory, and the previous action where it is observed.

        Args:
          batch_size: number of environments; None for one without a batch axis.
        """
        return self.agent.initial_actor_state(batch_size)

    def step(self, timestep: dm_env.TimeStep, state: ActorState, key: PRNGKey | None = None) -> PolicyStep:
        """Acts once; forgets everything where the time step is FIRST.

        Args:
          timestep: of a dm_env.Environment, where FIRST steps have None, or in the convention of
            `s5rl.types`; leaves [...], or [B, ...] as the state has.
          state: from `initial_state` or the step before.
          key: draws the action; None for the most probable one.

        Returns:
          The action and the next state.
        """
        float_dtype = jnp.result_type(float)
        reward = 0.0 if timestep.reward is None else timestep.reward
        discount = 1.0 if timestep.discount is None else timestep.discount
        timestep = dm_env.TimeStep(
            step_type=np.asarray(timestep.step_type, np.int32),
            reward=np.asarray(reward, float_dtype),
            discount=np.asarray(discount, float_dtype),
            observation=jax.tree.map(
                lambda spec, value: np.asarray(value, spec.dtype),
                self.environment_spec.observation,
                timestep.observation,
            ),
        )
        action, state = _act(self.agent, key is None, self.params, timestep, state, key)
        return PolicyStep(jax.device_get(action), state)


def load_policy(
    directory: str | os.PathLike[str],
    *,
    core: RecurrentCore | None = None,
    seed: int | None = None,
    num_updates: int | None = None,
) -> Policy:
    """Returns the policy that a run has saved.

    Args:
      directory: that was given to `train`, or to `s5rl train`.
      core: the memory, where the stored one cannot be imported any more; None for the stored one.
      seed: which of the run's seeds; may be left out where there is one.
      num_updates: which checkpoint; None for the latest.

    Raises:
      RunDirectoryError: the folder holds no run.
      CheckpointError: there is no such checkpoint, it is damaged, or `core` does not fit it.
      LoadError: the agent cannot be imported any more.
      ValueError: the run has several seeds, and `seed` is none of them.
    """
    run = load_run(directory, core, num_updates)
    return Policy(run.agent, run.agent.acting_params(run.of_seed(seed_index(run, seed))))


def seed_index(run: SavedRun, seed: int | None) -> int:
    """Returns which of a run's seeds is meant.

    Raises:
      ValueError: there are several, and none is named, or the one that is named is none of them.
    """
    if seed is None and len(run.seeds) == 1:
        return 0
    if seed not in run.seeds:
        raise ValueError(f"seed must be one of the run's {', '.join(map(str, run.seeds))}, got {seed}.")
    return run.seeds.index(seed)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _act(
    agent: Agent,
    evaluation: bool,
    params: Params,
    timestep: dm_env.TimeStep,
    state: ActorState,
    key: PRNGKey | None,
) -> tuple[Any, ActorState]:
    # Where the most probable action is taken, the key is not used.
    key = jax.random.key(0) if key is None else key
    output, state = agent.act(params, timestep, state, key, evaluation=evaluation)
    return output.action, state
