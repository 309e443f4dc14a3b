"""A policy as a file that JAX runs without s5rl: an artifact of `jax.export`."""

from __future__ import annotations

from pathlib import Path

import dm_env
import jax
import jax.export
import jax.numpy as jnp

from s5rl.training.policy import Policy
from s5rl.types import Action, Array, Observation
from s5rl.validation import check_positive

PLATFORMS = ("cpu", "cuda", "tpu")
"""What the artifact runs on."""

FlatState = tuple[Array, ...]
"""Memory, and previous action where it is observed, as a tuple of arrays."""


def export_policy(policy: Policy, file: Path, batch_size: int | None = None) -> jax.export.Exported:
    """Writes a policy, its parameters in it, as an artifact of `jax.export`.

    The artifact is one function:

        step(step_type, reward, discount, observation, state) -> action, state

    step_type is an int32 (0 for FIRST, 1 for MID, 2 for LAST), reward and discount are float32 (0 and 1 where
    it is FIRST), the state is a tuple of arrays. A FIRST step forgets whatever the state holds, so that zeros
    of its shapes do before the first one. The action is the most probable one.

    Args:
      policy: from `load_policy`.
      file: is overwritten.
      batch_size: number B of environments, for leaves [B, ...]; None for one without a batch axis.

    Returns:
      What was written.

    Raises:
      ValueError: the batch size is not positive.
    """
    if batch_size is not None:
        check_positive(batch_size=batch_size)
    initial_state = policy.initial_state(batch_size)
    leaves, structure = jax.tree.flatten(initial_state)
    batch = () if batch_size is None else (batch_size,)

    def step(
        step_type: Array, reward: Array, discount: Array, observation: Observation, state: FlatState
    ) -> tuple[Action, FlatState]:
        timestep = dm_env.TimeStep(step_type, reward, discount, observation)
        output, after = policy.agent.act(
            policy.params,
            timestep,
            jax.tree.unflatten(structure, state),
            jax.random.key(0),  # not used: nothing is drawn
            evaluation=True,
        )
        return output.action, tuple(jax.tree.leaves(after))

    def shape(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*batch, *leaf.shape), leaf.dtype)

    exported = jax.export.export(jax.jit(step), platforms=PLATFORMS)(
        jax.ShapeDtypeStruct(batch, jnp.int32),
        jax.ShapeDtypeStruct(batch, float),
        jax.ShapeDtypeStruct(batch, float),
        jax.tree.map(shape, policy.environment_spec.observation),
        tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves),
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(exported.serialize())
    return exported
