"""Clipped maximum a posteriori policy optimisation: the policy that Muesli regularises towards.

    pi_CMPO(a | s) = pi_prior(a | s) exp(clip(adv(s, a), -c, c)) / z(s)

It is given as weights of actions, under which -sum_n w_n log pi(a_n) is its cross-entropy with pi.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from s5rl.types import Array


def exact_cmpo_weights(prior_log_probs: Array, advantages: Array, clip: float) -> Array:
    """Returns pi_CMPO itself, where all actions are known.

    Its total variation from the prior is at most tanh(c / 2).

    Args:
      prior_log_probs: [N, ...] log pi_prior of every action.
      advantages: [N, ...] adv.
      clip: c.

    Returns:
      [N, ...], of sum 1 over N.

    Source: Hessel et al. 2021, equation 7.
    """
    chex.assert_equal_shape([prior_log_probs, advantages])
    return jax.nn.softmax(prior_log_probs + jnp.clip(advantages, -clip, clip), axis=0)


def sampled_cmpo_weights(advantages: Array, clip: float) -> Array:
    """Returns the weights of N actions drawn from the prior.

        w_n = exp(clip(adv_n, -c, c)) / (N z_n),    z_n = (1 + sum over m != n of exp(clip(adv_m, -c, c))) / N

    An action does not stand in its own normaliser: with few samples the weights would be near 1 / N
    otherwise, whatever the advantages are.

    Args:
      advantages: [N, ...] adv of the actions.
      clip: c.

    Returns:
      [N, ...], whose sum over N is not 1 in general.

    Source: Hessel et al. 2021, equations 11 and 12.
    """
    unnormalised = jnp.exp(jnp.clip(advantages, -clip, clip))
    others = jnp.sum(unnormalised, axis=0) - unnormalised
    return unnormalised / (1.0 + others)


def policy_distance(weights: Array, log_probs: Array, *, is_exact: bool) -> Array:
    """Returns KL(pi_CMPO, pi) where the weights are exact, otherwise the part of it that pi can change.

    Args:
      weights: [N, ...] w.
      log_probs: [N, ...] log pi of the same actions.
      is_exact: whether the weights are probabilities of all actions.

    Returns:
      [...] sum over n of w_n (log w_n - log pi(a_n)), or of -w_n log pi(a_n). No gradient flows through w.
    """
    chex.assert_equal_shape([weights, log_probs])
    weights = jax.lax.stop_gradient(weights)
    cross_entropy = -jnp.sum(weights * log_probs, axis=0)
    return cross_entropy + jnp.sum(jax.scipy.special.xlogy(weights, weights), axis=0) * is_exact
