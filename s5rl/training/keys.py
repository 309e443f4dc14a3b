"""Where every random number of a run comes from: its seed."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from s5rl.types import PRNGKey


class RunKeys(NamedTuple):
    """Independent keys of one run."""

    init: PRNGKey
    """Of the parameters."""
    environments: PRNGKey
    acting: PRNGKey
    updates: PRNGKey


def run_keys(seed: int | jax.Array) -> RunKeys:
    """Returns the keys of a run with this seed."""
    return RunKeys(*jax.random.split(jax.random.key(seed), 4))


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
