"""What an update of Muesli aims at, as the target network sees it."""

from __future__ import annotations

from typing import NamedTuple

import dm_env
import jax
import jax.numpy as jnp

from s5rl.agents.microbatches import in_microbatches
from s5rl.agents.muesli_config import MuesliConfig
from s5rl.agents.muesli_sequences import MuesliSequences
from s5rl.losses import (
    SecondMoment,
    exact_cmpo_weights,
    live_slots,
    policy_distance,
    retrace_returns,
    sampled_cmpo_weights,
)
from s5rl.networks import ActionHead, ModelState, MuesliNetwork
from s5rl.types import Array, CoreState, Params, PRNGKey


class CMPOTarget(NamedTuple):
    """The policy that others are drawn to: weights of all actions, or of some that the prior drew."""

    raw_action: Array
    """[N, ..., D]."""
    weights: Array
    """[N, ...]."""

    def distance(self, head: ActionHead, policy: Array) -> Array:
        """Returns KL(pi_CMPO, pi) [...] for policies [..., P], up to a constant where actions were drawn."""
        log_probs = jax.vmap(head.log_prob, in_axes=(None, 0))(policy, self.raw_action)
        return policy_distance(self.weights, log_probs, is_exact=head.all_raw is not None)


class MuesliTargets(NamedTuple):
    """What stays fixed while a gradient is taken."""

    advantage: Array
    """[T, B] (G - v_prior) / sigma of the actions that were taken."""
    value: Array
    """[T + 1, B] what values should be: G, or the prior's where nothing was done; 0 behind a termination."""
    cmpo: CMPOTarget
    """Leaves [N, T + 1, B, ...]."""
    scale: Array
    """[] sigma."""


def make_targets(
    config: MuesliConfig,
    network: MuesliNetwork,
    target_params: Params,
    error_moment: SecondMoment,
    sequences: MuesliSequences,
    key: PRNGKey,
    microbatch_size: int | None = None,
) -> tuple[MuesliTargets, SecondMoment]:
    """Returns targets, and the moment of the errors with those of these sequences.

        q(s, a) = r_1(s, a) + discount v_1(s, a),    adv(s, a) = (q(s, a) - v_prior(s)) / sigma

    Args:
      config: the settings.
      network: with the model.
      target_params: of the target network.
      error_moment: before these sequences.
      sequences: T slots of B streams.
      key: of the actions that are drawn where there are too many for all to be tried.
      microbatch_size: the most streams that the network computes at a time; None for all.
    """
    seen, live = sequences.seen, live_slots(sequences.seen)

    def unroll(seen: dm_env.TimeStep, core_state: CoreState) -> _Prior:
        output, _ = network.unroll(target_params, seen, core_state)
        return _Prior(output.policy, output.value, output.memory)

    def action_value(model: ModelState, raw_action: Array) -> Array:
        output, _ = network.step_model(target_params, model, raw_action)
        reward, value = (network.values.decode(x) for x in (output.reward_logits, output.value_logits))
        return reward + config.discount * value

    def look_ahead(memory: Array, raw_actions: Array, taken: Array) -> tuple[Array, Array]:
        start = network.start_model(target_params, memory)
        before = jax.tree.map(lambda leaf: leaf[:-1], start)
        # One after the other: the distributions over all bins of all of them at once would fill the memory.
        return jax.lax.map(lambda raw: action_value(start, raw), raw_actions), action_value(before, taken)

    prior = in_microbatches(unroll, microbatch_size, (1, 0), 1)(seen, sequences.core_state)
    # Drawn for all rows at once, so that the draws do not depend on microbatches.
    raw_actions = _candidates(network.head, prior, config.num_samples, key)
    look_ahead = in_microbatches(look_ahead, microbatch_size, (1, 2, 1), (2, 1))
    action_values, taken = look_ahead(prior.memory, raw_actions, sequences.raw_action)

    log_prob = network.head.log_prob(prior.policy[:-1], sequences.raw_action)
    prior_log_probs = jax.vmap(network.head.log_prob, in_axes=(None, 0))(prior.policy, raw_actions)
    is_exact = network.head.all_raw is not None
    values = prior.value
    if config.bootstrap == "action_values":
        weights = (
            jnp.exp(prior_log_probs) if is_exact else jnp.full_like(prior_log_probs, 1 / len(raw_actions))
        )
        values = jnp.sum(weights * action_values, axis=0)
    returns = retrace_returns(
        seen,
        values,
        taken,
        log_prob - sequences.log_prob,
        discount=config.discount,
        retrace_lambda=config.retrace_lambda,
    )
    errors = returns - prior.value[:-1]
    error_moment = error_moment.updated(jnp.square(errors), live, config.moment_decay)
    scale = error_moment.root(config.moment_epsilon)
    advantages = (action_values - prior.value) / scale
    if is_exact:
        weights = exact_cmpo_weights(prior_log_probs, advantages, config.cmpo_clip)
    else:
        weights = sampled_cmpo_weights(advantages, config.cmpo_clip)
    is_last = seen.step_type == int(dm_env.StepType.LAST)
    played = jnp.concatenate([returns, prior.value[-1:]])
    targets = MuesliTargets(
        advantage=errors / scale,
        value=jnp.where(is_last, seen.discount * prior.value, played),
        cmpo=CMPOTarget(raw_actions, weights),
        scale=scale,
    )
    return targets, error_moment


class _Prior(NamedTuple):
    """What is needed of what the target network says."""

    policy: Array
    """[T + 1, B, P]."""
    value: Array
    """[T + 1, B]."""
    memory: Array
    """[T + 1, B, F]."""


def _candidates(head: ActionHead, prior: _Prior, num_samples: int, key: PRNGKey) -> Array:
    """Returns raw actions [N, T + 1, B, D]: all, where they can be listed, otherwise draws from the prior."""
    if head.all_raw is None:
        keys = jax.random.split(key, num_samples)
        return jax.lax.map(lambda key: head.sample(prior.policy, key).raw, keys)
    num_actions, size = head.all_raw.shape
    leading = prior.value.shape
    return jnp.broadcast_to(head.all_raw[:, None, None], (num_actions, *leading, size))
