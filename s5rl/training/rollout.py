"""Acting in JAX environments: one compiled scan over slots."""

from __future__ import annotations

from typing import NamedTuple

import dm_env
import jax
import jax.numpy as jnp

from s5rl.agents import Agent
from s5rl.envs import JaxEnvironment, Stream, advance_stream, start_stream
from s5rl.training.keys import RunKeys, row_keys, slot_keys
from s5rl.types import Action, ActorState, Params, PRNGKey, PyTree, Trajectory


class Actors(NamedTuple):
    """B environments amid their streams, each with the memory of its agent."""

    streams: Stream
    """Leaves [B, ...]."""
    memory: ActorState
    """[B, ...] what the agent carries to `streams.timestep`."""
    acting_keys: PRNGKey
    """[B] never changed."""


def start_actors(agent: Agent, environment: JaxEnvironment, keys: RunKeys, num_envs: int) -> Actors:
    """Returns `num_envs` environments at their first FIRST step, with empty memories."""
    environment_keys = row_keys(keys.environments, num_envs)
    return Actors(
        streams=jax.vmap(lambda key: start_stream(environment, key))(environment_keys),
        memory=agent.initial_actor_state(num_envs),
        acting_keys=row_keys(keys.acting, num_envs),
    )


def rollout(
    agent: Agent, environment: JaxEnvironment, acting_params: Params, actors: Actors, num_slots: int
) -> tuple[Trajectory, Actors]:
    """Acts for `num_slots` slots.

    Args:
      agent: bound to the environment.
      environment: the environment.
      acting_params: from `agent.acting_params`.
      actors: B environments.
      num_slots: number T of slots.

    Returns:
      The trajectory [T, B], and the actors behind it.
    """

    def slot(actors: Actors, _: None) -> tuple[Actors, tuple[dm_env.TimeStep, Action, PyTree]]:
        streams = actors.streams
        keys = slot_keys(actors.acting_keys, streams.num_steps)
        output, memory = agent.act(acting_params, streams.timestep, actors.memory, keys)
        advanced = jax.vmap(lambda s, a: advance_stream(environment, s, a))(streams, output.action)
        recorded = (streams.timestep, output.action, output.extras)
        return actors._replace(streams=advanced, memory=memory), recorded

    after, (timesteps, actions, extras) = jax.lax.scan(slot, actors, None, num_slots)
    timesteps = jax.tree.map(lambda xs, x: jnp.concatenate([xs, x[None]]), timesteps, after.streams.timestep)
    return Trajectory(timesteps, actions, extras, actors.memory), after
