"""Returns and means over trajectories that cross episode boundaries."""

from __future__ import annotations

import chex
import dm_env
import jax
import jax.numpy as jnp

from s5rl.types import Array


def live_slots(timesteps: dm_env.TimeStep) -> Array:
    """Returns the weights [T, B] of slots: 0 where timesteps [T + 1, B] are LAST at their start, else 1."""
    return (timesteps.step_type[:-1] != int(dm_env.StepType.LAST)).astype(float)


def weighted_mean(x: Array, weights: Array) -> Array:
    """Returns sum(weights x) / sum(weights), 0 where all weights are 0.

    Args:
      x: [T, B]; what stands where the weight is 0 has no effect, NaN included.
      weights: [T, B].
    """
    chex.assert_equal_shape([x, weights])
    return jnp.sum(weights * jnp.where(weights > 0, x, 0.0)) / jnp.maximum(jnp.sum(weights), 1.0)


def weighted_variance(x: Array, weights: Array) -> Array:
    """Returns the weighted mean of (x - mean)^2 for x and weights [T, B], 0 where all weights are 0."""
    return weighted_mean(jnp.square(x - weighted_mean(x, weights)), weights)


def standardize(x: Array, weights: Array) -> Array:
    """Returns x with weighted mean 0 and standard deviation 1, and 0 where the weight is 0.

    Args:
      x: [T, B]; what stands where the weight is 0 has no effect, NaN included.
      weights: [T, B].
    """
    deviations = jnp.where(weights > 0, x - weighted_mean(x, weights), 0.0)
    return deviations / (jnp.sqrt(weighted_variance(x, weights)) + 1e-8)


def explained_variance(predictions: Array, targets: Array, weights: Array) -> Array:
    """Returns 1 - Var(targets - predictions) / Var(targets), all [T, B]; 0 where nothing varies."""
    variance = weighted_variance(targets, weights)
    unexplained = weighted_variance(targets - predictions, weights)
    return jnp.where(variance > 0, 1.0 - unexplained / jnp.where(variance > 0, variance, 1.0), 0.0)


def td_lambda_errors(
    timesteps: dm_env.TimeStep, values: Array, *, discount: float, td_lambda: float
) -> Array:
    """Returns TD(lambda) errors, which equal the generalised advantage estimates.

        e_t = G_t - v_t,    G_t = r_{t+1} + g_{t+1} ((1 - l_{t+1}) v_{t+1} + l_{t+1} G_{t+1})

    g is the discount times the time step's own. l is `td_lambda`, and 0 on every transition into a LAST step:
    there the trace stops, a truncated episode is bootstrapped from the value of its final observation, and a
    terminated one (discount 0) is not bootstrapped. Errors of dead slots are meaningless: weight them by
    `live_slots`.

    Args:
      timesteps: [T + 1, B] with reward and discount of the transition INTO each step.
      values: [T + 1, B].
      discount: discount factor of a step.
      td_lambda: decay of the trace, in [0, 1].

    Returns:
      [T, B]; gradients flow through v_t only, not through G_t.

    Source: Sutton and Barto 2018, chapter 12; Schulman et al. 2016 (GAE).
    """
    import rlax  # here, since it loads distrax; see networks/heads.py

    chex.assert_rank(values, 2)
    chex.assert_equal_shape([values, timesteps.reward, timesteps.discount, timesteps.step_type])
    into_last = timesteps.step_type[1:] == int(dm_env.StepType.LAST)
    errors = jax.vmap(rlax.td_lambda, in_axes=1, out_axes=1)
    return errors(
        values[:-1],
        timesteps.reward[1:],
        timesteps.discount[1:] * discount,
        values[1:],
        jnp.where(into_last, 0.0, td_lambda),
    )


def retrace_returns(
    timesteps: dm_env.TimeStep,
    values: Array,
    action_values: Array,
    log_ratios: Array,
    *,
    discount: float,
    retrace_lambda: float,
) -> Array:
    """Returns Retrace(lambda): returns under a policy from what another one did.

        G_t = r_{t+1} + g_{t+1} (v_{t+1} + c_{t+1} (G_{t+1} - q_{t+1})),    c = l min(1, pi / pi_b)

    g is the discount times the time step's own. l is `retrace_lambda`, and 0 on every transition into a LAST
    step, as in `td_lambda_errors`. With q = v and pi = pi_b they are the lambda-returns. Returns of dead
    slots are meaningless: weight them by `live_slots`.

    Args:
      timesteps: [T + 1, B] with reward and discount of the transition INTO each step.
      values: [T + 1, B] v, under pi.
      action_values: [T, B] q, of the actions that were taken, under pi.
      log_ratios: [T, B] log(pi / pi_b) of those actions.
      discount: discount factor of a step.
      retrace_lambda: decay of the trace, in [0, 1].

    Returns:
      [T, B].

    Source: Munos et al. 2016, equation 4.
    """
    import rlax  # here, since it loads distrax; see networks/heads.py

    chex.assert_rank(values, 2)
    chex.assert_equal_shape([values, timesteps.reward, timesteps.discount, timesteps.step_type])
    chex.assert_equal_shape([values[1:], action_values, log_ratios])
    is_last = timesteps.step_type[1:-1] == int(dm_env.StepType.LAST)
    trace = retrace_lambda * jnp.exp(jnp.minimum(log_ratios[1:], 0.0))
    returns = jax.vmap(rlax.general_off_policy_returns_from_q_and_v, in_axes=1, out_axes=1)
    return returns(
        action_values[1:],
        values[1:],
        timesteps.reward[1:],
        timesteps.discount[1:] * discount,
        jnp.where(is_last, 0.0, trace),
    )
