"""Recurrent proximal policy optimisation with a stored memory state and whole sequences per minibatch."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, final

import chex
import dm_env
import jax
import jax.numpy as jnp
import optax

from s5rl.agents.actor_critic_agent import ActorCriticAgent, ActorCriticConfig, EvaluatedActions
from s5rl.agents.base import AgentState
from s5rl.agents.memory_agent import annealed
from s5rl.agents.microbatches import in_microbatches
from s5rl.agents.sequences import Sequences, cut, join, minibatch_places, split, take_minibatch
from s5rl.compat import global_norm
from s5rl.losses import (
    approximate_kl,
    clipped_square_errors,
    clipped_surrogate,
    explained_variance,
    live_slots,
    standardize,
    td_lambda_errors,
    weighted_mean,
)
from s5rl.types import Array, CoreState, Params, PRNGKey, Trajectory
from s5rl.validation import check_bool, check_number, check_positive

STEP_METRICS = (
    "loss",
    "policy_loss",
    "value_loss",
    "entropy",
    "approximate_kl",
    "clip_fraction",
    "gradient_norm",
)
"""Metrics of each gradient step; an update reports their means."""


@final
@dataclasses.dataclass(frozen=True)
class PPOConfig(ActorCriticConfig):
    """Settings of PPO, beside those of every actor-critic.

    Attributes:
      num_epochs: how often an update goes over its trajectory.
      num_minibatches: gradient steps of an epoch, each on as many whole sequences.
      sequence_length: number of slots of a sequence, through which gradients flow; None for `unroll_length`.
      refresh_states: whether the memories before all sequences but the first of each environment are computed
        anew with the current parameters before each epoch; otherwise they stay those of the first.
      gae_lambda: decay of the trace of the advantages, in [0, 1].
      policy_clip: how far a probability ratio may profitably leave 1.
      value_clip: how far a value may profitably move in one update; None for any distance.
      normalize_advantages: whether each minibatch has advantages of mean 0 and standard deviation 1.
      max_kl: no further epoch of the update once one has a larger KL divergence; None never stops.
      annealing_updates: the learning rate falls linearly to 0 over the gradient steps of so many whole
        updates; None keeps it. Steps that `max_kl` leaves out do not count.

    Raises:
      ValueError: a value is out of its range, sequence_length does not divide unroll_length, or
        num_minibatches the number of sequences, or there are no memories to refresh.
    """

    max_gradient_norm: float | None = 0.5
    num_envs: int = 16
    unroll_length: int = 128
    num_epochs: int = 4
    num_minibatches: int = 4
    sequence_length: int | None = None
    refresh_states: bool = False
    gae_lambda: float = 0.95
    policy_clip: float = 0.2
    value_clip: float | None = None
    normalize_advantages: bool = True
    max_kl: float | None = None
    annealing_updates: int | None = None

    def _check_actor_critic(self) -> None:
        check_positive(num_epochs=self.num_epochs, num_minibatches=self.num_minibatches)
        check_number("gae_lambda", self.gae_lambda, 0, 1)
        check_number("policy_clip", self.policy_clip, 0, above=True)
        if self.value_clip is not None:
            check_number("value_clip", self.value_clip, 0, above=True)
        check_bool("normalize_advantages", self.normalize_advantages)
        if self.max_kl is not None:
            check_number("max_kl", self.max_kl, 0, above=True)
        if self.annealing_updates is not None:
            check_positive(annealing_updates=self.annealing_updates)
        self._check_sequences()

    def _check_sequences(self) -> None:
        length = self.unroll_length if self.sequence_length is None else self.sequence_length
        check_positive(sequence_length=length)
        if self.unroll_length % length:
            raise ValueError(
                f"sequence_length must divide unroll_length, got sequence_length={length} and "
                f"unroll_length={self.unroll_length}."
            )
        num_sequences = self.num_envs * self.unroll_length // length
        if num_sequences % self.num_minibatches:
            raise ValueError(
                f"num_minibatches must divide the number of sequences, got num_minibatches="
                f"{self.num_minibatches}, and {num_sequences} sequences of {length} slots in "
                f"num_envs={self.num_envs} times unroll_length={self.unroll_length} slots."
            )
        check_bool("refresh_states", self.refresh_states)
        if self.refresh_states and length == self.unroll_length:
            raise ValueError(
                "refresh_states needs a sequence_length below unroll_length, since the memory before a whole "
                f"unroll is known from acting only, got sequence_length={self.sequence_length} and "
                f"unroll_length={self.unroll_length}."
            )

    def minibatch_size(self, num_envs: int) -> int:
        """Returns the number of sequences of a gradient step."""
        num_sequences = num_envs * self.unroll_length // (self.sequence_length or self.unroll_length)
        return num_sequences // self.num_minibatches

    @classmethod
    def popgym(cls) -> PPOConfig:
        """Returns the settings of the paper's POPGym experiment: Table 4.

        The table does not say what is observed. Previous action and is-first follow popgym's own baselines,
        which wrap every environment in `PreviousAction` and `Antialias`.
        """
        return cls(
            learning_rate=5e-5,
            discount=0.99,
            entropy_cost=0.0,
            value_cost=1.0,
            max_gradient_norm=0.5,
            num_envs=64,
            unroll_length=1024,
            torso_sizes=(128, 256),
            policy_sizes=(128, 128),
            value_sizes=(128, 128),
            activation="leaky_relu",
            observe_previous_action=True,
            observe_is_first=True,
            num_epochs=30,
            num_minibatches=8,
            gae_lambda=1.0,
            policy_clip=0.2,
        )


class _Progress(NamedTuple):
    """What an update carries from epoch to epoch."""

    state: AgentState
    num_epochs: Array
    """[] done so far."""
    sums: dict[str, Array]
    """Of each epoch's mean metrics."""
    kl: Array
    """[] of the latest epoch."""


