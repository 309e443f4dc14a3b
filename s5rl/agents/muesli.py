"""Muesli: policy gradient, regularisation towards CMPO, and a model that is learned but never searched."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple, final

import chex
import dm_env
import jax
import jax.numpy as jnp
import optax

from s5rl.agents.base import AgentState
from s5rl.agents.memory_agent import MemoryAgent, annealed
from s5rl.agents.microbatches import in_microbatches
from s5rl.agents.muesli_config import MuesliConfig
from s5rl.agents.muesli_replay import add_to_replay, init_replay, mix_with_replay
from s5rl.agents.muesli_sequences import MuesliSequences
from s5rl.agents.muesli_targets import CMPOTarget, MuesliTargets, make_targets
from s5rl.agents.sequences import minibatch_places, take_minibatch
from s5rl.compat import global_norm
from s5rl.cores import LSTMCore
from s5rl.losses import SecondMoment, live_slots, weighted_mean
from s5rl.networks import ModelState, MuesliNetwork, TwoHotDistribution
from s5rl.types import Array, CoreState, Params, PRNGKey, PyTree, Trajectory

_DEFAULTS = MuesliConfig()


class MuesliCarry(NamedTuple):
    """What Muesli carries from update to update beside parameters and optimiser."""

    target_params: Params
    """Moving average of the parameters; it acts, and it is the prior."""
    error_moment: SecondMoment
    """Of the errors of the prior's values."""
    replay: PyTree
    """Past sequences; () without replay."""


class _Slots(NamedTuple):
    """What the network says of T slots of B streams."""

    log_prob: Array
    """[T, B] of the actions that were taken."""
    entropy: Array
    """[T, B] of the policy."""
    cmpo: Array
    """[T, B] KL(pi_CMPO, pi)."""
    value: Array
    """[T, B] cross-entropy of the value."""


