"""Single precision for environments in double precision; Acme's own wrapper fails with numpy 2."""

from __future__ import annotations

from typing import Any, final

import dm_env
import numpy as np
import tree
from dm_env import specs

from s5rl.acme.wrapper import EnvironmentWrapper
from s5rl.networks.bounds import inward_bounds
from s5rl.types import Action, Specs

SINGLE = {np.dtype(np.float64): np.dtype(np.float32), np.dtype(np.int64): np.dtype(np.int32)}
"""What is narrowed, and to what; all other dtypes stay."""


@final
class SinglePrecisionWrapper(EnvironmentWrapper):
    """An environment whose observations, rewards, discounts and actions have 32 bits instead of 64.

    As `acme.wrappers.SinglePrecisionWrapper` it leaves None and all other dtypes as they are. Beyond that,
    the environment gets actions in its own dtype, and an integer that needs more than 32 bits is refused.
    """

    def step(self, action: Action) -> dm_env.TimeStep:
        """Acts once.

        Args:
          action: a nest of `action_spec()`.

        Raises:
          OverflowError: an integer of the time step needs more than 32 bits.
        """
        spec = self._environment.action_spec()
        action = tree.map_structure_up_to(spec, lambda s, value: np.asarray(value, s.dtype)[()], spec, action)
        return super().step(action)

    def observation_spec(self) -> Specs:
        """Returns the spec of an observation."""
        return tree.map_structure(_narrow_spec, self._environment.observation_spec())

    def action_spec(self) -> Specs:
        """Returns the spec of an action, its bounds rounded inwards."""
        return tree.map_structure(_narrow_action_spec, self._environment.action_spec())

    def reward_spec(self) -> Specs:
        """Returns the spec of a reward."""
        return tree.map_structure(_narrow_spec, self._environment.reward_spec())

    def discount_spec(self) -> Specs:
        """Returns the spec of a discount."""
        return tree.map_structure(_narrow_spec, self._environment.discount_spec())

    def _show(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        return timestep._replace(
            reward=tree.map_structure(_narrow, timestep.reward),
            discount=tree.map_structure(_narrow, timestep.discount),
            observation=tree.map_structure(_narrow, timestep.observation),
        )


def _narrow(value: Any) -> Any:
    if value is None:  # the reward and the discount of a FIRST step
        return None
    value = np.asarray(value)
    dtype = SINGLE.get(value.dtype, value.dtype)
    narrow = value.astype(dtype, copy=False)
    if dtype == np.int32 and not np.array_equal(narrow, value):
        raise OverflowError(f"integers of a time step must fit into 32 bits, got {value.tolist()}.")
    return narrow


def _narrow_spec(spec: specs.Array) -> specs.Array:
    dtype = SINGLE.get(spec.dtype, spec.dtype)
    if (
        dtype == spec.dtype
        or not isinstance(spec, specs.BoundedArray)
        or isinstance(spec, specs.DiscreteArray)
    ):
        return spec.replace(dtype=dtype)
    return spec.replace(dtype=dtype, minimum=_narrow_bound(spec.minimum), maximum=_narrow_bound(spec.maximum))


def _narrow_bound(bound: np.ndarray) -> np.ndarray:
    if bound.dtype == np.int64:
        limits = np.iinfo(np.int32)
        return np.clip(bound, limits.min, limits.max).astype(np.int32)
    with np.errstate(over="ignore"):  # what is too large for 32 bits is no bound
        return bound.astype(np.float32)


def _narrow_action_spec(spec: specs.Array) -> specs.Array:
    narrow = _narrow_spec(spec)
    if spec.dtype != np.float64 or not isinstance(spec, specs.BoundedArray):
        return narrow
    # A rounded bound may lie outside of the real one, and an action on it would be refused.
    minimum, maximum = inward_bounds(spec.minimum, spec.maximum, narrow.dtype)
    return narrow.replace(minimum=minimum, maximum=maximum)
