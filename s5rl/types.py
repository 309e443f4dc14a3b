"""The data that flows between environments, agents and training: one place for conventions and shapes.

Letters in shapes: T slots of an unroll, B environments, F features.

Time. The stream of an environment is FIRST, MID..., LAST, FIRST, MID..., LAST, ... The reward and the
discount of a `dm_env.TimeStep` describe the transition INTO that step. Inside s5rl a FIRST step has
reward 0 and discount 1, and no leaf is None. `timestep.first()` is the one and only reset signal.

A slot t is the pair (timesteps[t], timesteps[t + 1]). A slot that starts at LAST is dead: its action is
ignored, it is no environment step, and it has weight 0 in every loss, mean and normaliser.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Protocol, final

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

Array = jax.Array
"""An array of JAX, traced or not."""
PRNGKey = jax.Array
"""A key of `jax.random.key`."""
PyTree = Any
"""A nest of tuples, dicts and other nodes that JAX knows."""
Params = PyTree
"""A nest of arrays that training changes."""
CoreState = PyTree
"""A tuple or dict of real arrays, leaves [B, ...], or [...] without a batch."""
Action = PyTree
"""Exactly what an environment's `step` receives: the dtype and range of its action spec."""
Observation = PyTree
"""What a time step shows: any nest of arrays, as the observation spec says."""
Specs = PyTree
"""A nest of `dm_env.specs.Array`."""


class HasSpecs(Protocol):
    """Anything with the two specs of an environment."""

    def observation_spec(self) -> Specs:
        """Describes one observation, without a batch axis."""

    def action_spec(self) -> Specs:
        """Describes one action, without a batch axis."""


@final
@dataclasses.dataclass(frozen=True, eq=False)
class EnvironmentSpec:
    """What an agent has to know of an environment; specs carry no batch axis.

    Two of them are equal if their specs have the same nest, types, shapes, dtypes and bounds; names do not
    matter.
    """

    observation: Specs
    """Of one observation."""
    action: Specs
    """Of one action."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EnvironmentSpec) and self._signature() == other._signature()

    def __hash__(self) -> int:
        return hash(self._signature())

    def _signature(self) -> tuple[Any, ...]:
        leaves, structure = jax.tree.flatten((self.observation, self.action))
        return structure, *((type(leaf), leaf.shape, leaf.dtype, *_bounds(leaf)) for leaf in leaves)

    @classmethod
    def from_environment(cls, environment: HasSpecs) -> EnvironmentSpec:
        """Reads the specs of a JaxEnvironment, a BatchedEnvironment or a dm_env.Environment."""
        return cls(environment.observation_spec(), environment.action_spec())


class ActorState(NamedTuple):
    """What an actor carries from one time step to the next."""

    core_state: CoreState
    """[B, ...] the memory BEFORE the next time step is consumed."""
    previous_action: Action
    """[B, ...] what led into the next time step, unless that is FIRST; () where it is not observed."""


class Trajectory(NamedTuple):
    """A window of T slots of B streams, which may start and end inside an episode and cross several.

    The next trajectory starts with `timesteps[T]` and with the state after T inputs.
    """

    timesteps: dm_env.TimeStep
    """[T + 1, B, ...] what the agent saw; `timesteps[T]` serves the bootstrap."""
    actions: Action
    """[T, B, ...] what was sent to the environments; ignored by them in dead slots."""
    extras: PyTree
    """[T, B, ...] what `act` returned beside the action: log-probabilities, values, ..."""
    initial_state: ActorState
    """[B, ...] what the actors carried BEFORE `timesteps[0]` was consumed."""


class ActOutput(NamedTuple):
    """What an agent returns for one time step."""

    action: Action
    """[B, ...] in the dtype and range of the action spec."""
    extras: PyTree
    """[B, ...] whatever else the loss needs."""


def _bounds(spec: specs.Array) -> tuple[bytes, ...]:
    if not isinstance(spec, specs.BoundedArray):
        return ()
    return tuple(np.broadcast_to(bound, spec.shape).tobytes() for bound in (spec.minimum, spec.maximum))


def restart(observation: Observation) -> dm_env.TimeStep:
    """Returns a FIRST step: reward 0, discount 1."""
    return _timestep(int(dm_env.StepType.FIRST), 0.0, 1.0, observation)


def transition(reward: Any, observation: Observation, discount: Any = 1.0) -> dm_env.TimeStep:
    """Returns a MID step."""
    return _timestep(int(dm_env.StepType.MID), reward, discount, observation)


def termination(reward: Any, observation: Observation) -> dm_env.TimeStep:
    """Returns a LAST step of discount 0: nothing follows, nothing is bootstrapped."""
    return _timestep(int(dm_env.StepType.LAST), reward, 0.0, observation)


def truncation(reward: Any, observation: Observation, discount: Any = 1.0) -> dm_env.TimeStep:
    """Returns a LAST step of discount 1: the episode was cut, its return is bootstrapped."""
    return _timestep(int(dm_env.StepType.LAST), reward, discount, observation)


def next_timestep(
    reward: Any, observation: Observation, *, terminated: Any = False, truncated: Any = False
) -> dm_env.TimeStep:
    """Returns a MID step, or a LAST one where the episode ended; for flags known only at run time.

    Args:
      reward: [] of the transition into the step.
      observation: of the step.
      terminated: bool [], whether nothing follows: LAST with discount 0, truncated or not.
      truncated: bool [], whether the episode was cut off: LAST with discount 1.
    """
    ended = jnp.logical_or(terminated, truncated)
    step_type = jnp.where(ended, int(dm_env.StepType.LAST), int(dm_env.StepType.MID))
    return _timestep(step_type, reward, jnp.where(terminated, 0.0, 1.0), observation)


def _timestep(step_type: Any, reward: Any, discount: Any, observation: Observation) -> dm_env.TimeStep:
    return dm_env.TimeStep(
        step_type=jnp.asarray(step_type, jnp.int32),
        reward=jnp.asarray(reward, float),
        discount=jnp.asarray(discount, float),
        observation=jax.tree.map(jnp.asarray, observation),
    )