@final
@dataclasses.dataclass(frozen=True)
class MuesliAgent(MemoryAgent):
    """Muesli around any core.

    The target network, a moving average of the parameters, acts. It also is the prior: its values and its
    model give the returns and the advantages that an update learns from.

        L = mean(-min(1, pi / pi_b) log pi(a_t) (G_t - v_prior) / sigma + cmpo_cost KL(pi_CMPO, pi)
                 + model_cost KL(pi_CMPO(s_{t+k}), pi_k) + reward_cost CE(r_{t+k}, reward_k)
                 + value_cost CE(G_{t+k}, value_k))

    The clipped ratio is a weight: no gradient flows through it. Means over k leave out what lies behind the
    end of an episode. Behind the last slot and at the end of a truncated episode the prior's value stands for
    G, at the end of a terminated one 0.

    Attributes:
      config: the settings.

    Source: Hessel et al. 2021 (Muesli), equations 7 and 9 to 14; where it says nothing, fields of the config.
    """

    config: MuesliConfig = _DEFAULTS

    def init(self, key: PRNGKey) -> AgentState:
        """Returns fresh parameters, the target network with the same ones, and an empty replay."""
        params = self.network.init(key)
        replay = init_replay(self.config, self, params) if self.config.replay_fraction else ()
        carry = MuesliCarry(jax.tree.map(jnp.copy, params), SecondMoment.zero(), replay)
        return AgentState(params, self._optimizer.init(params), carry)

    def acting_params(self, state: AgentState) -> Params:
        """Returns the parameters of the target network with the core prepared."""
        return self.network.prepare(state.carry.target_params)

    @property
    def network(self) -> MuesliNetwork:
        """The network body that acting and learning share, with the model."""
        config = self.config
        return MuesliNetwork(
            **self._parts,
            model=LSTMCore(config.model_size),
            values=TwoHotDistribution(config.num_bins, config.max_value),
        )

    def log_probs(self, params: Params, trajectory: Trajectory) -> Array:
        """Returns the log-probabilities of the actions; see `Agent.log_probs`."""
        sequences = self._sequences(trajectory)
        output, _ = self.network.unroll(params, sequences.seen, sequences.core_state)
        return self.network.head.log_prob(output.policy[:-1], sequences.raw_action)

    def update(
        self, state: AgentState, trajectory: Trajectory, key: PRNGKey
    ) -> tuple[AgentState, dict[str, Array]]:
        """Takes num_epochs * num_minibatches gradient steps on the trajectory and on replayed sequences.

        Metrics are means over the gradient steps.

        Raises:
          ValueError: num_minibatches does not divide the number of rows.
        """
        chex.assert_rank(trajectory.timesteps.step_type, 2)
        config, sequences = self.config, self._sequences(trajectory)
        if config.replay_fraction:
            replay = add_to_replay(config, state.carry.replay, sequences)
            state = state._replace(carry=state.carry._replace(replay=replay))
        num_rows = sequences.log_prob.shape[1]

        def step(state: AgentState, batch: tuple[Array, PRNGKey]) -> tuple[AgentState, dict[str, Array]]:
            places, key = batch
            key_replay, key_step = jax.random.split(key)
            minibatch = take_minibatch(sequences, places)
            if config.replay_fraction:
                minibatch = mix_with_replay(config, state.carry.replay, minibatch, key_replay)
            return self._gradient_step(state, minibatch, key_step)

        def epoch(state: AgentState, key: PRNGKey) -> tuple[AgentState, dict[str, Array]]:
            key_places, key_steps = jax.random.split(key)
            places = minibatch_places(key_places, num_rows, config.num_minibatches)
            return jax.lax.scan(step, state, (places, jax.random.split(key_steps, config.num_minibatches)))

        state, metrics = jax.lax.scan(epoch, state, jax.random.split(key, config.num_epochs))
        return state, jax.tree.map(jnp.mean, metrics)

    def _sequences(self, trajectory: Trajectory) -> MuesliSequences:
        return MuesliSequences.of(trajectory, self.inputs.of_trajectory(trajectory))

    def _gradient_step(
        self, state: AgentState, minibatch: MuesliSequences, key: PRNGKey
    ) -> tuple[AgentState, dict[str, Array]]:
        config, carry = self.config, state.carry
        targets, error_moment = make_targets(
            config,
            self.network,
            carry.target_params,
            carry.error_moment,
            minibatch,
            key,
            self.microbatch_size,
        )
        gradients, metrics = jax.grad(self._loss, has_aux=True)(state.params, targets, minibatch)
        updates, opt_state = self._optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        target_params = optax.incremental_update(params, carry.target_params, config.target_update_rate)
        carry = carry._replace(target_params=target_params, error_moment=error_moment)
        metrics |= {"gradient_norm": global_norm(gradients), "advantage_scale": targets.scale}
        return AgentState(params, opt_state, carry), metrics

    def _loss(
        self, params: Params, targets: MuesliTargets, minibatch: MuesliSequences
    ) -> tuple[Array, dict[str, Array]]:
        """Returns the loss and its parts, means over live slots."""
        config, live = self.config, live_slots(minibatch.seen)
        evaluate = in_microbatches(
            functools.partial(self._evaluate, params), self.microbatch_size, (0, 1, 1, 1, 2), (1, 2)
        )
        slots, model_slots = evaluate(
            minibatch.core_state, minibatch.seen, minibatch.raw_action, targets.value, targets.cmpo
        )

        log_ratio = jnp.where(live > 0, slots.log_prob - minibatch.log_prob, 0.0)
        weight = jax.lax.stop_gradient(jnp.exp(jnp.minimum(log_ratio, 0.0)))
        policy_loss = weighted_mean(-weight * slots.log_prob * targets.advantage, live)
        cmpo_loss = weighted_mean(slots.cmpo, live)
        model = self._model_losses(model_slots, minibatch.seen)
        length = config.model_unroll_length
        value_loss = (weighted_mean(slots.value, live) + length * model["value"]) / (1 + length)
        loss = (
            policy_loss
            + config.cmpo_cost * cmpo_loss
            + config.model_cost * model["policy"]
            + config.reward_cost * model["reward"]
            + config.value_cost * value_loss
        )
        return loss, {
            "loss": loss,
            "policy_loss": policy_loss,
            "cmpo_loss": cmpo_loss,
            "model_policy_loss": model["policy"],
            "reward_loss": model["reward"],
            "value_loss": value_loss,
            "entropy": weighted_mean(slots.entropy, live),
        }

    def _evaluate(
        self,
        params: Params,
        core_state: CoreState,
        seen: dm_env.TimeStep,
        raw_action: Array,
        value: Array,
        cmpo: CMPOTarget,
    ) -> tuple[_Slots, dict[str, Array]]:
        """Returns what a loss is made of, slot by slot; in dead slots it has no meaning.

        Args:
          params: parameters.
          core_state: [B, ...] the memory before the first slot.
          seen: [T + 1, B, ...] what the network sees.
          raw_action: [T, B, D] what was done.
          value: [T + 1, B] what values should be.
          cmpo: leaves [N, T + 1, B, ...] what policies should be.

        Returns:
          What the root says, and the errors [K, T, B] of the model's "reward", "value" and "policy" behind
          each of its K actions.
        """
        network, head = self.network, self.network.head
        output, _ = network.unroll(params, seen, core_state)
        policy = output.policy[:-1]

        def step(state: ModelState, ahead: _Ahead) -> tuple[ModelState, dict[str, Array]]:
            output, state = network.step_model(params, state, ahead.raw_action)
            return state, {
                "reward": network.values.cross_entropy(output.reward_logits, ahead.reward),
                "value": network.values.cross_entropy(output.value_logits, ahead.value),
                "policy": ahead.cmpo.distance(head, output.policy),
            }

        length = self.config.model_unroll_length
        ahead = _Ahead(
            raw_action=_windows(raw_action, 0, length),
            reward=_windows(seen.reward, 1, length),
            value=_windows(value, 1, length),
            cmpo=jax.tree.map(lambda leaf: _windows(leaf, 1, length, axis=1), cmpo),
        )
        _, model_errors = jax.lax.scan(step, network.start_model(params, output.memory[:-1]), ahead)
        slots = _Slots(
            log_prob=head.log_prob(policy, raw_action),
            entropy=head.entropy(policy),
            cmpo=jax.tree.map(lambda leaf: leaf[:, :-1], cmpo).distance(head, policy),
            value=network.values.cross_entropy(output.value_logits[:-1], value[:-1]),
        )
        return slots, model_errors

    def _model_losses(self, errors: dict[str, Array], seen: dm_env.TimeStep) -> dict[str, Array]:
        """Returns the losses of the model's policies, rewards and values, means over its K steps.

        Step k from slot t counts if the slots t to t + k - 1 are live. Its policy counts only if time step
        t + k is not LAST, too: what is done there is ignored.
        """
        length = self.config.model_unroll_length
        is_played = (seen.step_type != int(dm_env.StepType.LAST)).astype(float)
        weight = jnp.cumprod(_windows(live_slots(seen), 0, length), axis=0)
        played = weight * _windows(is_played, 1, length)
        weights = {"reward": weight, "value": weight, "policy": played}

        def mean(errors: Array, weights: Array) -> Array:
            # A step that no episode of the minibatch reaches is none.
            count = jnp.sum(jnp.any(weights > 0, axis=(1, 2)))
            return jnp.sum(jax.vmap(weighted_mean)(errors, weights)) / jnp.maximum(count, 1)

        return jax.tree.map(mean, errors, weights)

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        config = self.config
        num_updates, steps = config.annealing_updates, config.num_epochs * config.num_minibatches
        optimizer = optax.chain(
            optax.scale_by_adam(),
            optax.clip(config.max_update),
            optax.scale_by_learning_rate(annealed(config.learning_rate, num_updates and num_updates * steps)),
        )
        # As one vector: the many small updates of a tree are slow to run and slower to compile.
        return optax.flatten(optimizer)


class _Ahead(NamedTuple):
    """What step k of the model needs of slot t + k - 1 and of time step t + k, leaves [K, T, B, ...]."""

    raw_action: Array
    reward: Array
    value: Array
    cmpo: CMPOTarget
    """Leaves [K, N, T, B, ...]."""


def _windows(x: Array, start: int, num_windows: int, axis: int = 0) -> Array:
    """Returns x from time start, start + 1, ... on, each T long, with 0 behind the end.

    Args:
      x: T + start entries along its axis of time.
      start: of the first window.
      num_windows: K.
      axis: the axis of time.

    Returns:
      [K, ...] with T entries along the axis of time.
    """
    length = x.shape[axis] - start
    padding = [(0, 0)] * x.ndim
    padding[axis] = (0, num_windows - 1)
    padded = jnp.pad(x, padding)
    return jnp.stack(
        [jax.lax.slice_in_dim(padded, start + k, start + k + length, axis=axis) for k in range(num_windows)]
    )
