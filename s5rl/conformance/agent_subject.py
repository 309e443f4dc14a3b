"""An agent under test: what it did in an environment, and its functions, compiled once."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple, final

import dm_env
import jax
import jax.numpy as jnp
import numpy as np

from s5rl.agents import Agent
from s5rl.conformance.subject import compiled
from s5rl.envs import JaxEnvironment, Stream, advance_stream
from s5rl.key_data import is_key
from s5rl.training import start_actors
from s5rl.training.keys import run_keys, slot_keys
from s5rl.types import Action, ActorState, ActOutput, Array, EnvironmentSpec, Params, PyTree, Trajectory


@final
@dataclasses.dataclass(frozen=True)
class Window:
    """T slots of each row of a recorded stream: one trajectory.

    Attributes:
      start: slot of the stream with which the first row starts.
      stagger: how many slots later than the row before it each other row starts.
    """

    start: int
    stagger: int

    def __str__(self) -> str:
        later = f", each row {self.stagger} later than the one before" if self.stagger else ""
        return f"from slot {self.start} of the stream on{later}"

    def slots(self, num_slots: int, num_rows: int) -> np.ndarray:
        """Returns the slots of the stream, int [num_slots, num_rows]."""
        return self.start + self.stagger * np.arange(num_rows) + np.arange(num_slots)[:, None]


WINDOWS = (Window(0, 0), Window(7, 1))
"""From empty memories, all rows in step; and amid episodes, each row at another place."""


class Slots(NamedTuple):
    """Slots [T, B, ...] of a stream, in numpy."""

    timestep: dm_env.TimeStep
    """At the start of the slot."""
    memory: ActorState
    """What the actors carried to the time step."""
    key: Array
    """uint32 [T, B, ...] the data of the keys."""
    action: Action
    extras: PyTree


class Acted(NamedTuple):
    """What an agent did in a window."""

    trajectory: Trajectory
    keys: np.ndarray
    """uint32 [T, B, ...] the data of the keys."""

    @property
    def first(self) -> np.ndarray:
        """Whether a slot starts at FIRST, bool [T, B]."""
        return self.trajectory.timesteps.step_type[:-1] == int(dm_env.StepType.FIRST)

    @property
    def dead(self) -> np.ndarray:
        """Whether a slot starts at LAST, bool [T, B]."""
        return self.trajectory.timesteps.step_type[:-1] == int(dm_env.StepType.LAST)


@final
class AgentSubject:
    """An agent under test; every law is tried on the same compiled functions and the same stream.

    Attributes:
      agent: the agent, bound to the environment.
      state: fresh from `init`.
      log_probs: `agent.log_probs`, compiled.
      update: `agent.update`, compiled.
    """

    def __init__(self, agent: Agent, environment: JaxEnvironment) -> None:
        """Acts in the environment, in as many rows as the config has.

        Args:
          agent: bound to the environment, or unbound.
          environment: whose episodes end within the agent's `unroll_length`.

        Raises:
          TypeError: the agent is no Agent, or the environment no JaxEnvironment.
          ValueError: the agent is bound to another environment, or in none of its rows an episode ends and
            another one begins within `unroll_length` slots.
        """
        if not isinstance(agent, Agent):
            raise TypeError(f"agent must be an instance of Agent, got {agent!r}.")
        if not isinstance(environment, JaxEnvironment):
            raise TypeError(f"environment must be a JaxEnvironment, got {environment!r}.")
        self.agent = agent.bind(EnvironmentSpec.from_environment(environment))
        self.state = self.agent.init(jax.random.key(0))  # to compile it takes longer than to do it once
        self.log_probs = compiled(self.agent.log_probs)
        self.update = compiled(self.agent.update)
        self._act = compiled(self._act_with_key_data)
        self._params = self.agent.acting_params(self.state)
        self._stream = self._record(environment)
        acted = self.acted(WINDOWS[-1])
        if not (acted.first[1:] & acted.dead[:-1]).any():
            raise ValueError(
                "environment must end an episode and begin another within the "
                f"unroll_length={self.agent.config.unroll_length} slots of the agent's config, got "
                f"{environment!r}: take a longer unroll_length, or shorter episodes."
            )

    def acted(self, window: Window) -> Acted:
        """Returns what the agent did in a window."""
        num_slots, num_rows = self.agent.config.unroll_length, self.agent.config.num_envs
        found = pick(self._stream, window.slots(num_slots + 1, num_rows))
        initial_state = jax.tree.map(lambda leaf: leaf[0], found.memory)
        actions, extras, keys = jax.tree.map(lambda leaf: leaf[:-1], (found.action, found.extras, found.key))
        return Acted(Trajectory(found.timestep, actions, extras, initial_state), keys)

    def act(self, timesteps: dm_env.TimeStep, memory: ActorState, keys: np.ndarray) -> tuple[Action, PyTree]:
        """Acts on time steps, whatever the actions are.

        Args:
          timesteps: [T, B, ...].
          memory: [B, ...] what the actors carry to the first one.
          keys: uint32 [T, B, ...] the data of the keys.

        Returns:
          Actions and extras [T, B, ...].
        """
        outputs = []
        for t, key in enumerate(keys):
            timestep = jax.tree.map(lambda leaf, t=t: leaf[t], timesteps)
            output, memory = self._act(self._params, timestep, memory, key)
            outputs.append((output.action, output.extras))
        return _stack(outputs)

    def _act_with_key_data(
        self, params: Params, timestep: dm_env.TimeStep, memory: ActorState, key: Array
    ) -> tuple[ActOutput, ActorState]:
        return self.agent.act(params, timestep, memory, jax.random.wrap_key_data(key))

    def _record(self, environment: JaxEnvironment) -> Slots:
        """Acts from the beginning of the stream to the end of the last window."""
        num_slots, num_rows = self.agent.config.unroll_length, self.agent.config.num_envs
        streams, memory, acting_keys = start_actors(self.agent, environment, run_keys(0), num_rows)
        recorded = []
        for _ in range(WINDOWS[-1].slots(num_slots + 1, num_rows).max() + 1):
            timestep, key = streams.timestep, jax.random.key_data(slot_keys(acting_keys, streams.num_steps))
            output, after = self._act(self._params, timestep, memory, key)
            recorded.append(Slots(timestep, memory, key, output.action, output.extras))
            streams, memory = _advance(environment, streams, output.action), after
        return _stack(recorded)


def pick(tree: PyTree, slots: np.ndarray) -> PyTree:
    """Returns the slots [T', B] of each row of a nest of leaves [T, B, ...]."""
    return jax.tree.map(lambda leaf: leaf[slots, np.arange(slots.shape[1])], tree)


def _stack(trees: list[PyTree]) -> PyTree:
    """Stacks a list of nests, in numpy where that is possible."""
    return jax.tree.map(
        lambda *leaves: jnp.stack(leaves) if is_key(leaves[0]) else np.stack(jax.device_get(leaves)), *trees
    )


@functools.partial(jax.jit, static_argnums=0)
def _advance(environment: JaxEnvironment, streams: Stream, actions: Action) -> Stream:
    return jax.vmap(functools.partial(advance_stream, environment))(streams, actions)
