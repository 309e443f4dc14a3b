"""What is compiled where the environment is on the host: acting and learning, each on its own.

s5rl's host loop and its agents in Acme call these very functions, so that they agree bit for bit.
"""

from __future__ import annotations

import functools

import dm_env
import jax
import numpy as np

from s5rl.agents import Agent, AgentState
from s5rl.training.keys import slot_keys
from s5rl.training.layout import ROWS, ROWS_BEHIND_TIME, WHOLE, Layout
from s5rl.training.loop import NonFiniteError
from s5rl.types import ActorState, ActOutput, Array, Params, PRNGKey, Trajectory


@functools.partial(jax.jit, static_argnums=0)
def acting_params(agent: Agent, state: AgentState) -> Params:
    """Returns `agent.acting_params(state)`, compiled."""
    return agent.acting_params(state)


def act(
    agent: Agent,
    acting_params: Params,
    timestep: dm_env.TimeStep,
    memory: ActorState,
    acting_keys: PRNGKey,
    num_steps: np.ndarray,
) -> tuple[ActOutput, ActorState]:
    """Acts in a slot of B environments, dead or not.

    Args:
      agent: bound to the environment.
      acting_params: from `acting_params`.
      timestep: [B, ...] in numpy.
      memory: [B, ...] what the agent carries to it.
      acting_keys: [B] from `row_keys`.
      num_steps: int32 [B] real environment steps that each row has done.

    Returns:
      The actions, in numpy, with what learning needs of them; and what is carried to the next time step.

    """
    output, memory = _act(agent, acting_params, timestep, memory, acting_keys, num_steps)
    return output._replace(action=jax.device_get(output.action)), memory


def place_trajectory(layout: Layout, trajectory: Trajectory) -> Trajectory:
    """Puts the trajectory of this process onto the devices, beside those of the other processes.

    Args:
      layout: the devices that learn.
      trajectory: [T, B, ...] of the B environments of this process.
    """
    timesteps, actions, extras = layout.place_share(trajectory[:-1], ROWS_BEHIND_TIME)
    return Trajectory(timesteps, actions, extras, layout.place_share(trajectory.initial_state, ROWS))


@functools.partial(jax.jit, static_argnums=(0, 1))
def learn(
    agent: Agent, layout: Layout, state: AgentState, trajectory: Trajectory, key: PRNGKey
) -> tuple[AgentState, dict[str, Array]]:
    """Returns `agent.update(state, trajectory, key)`, compiled for the devices.

    Args:
      agent: bound to the environment.
      layout: the devices.
      state: whole on each of them.
      trajectory: from `place_trajectory`.
      key: a random key.
    """
    return layout.constrain(agent.update(state, trajectory, key), WHOLE)


def refuse_nan(timestep: dm_env.TimeStep, when: str) -> None:
    """Raises a NonFiniteError if an observation or a reward is NaN.

    Before an action that is NaN reaches an environment, whose complaint would not name the cause.

    Args:
      timestep: in numpy.
      when: for the message, such as "in update 1".
    """
    if any(np.isnan(leaf).any() for leaf in jax.tree.leaves((timestep.observation, timestep.reward))):
        raise NonFiniteError(f"the environment returned an observation or a reward that is NaN, {when}.")


def count_steps(num_steps: np.ndarray, timestep: dm_env.TimeStep) -> np.ndarray:
    """Returns the counts of real steps [B] after an action in `timestep`: in a dead slot there is none."""
    return num_steps + (timestep.step_type != int(dm_env.StepType.LAST))


@functools.partial(jax.jit, static_argnums=0)
def _act(
    agent: Agent,
    acting_params: Params,
    timestep: dm_env.TimeStep,
    memory: ActorState,
    acting_keys: PRNGKey,
    num_steps: Array,
) -> tuple[ActOutput, ActorState]:
    return agent.act(acting_params, timestep, memory, slot_keys(acting_keys, num_steps))
