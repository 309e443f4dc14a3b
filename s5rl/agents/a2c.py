"""Advantage actor-critic with a stored memory state: the algorithm of bsuite's recurrent baseline."""

from __future__ import annotations

import dataclasses
from typing import final

import chex
import jax
import jax.numpy as jnp
import optax

from s5rl.agents.actor_critic_agent import ActorCriticAgent, ActorCriticConfig, EvaluatedActions
from s5rl.agents.base import AgentState
from s5rl.compat import global_norm
from s5rl.losses import live_slots, td_lambda_errors, weighted_mean
from s5rl.types import Array, Params, PRNGKey, Trajectory
from s5rl.validation import check_number


@final
@dataclasses.dataclass(frozen=True)
class A2CConfig(ActorCriticConfig):
    """Settings of A2C, beside those of every actor-critic; the defaults are the paper's Table 3.

    Attributes:
      td_lambda: decay of the trace of the returns, in [0, 1].

    Raises:
      ValueError: a value is out of its range.
    """

    td_lambda: float = 0.9

    def _check_actor_critic(self) -> None:
        check_number("td_lambda", self.td_lambda, 0, 1)

    @classmethod
    def bsuite(cls) -> A2CConfig:
        """Returns the settings of the paper's bsuite experiment: Table 3."""
        return cls()


@final
@dataclasses.dataclass(frozen=True)
class A2CAgent(ActorCriticAgent):
    """A2C around any core.

        L = mean(-log pi(a_t) sg(e_t) + value_cost e_t^2 - entropy_cost H_t),    e_t the TD(lambda) error

    Attributes:
      config: the settings.

    Source: Mnih et al. 2016; Osband et al. 2020 for TD(lambda) errors as advantages.
    """

    config: A2CConfig = A2CConfig()

    def log_probs(self, params: Params, trajectory: Trajectory) -> Array:
        """Returns the log-probabilities of the actions; see `Agent.log_probs`."""
        return self._evaluate(params, trajectory).log_prob

    def update(
        self, state: AgentState, trajectory: Trajectory, key: PRNGKey
    ) -> tuple[AgentState, dict[str, Array]]:
        """Takes one gradient step on the trajectory."""
        del key  # nothing is drawn
        gradients, metrics = jax.grad(self._loss, has_aux=True)(state.params, trajectory)
        return self._descend(state, gradients), {**metrics, "gradient_norm": global_norm(gradients)}

    def _loss(self, params: Params, trajectory: Trajectory) -> tuple[Array, dict[str, Array]]:
        """Returns the loss, a mean over live slots, and its parts."""
        timesteps = trajectory.timesteps
        chex.assert_rank(timesteps.step_type, 2)
        evaluated = self._evaluate(params, trajectory)
        errors = td_lambda_errors(
            timesteps, evaluated.value, discount=self.config.discount, td_lambda=self.config.td_lambda
        )
        weights = live_slots(timesteps)
        policy_loss = weighted_mean(-evaluated.log_prob * jax.lax.stop_gradient(errors), weights)
        value_loss = weighted_mean(jnp.square(errors), weights)
        entropy = weighted_mean(evaluated.entropy, weights)
        loss = policy_loss + self.config.value_cost * value_loss - self.config.entropy_cost * entropy
        return loss, {
            "loss": loss,
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
        }

    def _evaluate(self, params: Params, trajectory: Trajectory) -> EvaluatedActions:
        """Returns log-probabilities and entropies [T, B], and values [T + 1, B]."""
        seen, core_state = self.inputs.of_trajectory(trajectory), trajectory.initial_state.core_state
        return self._evaluate_actions(params, seen, core_state, trajectory.extras["raw_action"])

    @property
    def _learning_rate(self) -> optax.ScalarOrSchedule:
        return self.config.learning_rate
