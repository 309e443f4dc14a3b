"""The stream FIRST, MID, ..., LAST, FIRST, ...: the one place where episodes are reset."""

from __future__ import annotations

import functools
from typing import NamedTuple

import dm_env
import jax
import jax.numpy as jnp

from s5rl.envs.base import EnvironmentState, JaxEnvironment
from s5rl.envs.resets import replace_where
from s5rl.types import Action, Array, PRNGKey, PyTree


class Stream(NamedTuple):
    """One environment amid its stream; `jax.vmap` makes [B, ...] of every leaf."""

    state: EnvironmentState
    """Behind the latest time step."""
    timestep: dm_env.TimeStep
    """The latest one."""
    key: PRNGKey
    """Of this environment, never changed: episode n begins with `fold_in(key, n)`."""
    num_episodes: Array
    """int32 []: resets done so far."""
    num_steps: Array
    """int32 []: environment steps done so far; resets are none."""


def start_stream(environment: JaxEnvironment, key: PRNGKey) -> Stream:
    """Begins episode 0.

    Args:
      environment: the environment.
      key: decides everything random in this stream, but for its actions.

    Returns:
      The stream at its first FIRST step.
    """
    state, timestep = _reset(environment, key, jnp.int32(0))
    return Stream(state, timestep, key, num_episodes=jnp.int32(1), num_steps=jnp.int32(0))


def restart_stream(environment: JaxEnvironment, stream: Stream) -> Stream:
    """Begins the next episode, wherever the current one stands.

    Args:
      environment: the environment of the stream.
      stream: at any step.

    Returns:
      The stream at a FIRST step.
    """
    state, timestep = _reset(environment, stream.key, stream.num_episodes)
    return stream._replace(state=state, timestep=timestep, num_episodes=stream.num_episodes + 1)


def advance_stream(environment: JaxEnvironment, stream: Stream, action: Action) -> Stream:
    """Fills one slot: a step, or after a LAST step, where the action is ignored, a reset.

    Under any number of `jax.vmap` a reset is computed only when some row needs one; see `s5rl.envs.resets`.

    Args:
      environment: the environment of the stream.
      stream: at any step.
      action: in the dtype and range of the action spec.

    Returns:
      The stream at its next step; all dtypes and shapes as before.
    """
    is_dead = stream.timestep.last()
    state, timestep = environment.step(stream.state, action)
    stepped = stream._replace(
        state=state,
        timestep=timestep,
        num_steps=stream.num_steps + jnp.where(is_dead, 0, 1),
    )
    return replace_where(functools.partial(restart_stream, environment), is_dead, stepped)


def _reset(
    environment: JaxEnvironment, key: PRNGKey, episode: Array
) -> tuple[EnvironmentState, dm_env.TimeStep]:
    state, timestep = environment.reset(jax.random.fold_in(key, episode))
    if timestep.reward is None or timestep.discount is None:
        raise ValueError(
            f"{type(environment).__name__}.reset must return a FIRST step with reward 0 and discount 1, "
            "got None: build it with s5rl.types.restart, not with dm_env.restart."
        )
    return _without_weak_types((state, timestep))


def _without_weak_types(tree: PyTree) -> PyTree:
    """Fixes the dtypes that came from Python numbers, which would not fit a loop's carry."""

    def fix(leaf: Array) -> Array:
        leaf = jnp.asarray(leaf)
        return jnp.asarray(leaf, dtype=leaf.dtype)

    return jax.tree.map(fix, tree)
