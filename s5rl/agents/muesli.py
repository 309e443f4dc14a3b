"""Muesli: policy gradient, regularisation towards CMPO, and a model that is learned but never searched."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, final

import chex
import dm_env
import jax
import jax.numpy as jnp
import optax

from s5rl.agents.base import AgentState
from s5rl.agents.memory_agent import MemoryAgent, annealed
from s5rl.agents.muesli_config import MuesliConfig
from s5rl.agents.muesli_replay import add_to_replay, init_replay, mix_with_replay
from s5rl.agents.muesli_sequences import MuesliSequences
from s5rl.agents.muesli_targets import CMPOTarget, MuesliTargets, make_targets
from s5rl.agents.sequences import minibatch_places, take_minibatch
from s5rl.compat import global_norm
from s5rl.cores import LSTMCore
from s5rl.losses import SecondMoment, live_slots, weighted_mean
from s5rl.networks import ModelState, MuesliNetwork, TwoHotDistribution
from s5rl.types import Array, Params, PRNGKey, PyTree, Trajectory

_DEFAULTS = MuesliConfig()


class MuesliCarry(NamedTuple):
    """What Muesli carries from update to update beside parameters and optimiser."""

    target_params: Params
    """Moving average of the parameters; it acts, and it is the prior."""
    error_moment: SecondMoment
    """Of the errors of the prior's values."""
    replay: PyTree
    """Past sequences; () without replay."""


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
            config, self.network, carry.target_params, carry.error_moment, minibatch, key
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
        config, network = self.config, self.network
        head, live = network.head, live_slots(minibatch.seen)
        output, _ = network.unroll(params, minibatch.seen, minibatch.core_state)
        policy = output.policy[:-1]

        log_prob = head.log_prob(policy, minibatch.raw_action)
        log_ratio = jnp.where(live > 0, log_prob - minibatch.log_prob, 0.0)
        weight = jax.lax.stop_gradient(jnp.exp(jnp.minimum(log_ratio, 0.0)))
        policy_loss = weighted_mean(-weight * log_prob * targets.advantage, live)
        cmpo = jax.tree.map(lambda leaf: leaf[:, :-1], targets.cmpo)
        cmpo_loss = weighted_mean(cmpo.distance(head, policy), live)
        root_errors = network.values.cross_entropy(output.value_logits[:-1], targets.value[:-1])
        model = self._model_losses(params, output.memory[:-1], targets, minibatch)
        length = config.model_unroll_length
        value_loss = (weighted_mean(root_errors, live) + length * model["value"]) / (1 + length)
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
            "entropy": weighted_mean(head.entropy(policy), live),
        }

    def _model_losses(
        self, params: Params, memory: Array, targets: MuesliTargets, minibatch: MuesliSequences
    ) -> dict[str, Array]:
        """Returns the losses of the model's policies, rewards and values, means over its K steps.

        Step k from slot t counts if the slots t to t + k - 1 are live. Its policy counts only if time step
        t + k is not LAST, too: what is done there is ignored.
        """
        network, seen = self.network, minibatch.seen
        live = live_slots(seen)

        def step(
            carry: tuple[ModelState, Array], ahead: _Ahead
        ) -> tuple[tuple[ModelState, Array], tuple[dict[str, Array], dict[str, Array]]]:
            state, weight = carry
            output, state = network.step_model(params, state, ahead.raw_action)
            weight = weight * ahead.live
            reward_errors = network.values.cross_entropy(output.reward_logits, ahead.reward)
            value_errors = network.values.cross_entropy(output.value_logits, ahead.value)
            distances = ahead.cmpo.distance(network.head, output.policy)
            played = weight * ahead.is_played
            losses = {
                "reward": weighted_mean(reward_errors, weight),
                "value": weighted_mean(value_errors, weight),
                "policy": weighted_mean(distances, played),
            }
            counts = {
                "reward": jnp.any(weight > 0),
                "value": jnp.any(weight > 0),
                "policy": jnp.any(played > 0),
            }
            return (state, weight), (losses, counts)

        length = self.config.model_unroll_length
        is_played = (seen.step_type != int(dm_env.StepType.LAST)).astype(float)
        ahead = _Ahead(
            raw_action=_windows(minibatch.raw_action, 0, length),
            live=_windows(live, 0, length),
            reward=_windows(seen.reward, 1, length),
            value=_windows(targets.value, 1, length),
            is_played=_windows(is_played, 1, length),
            cmpo=jax.tree.map(lambda leaf: _windows(leaf, 1, length, axis=1), targets.cmpo),
        )
        start = network.start_model(params, memory), jnp.ones_like(live)
        _, (losses, counts) = jax.lax.scan(step, start, ahead)
        # A step that no episode of the minibatch reaches is none.
        return jax.tree.map(lambda x, count: jnp.sum(x) / jnp.maximum(jnp.sum(count), 1), losses, counts)

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
    live: Array
    """Of the slot."""
    reward: Array
    value: Array
    is_played: Array
    """Whether the time step is not LAST."""
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
