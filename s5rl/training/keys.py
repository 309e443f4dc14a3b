"""Where every random number of a run comes from: its seed."""

from __future__ import annotations

from numbers import Integral
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from s5rl.types import PRNGKey


class RunKeys(NamedTuple):
    """Independent keys of one run."""

    init: PRNGKey
    """[] of the parameters."""
    environments: PRNGKey
    """[] from which each environment's key is folded."""
    acting: PRNGKey
    """[] from which each environment's acting key is folded."""
    updates: PRNGKey
    """[] from which each update's key is folded."""
    evaluations: PRNGKey
    """[] from which each periodic evaluation's keys are folded."""


def check_seed(seed: Any) -> None:
    """Raises a ValueError unless the seed is an integer that JAX takes whole: larger ones would wrap."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) < 2**32:
        raise ValueError(f"seed must be an integer from 0 to 2**32 - 1, got {seed!r}.")


def run_keys(seed: int | jax.Array) -> RunKeys:
    """Returns the keys of a run with this seed."""
    return split_run_keys(jax.random.key(seed))


def split_run_keys(key: PRNGKey) -> RunKeys:
    """Returns independent keys made of one."""
    return RunKeys(*jax.random.split(key, len(RunKeys._fields)))


def row_keys(key: PRNGKey, num_envs: int) -> PRNGKey:
    """Returns one key [num_envs] for each environment, folded from its index.

    The key of an environment does not depend on how many others there are.
    """
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(num_envs))


def slot_keys(acting_keys: PRNGKey, num_steps: jax.Array) -> PRNGKey:
    """Returns the keys [B] with which the rows act now, folded from their counts of real steps.

    A dead slot is no step, so it consumes no key, and results depend neither on the loop nor on the layout.

    Args:
      acting_keys: [B] from `row_keys`.
      num_steps: int32 [B] real environment steps that each row has done.
    """
    return jax.vmap(jax.random.fold_in)(acting_keys, num_steps)
