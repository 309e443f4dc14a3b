"""Training on environments that live on the host: any dm_env, or a batched backend."""

from __future__ import annotations

import functools
import warnings
from typing import NamedTuple, final

import dm_env
import jax
import jax.numpy as jnp
import numpy as np

from s5rl.agents import Agent, AgentState
from s5rl.envs import BatchedEnvironment
from s5rl.training.keys import row_keys, run_keys, slot_keys
from s5rl.training.loop import Loop, NonFiniteError, Snapshot
from s5rl.training.metrics import Columns, EpisodeTracker, start_tracker, track_episodes
from s5rl.types import ActorState, ActOutput, Array, Params, PRNGKey, PyTree, Trajectory

NO_STATE = "These environments have no get_state and set_state."


class HostRun(NamedTuple):
    """What a run on B host environments carries from update to update beside what is learned."""

    memory: ActorState
    """[B, ...] what the agent carries to `timestep`."""
    timestep: dm_env.TimeStep
    """[B, ...] the latest one, in numpy."""
    num_steps: np.ndarray
    """int32 [B] real environment steps of each row."""
    tracker: EpisodeTracker
    num_updates: np.ndarray
    """int32 []."""


@final
class HostLoop(Loop):
    """Environments on the host, stepped in Python; acting and learning are compiled, each on its own."""

    def __init__(self, agent: Agent, environment: BatchedEnvironment, seed: int) -> None:
        """Begins a run, and an episode in every environment.

        Args:
          agent: bound to the environment.
          environment: B environments.
          seed: of parameters and actions; the environments have seeds of their own.
        """
        num_envs = environment.num_envs
        self._agent, self._environment, self._keys = agent, environment, run_keys(seed)
        self._acting_keys = row_keys(self._keys.acting, num_envs)
        self._agent_state = agent.init(self._keys.init)
        self._run = HostRun(
            memory=agent.initial_actor_state(num_envs),
            timestep=environment.reset(),
            num_steps=np.zeros(num_envs, np.int32),
            tracker=start_tracker(num_envs),
            num_updates=np.zeros((), np.int32),
        )

    @property
    def agent_state(self) -> AgentState:
        """What was learned; see `Loop.agent_state`."""
        return self._agent_state

    @property
    def chunk_length(self) -> int:
        """The most updates between two visits of the host: it is always there."""
        return 1

    def advance(self, num_updates: int) -> Columns:
        """Trains on; see `Loop.advance`."""
        rows = [self._update() for _ in range(num_updates)]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def snapshot(self) -> Snapshot:
        """Returns the run with the states of the environments, None where they have none to give."""
        return Snapshot(self._agent_state, (self._run, self._environment.get_state()))

    def restore(self, snapshot: Snapshot) -> None:
        """Goes back to where a snapshot was taken; in new episodes where environments have no states."""
        run, environment_state = snapshot.run_state
        self._agent_state = snapshot.agent_state
        if environment_state is None:
            warnings.warn(
                f"{NO_STATE} The run goes on with new episodes: it differs from one without a stop.",
                stacklevel=2,
            )
            timestep, tracker = self._environment.reset(), start_tracker(self._environment.num_envs)
            self._run = run._replace(timestep=timestep, tracker=tracker)
        else:
            self._environment.set_state(environment_state)
            self._run = run

    def _update(self) -> dict[str, np.ndarray]:
        agent, run = self._agent, self._run
        params, memory = acting_params(agent, self._agent_state), run.memory
        timestep, num_steps = run.timestep, run.num_steps
        timesteps, actions, extras = [timestep], [], []
        for _ in range(agent.config.unroll_length):
            # Before an action that is NaN reaches an environment, whose complaint would not name the cause.
            if _has_nan(timestep):
                raise NonFiniteError(
                    "the environment returned an observation or a reward that is NaN, in update "
                    f"{run.num_updates + 1}."
                )
            output, memory = _act(agent, params, timestep, memory, self._acting_keys, num_steps)
            action = jax.device_get(output.action)
            num_steps = num_steps + (timestep.step_type != int(dm_env.StepType.LAST))
            timestep = self._environment.step(action)
            timesteps.append(timestep)
            actions.append(action)
            extras.append(output.extras)
        trajectory = Trajectory(
            _stack(timesteps), _stack(actions), _stack(jax.device_get(extras)), run.memory
        )
        key = jax.random.fold_in(self._keys.updates, run.num_updates)
        self._agent_state, tracker, metrics = _update(agent, self._agent_state, run.tracker, trajectory, key)
        num_updates = np.asarray(run.num_updates + 1, np.int32)  # numpy 1.26 makes int64 of the sum
        self._run = HostRun(memory, timestep, num_steps, tracker, num_updates)
        return jax.device_get(metrics)


@functools.partial(jax.jit, static_argnums=0)
def acting_params(agent: Agent, state: AgentState) -> Params:
    """Returns `agent.acting_params(state)`, compiled."""
    return agent.acting_params(state)


@functools.partial(jax.jit, static_argnums=0)
def _act(
    agent: Agent,
    acting_params: Params,
    timestep: dm_env.TimeStep,
    memory: ActorState,
    acting_keys: PRNGKey,
    num_steps: Array,
) -> tuple[ActOutput, ActorState]:
    return agent.act(acting_params, timestep, memory, slot_keys(acting_keys, num_steps))


@functools.partial(jax.jit, static_argnums=0)
def _update(
    agent: Agent, state: AgentState, tracker: EpisodeTracker, trajectory: Trajectory, key: PRNGKey
) -> tuple[AgentState, EpisodeTracker, dict[str, Array]]:
    state, metrics = agent.update(state, trajectory, key)
    tracker, episode_metrics = track_episodes(tracker, trajectory.timesteps)
    return state, tracker, {**episode_metrics, **metrics}


def _has_nan(timestep: dm_env.TimeStep) -> bool:
    return any(np.isnan(leaf).any() for leaf in jax.tree.leaves((timestep.observation, timestep.reward)))


def _stack(trees: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *trees)
