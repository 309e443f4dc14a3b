"""The slots of an unroll, gathered on the host one by one until they are a trajectory."""

from __future__ import annotations

from typing import Any, NamedTuple

import dm_env
import jax
import jax.numpy as jnp
import numpy as np

from s5rl.agents import Agent
from s5rl.types import Action, ActorState, ActOutput, Params, PyTree, Trajectory


class Unroll(NamedTuple):
    """Slots of B environments that follow each other; a value, of which `with_slot` makes the next one."""

    initial_state: ActorState
    """[B, ...] what the actors carried BEFORE `timesteps[0]` was consumed."""
    timesteps: tuple[dm_env.TimeStep, ...]
    """[B, ...] each, in numpy: one more than there are slots."""
    actions: tuple[Action, ...] = ()
    """[B, ...] each, in numpy."""
    extras: tuple[PyTree, ...] = ()
    """[B, ...] each."""

    @property
    def num_slots(self) -> int:
        """The number of slots so far."""
        return len(self.actions)

    def with_slot(self, output: ActOutput, timestep: dm_env.TimeStep) -> Unroll:
        """Returns the unroll with one more slot.

        Args:
          output: [B, ...] what `act` returned for the latest time step, its action in numpy.
          timestep: [B, ...] to which the action led, in numpy.
        """
        return Unroll(
            self.initial_state,
            (*self.timesteps, timestep),
            (*self.actions, output.action),
            (*self.extras, output.extras),
        )

    def trajectory(self) -> Trajectory:
        """Returns all slots as arrays [T, B, ...]."""
        extras = jax.device_get(self.extras)
        return Trajectory(_stack(self.timesteps), _stack(self.actions), _stack(extras), self.initial_state)


def trajectory_shapes(agent: Agent, params: Params, timestep: dm_env.TimeStep, num_rows: int) -> Trajectory:
    """Returns the shapes and dtypes of a trajectory, before anything is done.

    Args:
      agent: bound to the environment.
      params: with which it acts.
      timestep: [B, ...] any, in numpy.
      num_rows: number of rows of the trajectory; of `timestep` there may be fewer.
    """

    def of_rows(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((num_rows, *leaf.shape[1:]), jax.dtypes.canonicalize_dtype(leaf.dtype))

    def of_slots(tree: PyTree, num_slots: int) -> PyTree:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((num_slots, *leaf.shape), leaf.dtype), tree)

    length, timestep = agent.config.unroll_length, jax.tree.map(of_rows, timestep)
    memory = jax.eval_shape(lambda: agent.initial_actor_state(num_rows))
    output, _ = jax.eval_shape(agent.act, params, timestep, memory, jax.random.key(0))
    return Trajectory(
        of_slots(timestep, length + 1),
        of_slots(output.action, length),
        of_slots(output.extras, length),
        memory,
    )


def _stack(trees: tuple[PyTree, ...]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *trees)
