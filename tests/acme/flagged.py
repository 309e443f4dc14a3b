"""Flagged observations of a small spec, and a plain scan of steps, for the tests of networks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from acme import specs

from s5rl.acme.is_first import FlaggedObservation

NUM_STEPS, BATCH_SIZE, NUM_ACTIONS = 5, 2, 3
KEY = jax.random.PRNGKey(0)
OBSERVATION_SPEC = specs.Array((2, 2), np.float32)
FLAGGED_SPEC = FlaggedObservation(OBSERVATION_SPEC, specs.Array((), np.bool_))


def environment_spec(observations, actions=None):
    return specs.EnvironmentSpec(
        observations=observations,
        actions=actions or specs.DiscreteArray(NUM_ACTIONS),
        rewards=specs.Array((), np.float32),
        discounts=specs.BoundedArray((), np.float32, 0.0, 1.0),
    )


def sequence(*leading):
    """Returns flagged observations; some inside begin an episode."""
    rng = np.random.default_rng(0)
    flags = rng.random(leading) < 0.3
    return FlaggedObservation(rng.standard_normal((*leading, 2, 2)).astype(np.float32), flags)


def at(tree, *index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def scan(step, observations, state):
    """Returns what a step function gives along a sequence, stacked, and the last state."""
    outputs = []
    for t in range(NUM_STEPS):
        output, state = step(at(observations, t), state)
        outputs.append(output)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs), state
