"""The clipped objectives of PPO, element by element: `weighted_mean` leaves out the dead slots."""

from __future__ import annotations

import chex
import jax.numpy as jnp

from s5rl.types import Array


def clipped_surrogate(ratios: Array, advantages: Array, clip: float) -> Array:
    """Returns what PPO maximises: min(r A, clip(r, 1 - epsilon, 1 + epsilon) A).

    Args:
      ratios: [...] r, the probability of the action over what it was when it was taken.
      advantages: [...] A.
      clip: epsilon.

    Returns:
      [...], the gradient 0 where a step would lead further out of the clipping range.

    Source: Schulman et al. 2017, equation 7. rlax has its mean over all elements only.
    """
    chex.assert_equal_shape([ratios, advantages])
    return jnp.minimum(ratios * advantages, jnp.clip(ratios, 1.0 - clip, 1.0 + clip) * advantages)


def clipped_square_errors(values: Array, old_values: Array, targets: Array, clip: float | None) -> Array:
    """Returns squared errors of values which gain nothing by moving further than `clip`.

        max((v - G)^2, (v_old + clip(v - v_old, -epsilon, epsilon) - G)^2)

    Args:
      values: [...] v.
      old_values: [...] v_old, before the first gradient step.
      targets: [...] G.
      clip: epsilon; None for plain squared errors.

    Returns:
      [...].

    Source: Huang et al. 2022, The 37 Implementation Details of PPO, detail 9.
    """
    chex.assert_equal_shape([values, old_values, targets])
    errors = jnp.square(values - targets)
    if clip is None:
        return errors
    clipped = old_values + jnp.clip(values - old_values, -clip, clip)
    return jnp.maximum(errors, jnp.square(clipped - targets))


def approximate_kl(log_ratios: Array) -> Array:
    """Returns (r - 1) - log r >= 0, whose mean over actions of the old policy is KL(old, new).

    Args:
      log_ratios: [...] log r.

    Source: Schulman 2020, Approximating KL Divergence, estimator k3.
    """
    return jnp.expm1(log_ratios) - log_ratios
