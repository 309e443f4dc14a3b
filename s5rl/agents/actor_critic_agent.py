"""What A2C and PPO share: the network, its optimiser, and how they act."""

from __future__ import annotations

import abc
import dataclasses
from typing import NamedTuple, Self

import dm_env
import jax
import jax.numpy as jnp
import optax

from s5rl.agents.base import Agent, AgentState, UnboundAgentError, key_for_each_row
from s5rl.cores import RecurrentCore
from s5rl.networks import ActorCritic, MLPTorso, NetworkInputs, Torso
from s5rl.networks.torso import ACTIVATIONS
from s5rl.types import ActorState, ActOutput, Array, CoreState, EnvironmentSpec, Params, PRNGKey
from s5rl.validation import check_bool, check_choice, check_number, check_positive, check_sizes


@dataclasses.dataclass(frozen=True)
class ActorCriticConfig(abc.ABC):
    """Settings of every actor-critic.

    Attributes:
      learning_rate: of Adam.
      discount: discount factor of a step.
      entropy_cost: weight of the entropy of the policy.
      value_cost: weight of the squared error of the value.
      max_gradient_norm: gradients are scaled down to this global norm; None leaves them.
      num_envs: number of environments that act in parallel.
      unroll_length: number of slots of a trajectory; a whole n-step episode needs n + 1.
      torso_sizes: hidden layers before the memory.
      policy_sizes: hidden layers between memory and policy.
      value_sizes: hidden layers between memory and value.
      activation: of the hidden layers: "relu", "leaky_relu", "tanh" or "gelu".
      observe_previous_action: whether the network sees the previous action beside the observation.
      observe_previous_reward: whether it sees the reward that led into the time step.
      observe_is_first: whether it sees that the time step is the FIRST of an episode.

    Raises:
      ValueError: a value is out of its range.
    """

    learning_rate: float = 3e-4
    discount: float = 0.99
    entropy_cost: float = 0.0
    value_cost: float = 1.0
    max_gradient_norm: float | None = None
    num_envs: int = 1
    unroll_length: int = 32
    torso_sizes: tuple[int, ...] = (256, 256)
    policy_sizes: tuple[int, ...] = ()
    value_sizes: tuple[int, ...] = ()
    activation: str = "relu"
    observe_previous_action: bool = False
    observe_previous_reward: bool = False
    observe_is_first: bool = False

    def __post_init__(self) -> None:
        check_positive(num_envs=self.num_envs, unroll_length=self.unroll_length)
        check_number("learning_rate", self.learning_rate, 0, above=True)
        check_number("discount", self.discount, 0, 1)
        check_number("entropy_cost", self.entropy_cost, 0)
        check_number("value_cost", self.value_cost, 0)
        if self.max_gradient_norm is not None:
            check_number("max_gradient_norm", self.max_gradient_norm, 0, above=True)
        check_sizes("torso_sizes", self.torso_sizes, at_least=1)
        check_sizes("policy_sizes", self.policy_sizes)
        check_sizes("value_sizes", self.value_sizes)
        check_choice("activation", self.activation, tuple(ACTIVATIONS))
        check_bool("observe_previous_action", self.observe_previous_action)
        check_bool("observe_previous_reward", self.observe_previous_reward)
        check_bool("observe_is_first", self.observe_is_first)
        self._check_algorithm()

    @abc.abstractmethod
    def _check_algorithm(self) -> None:
        """Raises a ValueError if a setting of the algorithm's own is out of its range."""


class EvaluatedActions(NamedTuple):
    """What a network says of T slots in which something was done already."""

    log_prob: Array
    """[T, B] of the actions; in dead slots of no meaning, but finite."""
    entropy: Array
    """[T, B] of the policy."""
    value: Array
    """[T, B], or [T + 1, B] if the time step behind the last slot was given too."""


@dataclasses.dataclass(frozen=True)
class ActorCriticAgent(Agent):
    """Everything of an actor-critic but how it learns.

    Attributes:
      core: the memory.
      torso: what stands before the memory; None for a perceptron of `config.torso_sizes`.
      environment_spec: specs of the environment; None while unbound.
    """

    core: RecurrentCore
    torso: Torso | None = None
    environment_spec: EnvironmentSpec | None = None

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

    def initial_actor_state(self, batch_size: int | None = None) -> ActorState:
        """Returns the core's initial state and, where it is observed, the null action.

        Raises:
          UnboundAgentError: the previous action is observed, but the action spec is not known yet.
        """
        is_observed = self.config.observe_previous_action
        previous_action = self.inputs.initial_action(batch_size) if is_observed else ()
        return ActorState(self.core.initial_state(batch_size), previous_action)

    def act(
        self,
        acting_params: Params,
        timestep: dm_env.TimeStep,
        actor_state: ActorState,
        key: PRNGKey,
        evaluation: bool = False,
    ) -> tuple[ActOutput, ActorState]:
        """Chooses actions; extras hold `raw_action` and its `log_prob`."""
        seen = self.inputs.of_timestep(timestep, actor_state.previous_action)
        output, core_state = self.network.step(acting_params, seen, actor_state.core_state)
        head = self.network.head
        if evaluation:
            sample = head.mode(output.policy)
        else:
            keys = key_for_each_row(key, timestep)
            draw = jax.vmap(head.sample) if keys.ndim else head.sample
            sample = draw(output.policy, keys)
        extras = {"raw_action": sample.raw, "log_prob": head.log_prob(output.policy, sample.raw)}
        actor_state = ActorState(core_state, self.inputs.remembered(sample.action))
        return ActOutput(sample.action, extras), actor_state

    @property
    def inputs(self) -> NetworkInputs:
        """What the network sees beside the observation."""
        if self.environment_spec is None:
            raise UnboundAgentError
        return NetworkInputs(
            environment_spec=self.environment_spec,
            previous_action=self.config.observe_previous_action,
            previous_reward=self.config.observe_previous_reward,
            is_first=self.config.observe_is_first,
        )

    @property
    def network(self) -> ActorCritic:
        """The network body that acting and learning share."""
        config, inputs = self.config, self.inputs
        default = MLPTorso(inputs.observation_spec, config.torso_sizes, config.activation)
        return ActorCritic(
            environment_spec=EnvironmentSpec(inputs.observation_spec, inputs.environment_spec.action),
            core=self.core,
            torso=self.torso or default,
            policy_sizes=config.policy_sizes,
            value_sizes=config.value_sizes,
            activation=config.activation,
        )

    def _with_spec(self, environment_spec: EnvironmentSpec) -> Self:
        agent = dataclasses.replace(self, environment_spec=environment_spec)
        jax.eval_shape(agent.init, jax.random.key(0))  # a spec or torso that does not fit is found here
        return agent

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
        output, _ = self.network.unroll(params, seen, core_state)
        policy, head = output.policy[: len(raw_action)], self.network.head
        # Selected before the log-probability: a NaN in a dead slot would make the gradient NaN.
        dead = seen.step_type[: len(raw_action)] == int(dm_env.StepType.LAST)
        raw_action = jnp.where(dead[..., None], 0, raw_action)
        return EvaluatedActions(head.log_prob(policy, raw_action), head.entropy(policy), output.value)

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
