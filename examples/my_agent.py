"""An agent of one's own: policy gradients whose steps are weighted by how well they went."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from s5rl.agents import ActorCriticAgent, ActorCriticConfig, AgentState
from s5rl.agents.actor_critic_agent import EvaluatedActions
from s5rl.cores import GRUCore
from s5rl.losses import live_slots, td_lambda_errors, weighted_mean
from s5rl.types import Params, Trajectory
from s5rl.validation import check_number


@dataclasses.dataclass(frozen=True)
class MyConfig(ActorCriticConfig):
    """The settings of every actor-critic, and one more: below this temperature only the best steps count."""

    temperature: float = 0.5

    def _check_actor_critic(self) -> None:
        check_number("temperature", self.temperature, 0, above=True)


@dataclasses.dataclass(frozen=True)
class MyAgent(ActorCriticAgent):
    """L = mean(-log pi(a_t) exp(min(e_t / temperature, 3)) + value_cost e_t^2),  e_t the TD(lambda) error."""

    config: MyConfig = MyConfig()

    def log_probs(self, params: Params, trajectory: Trajectory) -> Array:
        """Returns the log-probabilities [T, B] of the actions."""
        return self._evaluate(params, trajectory).log_prob

    def update(self, state: AgentState, trajectory: Trajectory, key: Array) -> tuple[AgentState, dict]:
        """Takes one gradient step."""
        gradients, metrics = jax.grad(self._loss, has_aux=True)(state.params, trajectory)
        return self._descend(state, gradients), metrics

    def _loss(self, params: Params, trajectory: Trajectory) -> tuple[Array, dict]:
        evaluated = self._evaluate(params, trajectory)
        discount = self.config.discount
        errors = td_lambda_errors(trajectory.timesteps, evaluated.value, discount=discount, td_lambda=0.9)
        live = live_slots(trajectory.timesteps)  # dead slots have weight 0
        weight = jnp.exp(jnp.minimum(jax.lax.stop_gradient(errors) / self.config.temperature, 3.0))
        policy_loss = weighted_mean(-evaluated.log_prob * weight, live)
        loss = policy_loss + self.config.value_cost * weighted_mean(jnp.square(errors), live)
        return loss, {"loss": loss, "entropy": weighted_mean(evaluated.entropy, live)}

    def _evaluate(self, params: Params, trajectory: Trajectory) -> EvaluatedActions:
        seen, memory = self.inputs.of_trajectory(trajectory), trajectory.initial_state.core_state
        return self._evaluate_actions(params, seen, memory, trajectory.extras["raw_action"])

    _learning_rate = property(lambda self: self.config.learning_rate)


my_agent = MyAgent(GRUCore(32), config=MyConfig(learning_rate=3e-3, num_envs=8, unroll_length=16))
