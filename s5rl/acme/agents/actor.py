"""An agent of s5rl as Acme's actor: one environment, driven by `acme.EnvironmentLoop`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, final

import dm_env
import jax
import numpy as np

from s5rl.acme.agents.library import VariableClient, core
from s5rl.agents import Agent
from s5rl.agents.base import UnboundAgentError
from s5rl.envs import from_dm_env
from s5rl.envs.dm_env_adapter import to_action
from s5rl.training.evaluate import act_on_host
from s5rl.training.host_steps import act, count_steps, refuse_nan
from s5rl.training.keys import check_seed, row_keys, run_keys
from s5rl.training.named_leaves import check_same_arrays
from s5rl.training.unroll import Unroll
from s5rl.types import ActorState, ActOutput, Trajectory

POLICY = "policy"
"""The name under which a learner gives the parameters that act; for a `VariableClient`."""


class ActorSnapshot(NamedTuple):
    """What an actor carries from one time step to the next, in numpy."""

    memory: ActorState
    """[1, ...] what the agent carries to the latest time step."""
    num_steps: np.ndarray
    """int32 [1] real environment steps."""
    unroll: Unroll | None
    """The slots since the last complete unroll; its last time step is the latest one. None before any."""


@final
class AgentActor(core.Actor, core.Saveable):
    """Acts in one environment, and hands on each unroll of T slots as a trajectory.

    The stream is that of s5rl's own loops: a LAST step is followed by a slot whose action is ignored, which
    takes no random key, and by the FIRST step of the next episode, where the memory begins anew.
    """

    def __init__(
        self,
        agent: Agent,
        variable_client: VariableClient,
        seed: int = 0,
        *,
        add: Callable[[Trajectory], None] | None = None,
        evaluation: bool = False,
    ) -> None:
        """Has seen nothing yet.

        Args:
          agent: bound to the environment.
          variable_client: asks a learner for `POLICY`. Give it a device, or the parameters travel there in
            every step.
          seed: of the actions; those of row 0 in `s5rl.train` with this seed.
          add: called with each trajectory [T, 1] of `config.unroll_length` slots; None keeps nothing.
          evaluation: whether to take the most probable actions instead of sampling.

        Raises:
          UnboundAgentError: the agent is not bound.
          ValueError: the seed is out of its range.
        """
        check_seed(seed)
        if agent.environment_spec is None:
            raise UnboundAgentError
        self._agent, self._spec = agent, agent.environment_spec
        self._variable_client, self._add, self._evaluation = variable_client, add, evaluation
        self._acting_keys = row_keys(run_keys(seed).acting, 1)
        self._run = ActorSnapshot(agent.initial_actor_state(1), np.zeros(1, np.int32), None)
        self._observation: Any = None
        self._chosen: tuple[ActOutput, ActorState] | None = None

    def observe_first(self, timestep: dm_env.TimeStep) -> None:
        """Begins an episode.

        Args:
          timestep: a FIRST step. If the episode before was left without a LAST step, the slots since the
            last complete unroll are dropped, with a warning: no trajectory leads from there to here.

        Raises:
          ValueError: the time step is not FIRST, or does not fit the specs of the agent.
        """
        if not timestep.first():
            raise ValueError(f"observe_first must be given a FIRST step, got {timestep.step_type!r}.")
        first, unroll = self._to_row(timestep), self._run.unroll
        if unroll is not None and unroll.timesteps[-1].last():
            self._choose()  # what is ignored: the memory consumes the LAST step as it does in other loops
            self._advance(first)
        else:
            if unroll is not None:
                warnings.warn(
                    f"an episode was left without a LAST step: {unroll.num_slots} slots are dropped.",
                    stacklevel=2,
                )
            self._run = self._run._replace(unroll=Unroll(self._run.memory, (first,)))
            self._chosen = None
        self._observation = timestep.observation

    def select_action(self, observation: Any) -> Any:
        """Returns an action for the time step that was observed last.

        Args:
          observation: of that time step.

        Raises:
          NonFiniteError: an observation or a reward is NaN.
          RuntimeError: no episode has begun, or it has ended.
          ValueError: the observation is another one.
        """
        unroll = self._run.unroll
        if unroll is None or unroll.timesteps[-1].last():
            raise RuntimeError(
                "select_action must follow observe_first, or observe of a step that is not LAST."
            )
        if not self._is_latest(observation):
            raise ValueError("observation must be that of the time step that was observed last.")
        return self._to_action(self._choose())

    def observe(self, action: Any, next_timestep: dm_env.TimeStep) -> None:
        """Takes in what an action led to.

        Args:
          action: from `select_action`.
          next_timestep: a MID or LAST step.

        Raises:
          RuntimeError: no action was selected.
          ValueError: the action is another one, or the time step does not fit the specs of the agent.
        """
        if self._chosen is None:
            raise RuntimeError("observe must follow select_action.")
        selected = self._to_action(self._chosen[0])
        if not _are_equal(action, selected):
            raise ValueError(f"action must be the one that was selected, {selected}, got {action}.")
        if next_timestep.first():
            raise ValueError("observe must be given a MID or LAST step, got FIRST: use observe_first.")
        self._advance(self._to_row(next_timestep))
        self._observation = next_timestep.observation

    def update(self, wait: bool = False) -> None:
        """Asks for new parameters; see `VariableClient.update`."""
        self._variable_client.update(wait)

    def save(self) -> ActorSnapshot:
        """Returns all that decides what follows, but for the parameters and the environment."""
        return jax.device_get(self._run)

    def restore(self, state: ActorSnapshot) -> None:
        """Goes on from where `save` was called.

        Args:
          state: from an actor of an equal agent.

        Raises:
          ValueError: it is that of another agent.
        """
        check_same_arrays("state.memory", self._agent.initial_actor_state(1), state.memory)
        num_slots, limit = len(state.unroll.actions) if state.unroll else 0, self._agent.config.unroll_length
        if num_slots >= limit:
            raise ValueError(
                f"state.unroll must be that of an equal agent: it has {num_slots} slots, but "
                f"config.unroll_length is {limit}."
            )
        self._run, self._chosen, self._observation = ActorSnapshot(*state), None, None

    def _choose(self) -> ActOutput:
        run, keys, params = self._run, self._acting_keys, self._variable_client.params
        assert run.unroll is not None
        timestep = run.unroll.timesteps[-1]
        refuse_nan(timestep, f"after {run.num_steps[0]} steps")
        if self._evaluation:
            output, memory = act_on_host(self._agent, params, timestep, run.memory, keys)
            output = output._replace(action=jax.device_get(output.action))
        else:
            output, memory = act(self._agent, params, timestep, run.memory, keys, run.num_steps)
        self._chosen = output, memory
        return output

    def _advance(self, timestep: dm_env.TimeStep) -> None:
        """Moves to the next time step, and hands on the unroll where this completes it."""
        assert self._chosen is not None
        assert self._run.unroll is not None
        (output, memory), self._chosen = self._chosen, None
        num_steps = count_steps(self._run.num_steps, self._run.unroll.timesteps[-1])
        unroll = self._run.unroll.with_slot(output, timestep)
        is_complete = unroll.num_slots == self._agent.config.unroll_length
        if self._add is None or is_complete:
            self._run = ActorSnapshot(memory, num_steps, Unroll(memory, (timestep,)))
        else:
            self._run = ActorSnapshot(memory, num_steps, unroll)
        if self._add is not None and is_complete:
            self._add(unroll.trajectory())

    def _to_row(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        try:
            converted = from_dm_env(timestep, self._spec.observation)
        except (TypeError, ValueError) as error:
            raise ValueError(
                "the time step does not fit the environment to which the agent is bound, with observations "
                f"{self._spec.observation}: {error}"
            ) from error
        return jax.tree.map(lambda leaf: leaf[None], converted)

    def _is_latest(self, observation: Any) -> bool:
        if observation is self._observation:  # as in Acme's loop
            return True
        assert self._run.unroll is not None
        given = self._to_row(dm_env.restart(observation))
        return _are_equal(given.observation, self._run.unroll.timesteps[-1].observation)

    def _to_action(self, output: ActOutput) -> Any:
        return to_action(self._spec.action, jax.tree.map(lambda leaf: leaf[0], output.action))


def _are_equal(left: Any, right: Any) -> bool:
    nests: list[Any] = [jax.tree.structure(left), jax.tree.structure(right)]
    return nests[0] == nests[1] and all(map(np.array_equal, jax.tree.leaves(left), jax.tree.leaves(right)))