@final
@dataclasses.dataclass(frozen=True)
class PPOAgent(ActorCriticAgent):
    """PPO around any core.

        L = mean(-min(r_t A_t, clip(r_t, 1 - epsilon, 1 + epsilon) A_t) + value_cost (v_t - G_t)^2
                 - entropy_cost H_t),    r_t = pi(a_t) / pi_old(a_t)

    A_t is the generalised advantage estimate and G_t = A_t + v_old; both stay fixed during an update.

    A minibatch holds whole sequences. Each is unrolled with the current parameters from the memory that its
    actor had before the first slot, and reset where the actor reset it: before the first gradient step,
    learning computes the probabilities that acting computed, and every ratio is 1. The memory before a
    trajectory is stored by acting; those at the cuts between its sequences come from an unroll.

    Attributes:
      config: the settings.

    Source: Schulman et al. 2017; Schulman et al. 2016 for GAE.
    """

    config: PPOConfig = PPOConfig()

    def log_probs(self, params: Params, trajectory: Trajectory) -> Array:
        """Returns the log-probabilities of the actions before the first step; see `Agent.log_probs`."""
        evaluated = self._evaluate(params, self._sequences(params, trajectory))
        return join(evaluated.log_prob, num_rows=trajectory.timesteps.step_type.shape[1])

    def update(
        self, state: AgentState, trajectory: Trajectory, key: PRNGKey
    ) -> tuple[AgentState, dict[str, Array]]:
        """Takes num_epochs * num_minibatches gradient steps on the trajectory, fewer after a `max_kl` stop.

        Metrics are means over the gradient steps, but for `explained_variance`, of the returns by the values
        before the first step, and `epochs`, the number of epochs done.

        Raises:
          ValueError: the trajectory does not consist of whole sequences, or num_minibatches does not divide
            their number.
        """
        config = self.config
        chex.assert_rank(trajectory.timesteps.step_type, 2)
        sequences = self._sequences(state.params, trajectory)
        num_sequences, num_envs = sequences.live.shape[1], trajectory.timesteps.step_type.shape[1]

        def goes_on(progress: _Progress) -> Array:
            is_left = progress.num_epochs < config.num_epochs
            return is_left if config.max_kl is None else is_left & (progress.kl <= config.max_kl)

        def epoch(progress: _Progress) -> _Progress:
            epoch_key = jax.random.fold_in(key, progress.num_epochs)
            minibatches = minibatch_places(epoch_key, num_sequences, config.num_minibatches)
            current = sequences
            if config.refresh_states:
                core_state = jax.lax.cond(
                    progress.num_epochs > 0,
                    lambda: self._refreshed_states(progress.state.params, sequences, num_envs),
                    lambda: sequences.core_state,
                )
                current = sequences._replace(core_state=core_state)
            state, metrics = jax.lax.scan(
                lambda state, places: self._gradient_step(state, take_minibatch(current, places)),
                progress.state,
                minibatches,
            )
            means = {name: jnp.mean(metrics[name]) for name in STEP_METRICS}
            sums = jax.tree.map(jnp.add, progress.sums, means)
            return _Progress(state, progress.num_epochs + 1, sums, means["approximate_kl"])

        zero = jnp.zeros((), float)
        start = _Progress(state, jnp.int32(0), dict.fromkeys(STEP_METRICS, zero), zero)
        end = jax.lax.while_loop(goes_on, epoch, start)
        returns = sequences.value + sequences.advantage
        return end.state, {
            **{name: total / end.num_epochs for name, total in end.sums.items()},
            "explained_variance": explained_variance(sequences.value, returns, sequences.live),
            "epochs": end.num_epochs,
        }

    def _sequences(self, params: Params, trajectory: Trajectory) -> Sequences:
        """Returns a trajectory with its values and advantages under the parameters that acted.

        The values come from one unroll, not from acting: nobody has acted at the final time step, whose value
        is needed for the bootstrap. The memories at the cuts come from the same unroll.
        """
        timesteps, live = trajectory.timesteps, live_slots(trajectory.timesteps)
        length = self.config.sequence_length or len(live)
        if len(live) % length:
            raise ValueError(
                f"trajectory must consist of whole sequences, got {len(live)} slots and "
                f"sequence_length={length}."
            )
        seen = self.inputs.of_trajectory(trajectory)
        # The last sequence together with the final time step, the others one by one.
        before, last = (
            jax.tree.map(lambda leaf, at=at: leaf[at], seen)
            for at in (slice(-length - 1), slice(-length - 1, None))
        )
        core_states, value = self._unroll_to_cuts(params, before, trajectory.initial_state.core_state, length)
        num_envs = live.shape[1]
        last_value, _ = self._unroll_values(
            params, last, jax.tree.map(lambda leaf: _of_each(leaf, num_envs)[:, -1], core_states)
        )
        value = jnp.concatenate([value, last_value])
        advantage = td_lambda_errors(
            timesteps, value, discount=self.config.discount, td_lambda=self.config.gae_lambda
        )
        return Sequences(
            core_states,
            seen=cut(jax.tree.map(lambda leaf: leaf[:-1], seen), length),
            live=cut(live, length),
            raw_action=cut(trajectory.extras["raw_action"], length),
            log_prob=cut(trajectory.extras["log_prob"], length),
            value=cut(value[:-1], length),
            advantage=cut(advantage, length),
        )

    def _refreshed_states(self, params: Params, sequences: Sequences, num_envs: int) -> CoreState:
        """Returns the memories [N, ...] before all sequences; those before the first ones stay."""
        length = len(sequences.live)
        before = jax.tree.map(lambda leaf: leaf[:-length], join(sequences.seen, num_envs))
        first = jax.tree.map(lambda leaf: _of_each(leaf, num_envs)[:, 0], sequences.core_state)
        core_states, _ = self._unroll_to_cuts(params, before, first, length)
        return core_states

    def _unroll_to_cuts(
        self, params: Params, seen: dm_env.TimeStep, core_state: CoreState, length: int
    ) -> tuple[CoreState, Array]:
        """Unrolls all sequences but the last of each environment.

        Args:
          params: parameters.
          seen: [(C - 1) * L, B, ...] consecutive sequences of B environments.
          core_state: [B, ...] the memory before the first ones.
          length: L, number of slots of a sequence.

        Returns:
          The memories [B * C, ...] before all C sequences, the last ones included, and values
          [(C - 1) * L, B].
        """
        if len(seen.step_type) == 0:  # else the scan would be compiled
            return core_state, jnp.zeros(seen.step_type.shape)

        def unroll(core_state: CoreState, seen: dm_env.TimeStep) -> tuple[CoreState, tuple[CoreState, Array]]:
            value, after = self._unroll_values(params, seen, core_state)
            return after, (after, value)

        _, (after, value) = jax.lax.scan(unroll, core_state, split(seen, length))

        def all_of_each(first: Array, later: Array) -> Array:
            return jnp.concatenate([first[:, None], jnp.swapaxes(later, 0, 1)], axis=1).reshape(
                -1, *first.shape[1:]
            )

        core_states = jax.tree.map(all_of_each, core_state, after)
        return core_states, value.reshape(seen.step_type.shape)

    def _unroll_values(
        self, params: Params, seen: dm_env.TimeStep, core_state: CoreState
    ) -> tuple[Array, CoreState]:
        """Returns the values [T, B] of time steps [T, B, ...], and the memory behind them."""

        def unroll(seen: dm_env.TimeStep, core_state: CoreState) -> tuple[Array, CoreState]:
            output, after = self.network.unroll(params, seen, core_state)
            return output.value, after

        return in_microbatches(unroll, self.microbatch_size, (1, 0), (1, 0))(seen, core_state)

    def _gradient_step(self, state: AgentState, minibatch: Sequences) -> tuple[AgentState, dict[str, Array]]:
        gradients, metrics = jax.grad(self._loss, has_aux=True)(state.params, minibatch)
        return self._descend(state, gradients), {**metrics, "gradient_norm": global_norm(gradients)}

    def _loss(self, params: Params, minibatch: Sequences) -> tuple[Array, dict[str, Array]]:
        """Returns the loss, a mean over the live slots of a minibatch, and its parts."""
        config, live = self.config, minibatch.live
        evaluated = self._evaluate(params, minibatch)
        # Selected before exp: an overflow in a dead slot would make the gradient NaN.
        log_ratio = jnp.where(live > 0, evaluated.log_prob - minibatch.log_prob, 0.0)
        ratio = jnp.exp(log_ratio)
        advantage = minibatch.advantage
        if config.normalize_advantages:
            advantage = standardize(advantage, live)
        surrogate = clipped_surrogate(ratio, advantage, config.policy_clip)
        returns = minibatch.value + minibatch.advantage
        square_errors = clipped_square_errors(evaluated.value, minibatch.value, returns, config.value_clip)
        policy_loss = -weighted_mean(surrogate, live)
        value_loss = weighted_mean(square_errors, live)
        entropy = weighted_mean(evaluated.entropy, live)
        loss = policy_loss + config.value_cost * value_loss - config.entropy_cost * entropy
        return loss, {
            "loss": loss,
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "approximate_kl": weighted_mean(approximate_kl(log_ratio), live),
            "clip_fraction": weighted_mean((jnp.abs(ratio - 1.0) > config.policy_clip).astype(float), live),
        }

    def _evaluate(self, params: Params, sequences: Sequences) -> EvaluatedActions:
        """Returns log-probabilities, entropies and values [T, B]."""
        return self._evaluate_actions(params, sequences.seen, sequences.core_state, sequences.raw_action)

    @property
    def _learning_rate(self) -> optax.ScalarOrSchedule:
        config = self.config
        num_updates, steps = config.annealing_updates, config.num_epochs * config.num_minibatches
        return annealed(config.learning_rate, num_updates and num_updates * steps)


def _of_each(leaf: Array, num_envs: int) -> Array:
    """Returns [B, C, ...] of sequences [B * C, ...]: those of each environment."""
    return leaf.reshape(num_envs, -1, *leaf.shape[1:])
