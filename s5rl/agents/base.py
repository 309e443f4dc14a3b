"""What every agent is: an immutable value with pure functions for acting and learning."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import dm_env
import jax
import jax.numpy as jnp

from s5rl.types import ActorState, ActOutput, Array, EnvironmentSpec, Params, PRNGKey, Trajectory


class UnboundAgentError(ValueError):
    """An agent was used before it was bound to the specs of an environment."""

    def __init__(self) -> None:
        super().__init__(
            "this agent is not bound to an environment yet: use the agent that train(agent, environment) "
            "returns as result.agent, or agent.bind(EnvironmentSpec.from_environment(environment))."
        )


class AgentConfig(Protocol):
    """What training reads from the config of any algorithm, a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def num_envs(self) -> int:
        """Number of environments that act in parallel."""

    @property
    def unroll_length(self) -> int:
        """Number of slots of a trajectory."""


class AgentState(NamedTuple):
    """What learning changes."""

    params: Params
    """Parameters of the network."""
    opt_state: Any
    """State of the optimiser."""
    carry: Any = ()
    """What else the algorithm carries from update to update."""


class Agent(abc.ABC):
    """An algorithm around a core. All methods are pure and may be jitted.

    `make_agent(core=...)` without a spec gives an unbound agent; `train` binds it.

    Attributes:
      environment_spec: what the agent sees and does, None as long as it is unbound.
    """

    environment_spec: EnvironmentSpec | None

    @property
    @abc.abstractmethod
    def config(self) -> AgentConfig:
        """The settings of the algorithm."""

    @abc.abstractmethod
    def _with_spec(self, environment_spec: EnvironmentSpec) -> Self:
        """Returns this agent for an environment, its network checked."""

    @abc.abstractmethod
    def init(self, key: PRNGKey) -> AgentState:
        """Returns fresh parameters and what the algorithm carries."""

    @abc.abstractmethod
    def acting_params(self, state: AgentState) -> Params:
        """Returns the parameters that act and evaluate, prepared once per update."""

    @abc.abstractmethod
    def initial_actor_state(self, batch_size: int | None = None) -> ActorState:
        """Returns what an actor carries before its first time step, leaves [B, ...] or [...]."""

    @abc.abstractmethod
    def act(
        self,
        acting_params: Params,
        timestep: dm_env.TimeStep,
        actor_state: ActorState,
        key: PRNGKey,
        evaluation: bool = False,
    ) -> tuple[ActOutput, ActorState]:
        """Chooses actions.

        Args:
          acting_params: from `acting_params`.
          timestep: leaves [B, ...] or [...]; the memory is reset where it is FIRST.
          actor_state: what was carried to the time step: the memory before it, and the previous action.
          key: one random key, or one for each row [B].
          evaluation: whether to take the most probable actions instead of sampling.

        Returns:
          Actions with what learning needs of them, and what is carried to the next time step. The extras
          hold at least `log_prob` [B] or [], of the actions under the policy that drew them.
        """

    @abc.abstractmethod
    def log_probs(self, params: Params, trajectory: Trajectory) -> Array:
        """Returns the log-probabilities of a trajectory's actions as `update` computes them.

        Under the parameters that acted they are those that `act` stored: each ratio of the two
        probabilities is 1. `s5rl.conformance.check_agent` holds an agent to it.

        Args:
          params: as in `AgentState`.
          trajectory: T slots of B streams.

        Returns:
          [T, B]; of no meaning in dead slots.
        """

    @abc.abstractmethod
    def update(
        self, state: AgentState, trajectory: Trajectory, key: PRNGKey
    ) -> tuple[AgentState, dict[str, Array]]:
        """Learns from one trajectory.

        Args:
          state: from `init` or the update before.
          trajectory: T slots of B streams.
          key: a random key.

        Returns:
          The next state, and scalar metrics by name.
        """

    def bind(self, environment_spec: EnvironmentSpec) -> Self:
        """Returns this agent for an environment.

        Args:
          environment_spec: specs of the environment.

        Raises:
          ValueError: the agent is bound to other specs, or no network serves these.
        """
        if self.environment_spec is None:
            return self._with_spec(environment_spec)
        if self.environment_spec != environment_spec:
            raise ValueError(
                "this agent is bound to another environment: it expects "
                f"{self.environment_spec}, got {environment_spec}."
            )
        return self


def key_for_each_row(key: PRNGKey, timestep: dm_env.TimeStep) -> PRNGKey:
    """Returns one typed random key for each row of a time step.

    Args:
      key: one key, typed or raw, which is split over the rows; or one key for each row already.
      timestep: leaves [B, ...] or [...].

    Returns:
      Keys [B], or one key [] without a batch.

    Raises:
      ValueError: the number of keys fits neither.
    """
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)
    batch = jnp.shape(timestep.step_type)
    if key.shape == batch:
        return key
    if key.shape == ():
        return jax.random.split(key, batch)
    raise ValueError(f"key must be one random key, or one for each row {list(batch)}; got {list(key.shape)}.")
