"""Training on environments that live on the host: any dm_env, or a batched backend."""

from __future__ import annotations

import functools
from collections.abc import Callable

import dm_env
import jax
import jax.numpy as jnp
import numpy as np

from s5rl.agents import Agent, AgentState
from s5rl.envs import BatchedEnvironment
from s5rl.training.keys import row_keys, run_keys, slot_keys
from s5rl.training.metrics import Columns, EpisodeTracker, start_tracker, track_episodes
from s5rl.types import ActorState, ActOutput, Array, Params, PRNGKey, PyTree, Trajectory


def run_on_host(
    agent: Agent,
    environment: BatchedEnvironment,
    *,
    num_updates: int,
    seed: int,
    on_chunk: Callable[[int, Columns], None] | None,
) -> tuple[AgentState, Columns]:
    """Trains; see `s5rl.training.train`.

    Args:
      agent: bound to the environment.
      environment: B environments.
      num_updates: number of updates.
      seed: of parameters and actions; the environments have seeds of their own.
      on_chunk: called after each update with the number of updates done and the update's metrics.

    Returns:
      The agent's state and the metrics.
    """
    num_envs = environment.num_envs
    keys = run_keys(seed)
    acting_keys = row_keys(keys.acting, num_envs)
    state = agent.init(keys.init)
    tracker = start_tracker(num_envs)
    memory = agent.initial_actor_state(num_envs)
    num_steps = np.zeros(num_envs, np.int32)
    timestep = environment.reset()
    rows: list[dict[str, np.ndarray]] = []
    for index in range(num_updates):
        params, initial_memory = _acting_params(agent, state), memory
        timesteps, actions, extras = [timestep], [], []
        for _ in range(agent.config.unroll_length):
            output, memory = _act(agent, params, timestep, memory, acting_keys, num_steps)
            action = jax.device_get(output.action)
            num_steps = num_steps + (timestep.step_type != int(dm_env.StepType.LAST))
            timestep = environment.step(action)
            timesteps.append(timestep)
            actions.append(action)
            extras.append(output.extras)
        trajectory = Trajectory(
            _stack(timesteps), _stack(actions), _stack(jax.device_get(extras)), initial_memory
        )
        key = jax.random.fold_in(keys.updates, index)
        state, tracker, metrics = _update(agent, state, tracker, trajectory, key)
        rows.append(jax.device_get(metrics))
        if on_chunk is not None:
            on_chunk(index + 1, {name: np.asarray(value)[None] for name, value in rows[-1].items()})
    return state, {name: np.stack([row[name] for row in rows]) for name in rows[0]}


@functools.partial(jax.jit, static_argnums=0)
def _acting_params(agent: Agent, state: AgentState) -> Params:
    return agent.acting_params(state)


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


@functools.partial(jax.jit, static_argnums=0)
def _update(
    agent: Agent, state: AgentState, tracker: EpisodeTracker, trajectory: Trajectory, key: PRNGKey
) -> tuple[AgentState, EpisodeTracker, dict[str, Array]]:
    state, metrics = agent.update(state, trajectory, key)
    tracker, episode_metrics = track_episodes(tracker, trajectory.timesteps)
    return state, tracker, {**episode_metrics, **metrics}


def _stack(trees: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *trees)
