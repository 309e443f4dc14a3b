"""Training on a JaxEnvironment: acting, learning and resetting in one compiled program."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from s5rl.agents import Agent, AgentState
from s5rl.envs import JaxEnvironment
from s5rl.training.keys import RunKeys, run_keys
from s5rl.training.metrics import Columns, EpisodeTracker, start_tracker, track_episodes
from s5rl.training.rollout import Actors, rollout, start_actors
from s5rl.types import Array

SLOTS_BETWEEN_VISITS = 10_000
"""Of the host to a run: rare enough to cost nothing."""


class RunState(NamedTuple):
    """Everything that a run carries from update to update."""

    agent_state: AgentState
    actors: Actors
    tracker: EpisodeTracker
    keys: RunKeys
    num_updates: Array


def run_compiled(
    agent: Agent,
    environment: JaxEnvironment,
    *,
    num_updates: int,
    num_envs: int,
    seeds: np.ndarray,
    on_chunk: Callable[[int, Columns], None] | None,
) -> tuple[AgentState, Columns]:
    """Trains; see `s5rl.training.train`.

    Args:
      agent: bound to the environment.
      environment: the environment.
      num_updates: number of updates.
      num_envs: number of environments.
      seeds: [] for one run, [S] for several under vmap.
      on_chunk: called after each chunk with the number of updates done and the chunk's metrics.

    Returns:
      The agent's state and the metrics, with a leading axis [S] where seeds have one.
    """
    chunk_length = max(1, SLOTS_BETWEEN_VISITS // (num_envs * agent.config.unroll_length))
    if seeds.ndim:
        runs = [_start(agent, environment, num_envs, jnp.asarray(seed)) for seed in seeds]
        run, run_chunk = jax.tree.map(lambda *leaves: jnp.stack(leaves), *runs), _run_chunk_seeds
    else:
        run, run_chunk = _start(agent, environment, num_envs, jnp.asarray(seeds)), _run_chunk
        # A buffer may be donated once only, and some states begin with one array in two places.
        run = jax.tree.map(jnp.copy, run)
    chunks: list[Columns] = []
    for done in range(0, num_updates, chunk_length):
        length = min(chunk_length, num_updates - done)
        run, columns = run_chunk(agent, environment, chunk_length, run, length)
        chunks.append({name: column[..., :length] for name, column in jax.device_get(columns).items()})
        if on_chunk is not None:
            on_chunk(done + length, chunks[-1])
    metrics = {name: np.concatenate([chunk[name] for chunk in chunks], axis=-1) for name in chunks[0]}
    return run.agent_state, metrics


def _start(agent: Agent, environment: JaxEnvironment, num_envs: int, seed: Array) -> RunState:
    """Returns a run before its first update; not compiled, since that takes longer than to do it once."""
    keys = run_keys(seed)
    return RunState(
        agent_state=agent.init(keys.init),
        actors=start_actors(agent, environment, keys, num_envs),
        tracker=start_tracker(num_envs),
        keys=keys,
        num_updates=jnp.int32(0),
    )


def _update(agent: Agent, environment: JaxEnvironment, run: RunState) -> tuple[RunState, dict[str, Array]]:
    acting_params = agent.acting_params(run.agent_state)
    trajectory, actors = rollout(agent, environment, acting_params, run.actors, agent.config.unroll_length)
    key = jax.random.fold_in(run.keys.updates, run.num_updates)
    agent_state, metrics = agent.update(run.agent_state, trajectory, key)
    tracker, episode_metrics = track_episodes(run.tracker, trajectory.timesteps)
    run = RunState(agent_state, actors, tracker, run.keys, run.num_updates + 1)
    return run, {**episode_metrics, **metrics}


def _run_updates(
    agent: Agent, environment: JaxEnvironment, chunk_length: int, run: RunState, length: Array
) -> tuple[RunState, dict[str, Array]]:
    """Runs `length` updates, at most `chunk_length`; metrics are [chunk_length], the rest of them unused.

    The number of updates is data, so that the last, shorter chunk needs no compilation of its own.
    """
    _, shapes = jax.eval_shape(functools.partial(_update, agent, environment), run)
    columns = jax.tree.map(lambda shape: jnp.zeros(chunk_length, shape.dtype), shapes)

    def body(index: Array, carry: tuple[RunState, Any]) -> tuple[RunState, Any]:
        run, columns = carry
        run, metrics = _update(agent, environment, run)
        return run, jax.tree.map(lambda column, metric: column.at[index].set(metric), columns, metrics)

    return jax.lax.fori_loop(0, length, body, (run, columns))


def _run_updates_seeds(
    agent: Agent, environment: JaxEnvironment, chunk_length: int, run: RunState, length: Array
) -> tuple[RunState, dict[str, Array]]:
    run_updates = functools.partial(_run_updates, agent, environment, chunk_length)
    return jax.vmap(run_updates, in_axes=(0, None))(run, length)


# Agents and environments are values: equal ones share one compilation, across calls of `train` too.
_run_chunk = jax.jit(_run_updates, static_argnums=(0, 1, 2), donate_argnums=3)
_run_chunk_seeds = jax.jit(_run_updates_seeds, static_argnums=(0, 1, 2), donate_argnums=3)
