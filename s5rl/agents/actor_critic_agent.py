"""What A2C and PPO share: a network of actor and critic, and its optimiser."""

from __future__ import annotations

import abc
import dataclasses
from typing import NamedTuple

import dm_env
import optax

from s5rl.agents.base import AgentState
from s5rl.agents.memory_agent import MemoryAgent, MemoryAgentConfig, clear_dead_slots
from s5rl.agents.microbatches import in_microbatches
from s5rl.networks import ActorCritic
from s5rl.types import Array, CoreState, Params, PRNGKey
from s5rl.validation import check_number


@dataclasses.dataclass(frozen=True)
class ActorCriticConfig(MemoryAgentConfig):
    """Settings of every actor-critic, beside those of every algorithm.

    Attributes:
      entropy_cost: weight of the entropy of the policy.
      max_gradient_norm: gradients are scaled down to this global norm; None leaves them.

    Raises:
      ValueError: a value is out of its range.
    """

    entropy_cost: float = 0.0
    max_gradient_norm: float | None = None

    def _check_algorithm(self) -> None:
        check_number("entropy_cost", self.entropy_cost, 0)
        if self.max_gradient_norm is not None:
            check_number("max_gradient_norm", self.max_gradient_norm, 0, above=True)
        self._check_actor_critic()

    @abc.abstractmethod
    def _check_actor_critic(self) -> None:
        """Raises a ValueError if a setting of PPO's or A2C's own is out of its range."""


class EvaluatedActions(NamedTuple):
    """What a network says of T slots in which something was done already."""

    log_prob: Array
    """[T, B] of the actions; in dead slots of no meaning, but finite."""
    entropy: Array
    """[T, B] of the policy."""
    value: Array
    """[T, B], or [T + 1, B] if the time step behind the last slot was given too."""


@dataclasses.dataclass(frozen=True)
class ActorCriticAgent(MemoryAgent):
    """Everything of an actor-critic but how it learns."""

    @property
    @abc.abstractmethod
    def config(self) -> ActorCriticConfig:
        """The settings of the algorithm."""

    @property
    @abc.abstractmethod
    def _learning_rate(self) -> optax.ScalarOrSchedule:
        """The learning rate, or its schedule over gradient steps."""

    def init(self, key: PRNGKey) -> AgentState:
        """Returns fresh parameters and optimiser state."""
        params = self.network.init(key)
        return AgentState(params, self._optimizer.init(params))

    def acting_params(self, state: AgentState) -> Params:
        """Returns the parameters with the core prepared."""
        return self.network.prepare(state.params)

    @property
    def network(self) -> ActorCritic:
        """The network body that acting and learning share."""
        return ActorCritic(**self._parts)

    def _evaluate_actions(
        self, params: Params, seen: dm_env.TimeStep, core_state: CoreState, raw_action: Array
    ) -> EvaluatedActions:
        """Evaluates what was done, by unrolling the network.

        Args:
          params: parameters.
          seen: [T, B, ...] or [T + 1, B, ...] time steps as the network saw them.
          core_state: [B, ...] the memory before the first one.
          raw_action: [T, B, D]; whatever stands in dead slots has no effect.
        """

        def evaluate(seen: dm_env.TimeStep, core_state: CoreState, raw_action: Array) -> EvaluatedActions:
            output, _ = self.network.unroll(params, seen, core_state)
            policy, head = output.policy[: len(raw_action)], self.network.head
            log_prob = head.log_prob(policy, clear_dead_slots(raw_action, seen))
            return EvaluatedActions(log_prob, head.entropy(policy), output.value)

        evaluated = in_microbatches(evaluate, self.microbatch_size, in_axes=(1, 0, 1), out_axes=1)
        return evaluated(seen, core_state, raw_action)

    def _descend(self, state: AgentState, gradients: Params) -> AgentState:
        """Takes one step of the optimiser."""
        updates, opt_state = self._optimizer.update(gradients, state.opt_state, state.params)
        return AgentState(optax.apply_updates(state.params, updates), opt_state)

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        optimizer = optax.adam(self._learning_rate)
        if self.config.max_gradient_norm is not None:
            optimizer = optax.chain(optax.clip_by_global_norm(self.config.max_gradient_norm), optimizer)
        # As one vector: the many small updates of a tree are slow to run and slower to compile.
        return optax.flatten(optimizer)
