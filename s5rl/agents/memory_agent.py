"""What all agents here share: a network around a core, what it sees, and how it acts."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, Self

import dm_env
import jax
import jax.numpy as jnp
import optax

from s5rl.agents.base import Agent, UnboundAgentError, key_for_each_row
from s5rl.cores import RecurrentCore
from s5rl.networks import MemoryNetwork, MLPTorso, NetworkInputs, Torso
from s5rl.networks.torso import ACTIVATIONS
from s5rl.types import ActorState, ActOutput, Array, EnvironmentSpec, Params, PRNGKey
from s5rl.validation import check_bool, check_choice, check_number, check_positive, check_sizes


@dataclasses.dataclass(frozen=True)
class MemoryAgentConfig(abc.ABC):
    """Settings of every algorithm.

    Attributes:
      learning_rate: of Adam.
      discount: discount factor of a step.
      value_cost: weight of the loss of the value.
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
    value_cost: float = 1.0
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
        check_number("value_cost", self.value_cost, 0)
        check_sizes("torso_sizes", self.torso_sizes, at_least=1)
        check_sizes("policy_sizes", self.policy_sizes)
        check_sizes("value_sizes", self.value_sizes)
        check_choice("activation", self.activation, tuple(ACTIVATIONS))
        check_bool("observe_previous_action", self.observe_previous_action)
        check_bool("observe_previous_reward", self.observe_previous_reward)
        check_bool("observe_is_first", self.observe_is_first)
        self._check_algorithm()

    def minibatch_size(self, num_envs: int) -> int:
        """Returns from how many rows a gradient step learns, where so many environments act: here, all."""
        return num_envs

    @abc.abstractmethod
    def _check_algorithm(self) -> None:
        """Raises a ValueError if a setting of the algorithm's own is out of its range."""


@dataclasses.dataclass(frozen=True)
class MemoryAgent(Agent):
    """Everything of an agent but its network and how it learns.

    Attributes:
      core: the memory.
      torso: what stands before the memory; None for a perceptron of `config.torso_sizes`.
      environment_spec: specs of the environment; None while unbound.
      microbatch_size: the most rows that learning takes through the network at a time, to save memory; the
        result is the same but for rounding. None for all rows of a minibatch. `train(memory_budget=...)`
        chooses it.

    Raises:
      ValueError: microbatch_size is not positive.
    """

    core: RecurrentCore
    torso: Torso | None = None
    environment_spec: EnvironmentSpec | None = None
    microbatch_size: int | None = None

    def __post_init__(self) -> None:
        if self.microbatch_size is not None:
            check_positive(microbatch_size=self.microbatch_size)

    @property
    @abc.abstractmethod
    def config(self) -> MemoryAgentConfig:
        """The settings of the algorithm."""

    @property
    @abc.abstractmethod
    def network(self) -> MemoryNetwork[Any]:
        """The network body that acting and learning share."""

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
    def _parts(self) -> dict[str, Any]:
        """The fields of `MemoryNetwork`."""
        config, inputs = self.config, self.inputs
        default = MLPTorso(inputs.observation_spec, config.torso_sizes, config.activation)
        return {
            "environment_spec": EnvironmentSpec(inputs.observation_spec, inputs.environment_spec.action),
            "core": self.core,
            "torso": self.torso or default,
            "policy_sizes": config.policy_sizes,
            "value_sizes": config.value_sizes,
            "activation": config.activation,
        }

    def _with_spec(self, environment_spec: EnvironmentSpec) -> Self:
        agent = dataclasses.replace(self, environment_spec=environment_spec)
        jax.eval_shape(agent.init, jax.random.key(0))  # a spec or torso that does not fit is found here
        return agent


def annealed(learning_rate: float, num_gradient_steps: int | None) -> optax.ScalarOrSchedule:
    """Returns a learning rate that falls linearly to 0 over so many gradient steps; None keeps it."""
    if num_gradient_steps is None:
        return learning_rate
    return optax.linear_schedule(learning_rate, 0.0, num_gradient_steps)


def clear_dead_slots(raw_action: Array, timesteps: dm_env.TimeStep) -> Array:
    """Returns raw actions [T, B, D] with 0 in the slots that start at LAST, whatever stands there.

    Before anything is computed of them: a NaN there would make the gradient NaN.

    Args:
      raw_action: [T, B, D].
      timesteps: [T, B, ...] or [T + 1, B, ...], with one behind the last slot.
    """
    dead = timesteps.step_type[: len(raw_action)] == int(dm_env.StepType.LAST)
    return jnp.where(dead[..., None], 0, raw_action)
