"""Adapters to dm_env and from it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, final

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
import tree
from dm_env import specs

from s5rl.envs.base import JaxEnvironment
from s5rl.envs.stream import Stream, advance_stream, restart_stream, start_stream
from s5rl.key_data import keys_to_numbers, numbers_to_keys
from s5rl.types import Action, PRNGKey, PyTree, Specs


def as_dm_env(environment: JaxEnvironment, seed: int | PRNGKey) -> dm_env.Environment:
    """Returns a JaxEnvironment as a dm_env.Environment.

    It walks the very stream that `start_stream` begins with the same key, and converts: a FIRST
    step has reward and discount None, other steps have Python floats, step types are
    `dm_env.StepType`, and observations are fresh numpy arrays.

    Args:
      environment: the environment.
      seed: an integer, or a JAX key.
    """
    key = jax.random.key(seed) if isinstance(seed, int | np.integer) else seed
    return JaxDmEnv(environment, key)


@final
class JaxDmEnv(dm_env.Environment):
    """What `as_dm_env` returns."""

    def __init__(self, environment: JaxEnvironment, key: PRNGKey) -> None:
        self._environment = environment
        self._key = key
        self._stream: Stream | None = None

    def reset(self) -> dm_env.TimeStep:
        """Begins an episode: the next one of the stream."""
        if self._stream is None:
            return self._move_to(_start(self._environment, self._key))
        return self._move_to(_restart(self._environment, self._stream))

    def step(self, action: Action) -> dm_env.TimeStep:
        """Acts once; without an episode, or after its last step, the action is ignored and one begins.

        An action that is refused changes nothing.

        Args:
          action: a nest of `action_spec()`.

        Raises:
          TypeError: the action's dtype does not fit its spec.
          ValueError: the action's nest, shape or values do not fit its spec.
        """
        if self._stream is None or self._stream.timestep.last():
            return self.reset()
        action = to_action(self.action_spec(), action)
        return self._move_to(_advance(self._environment, self._stream, action))

    def observation_spec(self) -> Specs:
        """Returns the spec of an observation."""
        return self._environment.observation_spec()

    def action_spec(self) -> Specs:
        """Returns the spec of an action."""
        return self._environment.action_spec()

    def get_state(self) -> PyTree:
        """Returns where the stream is, as a tuple of numpy arrays.

        Raises:
          RuntimeError: no episode has begun yet.
        """
        if self._stream is None:
            raise RuntimeError("there is no state before the first reset().")
        return tuple(np.array(leaf) for leaf in jax.tree.leaves(keys_to_numbers(self._stream)))

    def set_state(self, state: PyTree) -> None:
        """Goes back to where `get_state` returned the state.

        Args:
          state: from an adapter of an equal environment.

        Raises:
          ValueError: it is the state of another environment.
        """
        like = jax.eval_shape(functools.partial(start_stream, self._environment), self._key)
        expected, structure = jax.tree.flatten(jax.eval_shape(keys_to_numbers, like))
        found = [np.asarray(leaf) for leaf in state]
        if [(leaf.shape, leaf.dtype) for leaf in found] != [(leaf.shape, leaf.dtype) for leaf in expected]:
            raise ValueError(f"state must be that of {self._environment}, from get_state().")
        numbers = jax.tree.unflatten(structure, [jnp.array(leaf) for leaf in found])
        self._stream = numbers_to_keys(numbers, like)

    def _move_to(self, stream: Stream) -> dm_env.TimeStep:
        self._stream = stream
        timestep = jax.device_get(stream.timestep)
        is_first = bool(timestep.first())
        return dm_env.TimeStep(
            step_type=dm_env.StepType(int(timestep.step_type)),
            reward=None if is_first else float(timestep.reward),
            discount=None if is_first else float(timestep.discount),
            observation=_to_observation(self.observation_spec(), timestep.observation),
        )


def from_dm_env(timestep: dm_env.TimeStep, observation_spec: Specs) -> dm_env.TimeStep:
    """Converts a step of a dm_env.Environment into the convention of `s5rl.types`.

    Args:
      timestep: what `reset` or `step` returned.
      observation_spec: the spec of the environment.

    Returns:
      A step of fresh numpy arrays without None: step_type int32 [], reward and discount [] in JAX's
      default float (0 and 1 in a FIRST step), observation in the structure and dtypes of its spec.

    Raises:
      ValueError: the reward or the discount of a MID or LAST step is not a scalar, or the observation has
        another nest or shape than its spec.
    """
    reward, discount = (0.0, 1.0) if timestep.first() else (timestep.reward, timestep.discount)
    _check_scalar("reward", reward)
    _check_scalar("discount", discount)
    float_dtype = jnp.result_type(float)
    return dm_env.TimeStep(
        step_type=np.array(timestep.step_type, np.int32),
        reward=np.array(reward, float_dtype),
        discount=np.array(discount, float_dtype),
        observation=_to_observation(observation_spec, timestep.observation),
    )


def to_action(action_spec: Specs, action: Action) -> Any:
    """Converts an action into what a dm_env.Environment expects.

    Args:
      action_spec: a nest of specs.
      action: arrays, or numbers, in the same nest.

    Returns:
      The nest in the dtypes of the specs: numpy scalars where the shape is (), else fresh arrays.

    Raises:
      TypeError: a dtype does not fit its spec, such as a float for an integer.
      ValueError: a shape does not fit its spec, or a value is out of its bounds or NaN.
    """

    def convert(spec: specs.Array, value: Any) -> Any:
        value = np.asarray(value)
        if value.shape != spec.shape:
            raise ValueError(f"action must fit {spec}, got shape {value.shape}.")
        if not np.can_cast(value.dtype, spec.dtype, casting="same_kind"):
            raise TypeError(f"action must fit {spec}, got dtype {value.dtype}.")
        if isinstance(spec, specs.BoundedArray) and not (
            np.all(spec.minimum <= value) and np.all(value <= spec.maximum)  # false for NaN
        ):
            raise ValueError(f"action must be within the bounds of {spec}, got {value.tolist()}.")
        return np.array(value, spec.dtype)[()]  # [()] makes a scalar of shape (), else it is a no-op

    return _map_spec(convert, action_spec, action)


def _to_observation(observation_spec: Specs, observation: Any) -> Any:
    def convert(spec: specs.Array, value: Any) -> np.ndarray:
        value = np.array(value, spec.dtype)
        if value.shape != spec.shape:
            raise ValueError(f"observation must fit {spec}, got shape {value.shape}.")
        return value

    return _map_spec(convert, observation_spec, observation)


def _map_spec(function: Callable[[specs.Array, Any], Any], spec: Specs, value: Any) -> Any:
    """Maps over a nest of specs and a value of its shape; returns a nest of the types of `spec`."""
    if isinstance(spec, specs.Array):  # the usual case, and dm-tree is slow
        return function(spec, value)
    return tree.map_structure_up_to(spec, function, spec, value)


def _check_scalar(name: str, value: Any) -> None:
    if value is None or np.ndim(value) > 0:
        raise ValueError(f"{name} of a MID or LAST step must be a scalar, got {value!r}.")


# Compiled once per environment value, however many adapters are made of it.
_start = jax.jit(start_stream, static_argnums=0)
_restart = jax.jit(restart_stream, static_argnums=0)
_advance = jax.jit(advance_stream, static_argnums=0)
