"""Training on environments that live on the host: any dm_env, or a batched backend."""

from __future__ import annotations

import warnings
from typing import NamedTuple, final

import dm_env
import jax
import numpy as np

from s5rl.agents import Agent, AgentState
from s5rl.envs import BatchedEnvironment
from s5rl.training.host_steps import act, acting_params, count_steps, refuse_nan, update
from s5rl.training.keys import row_keys, run_keys
from s5rl.training.loop import Loop, Snapshot
from s5rl.training.metrics import Columns, EpisodeTracker, start_tracker, track_episodes
from s5rl.training.unroll import Unroll
from s5rl.types import ActorState

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
        unroll = Unroll(memory, (timestep,))
        for _ in range(agent.config.unroll_length):
            refuse_nan(timestep, f"in update {run.num_updates + 1}")
            output, memory = act(agent, params, timestep, memory, self._acting_keys, num_steps)
            num_steps = count_steps(num_steps, timestep)
            timestep = self._environment.step(output.action)
            unroll = unroll.with_slot(output, timestep)
        trajectory = unroll.trajectory()
        key = jax.random.fold_in(self._keys.updates, run.num_updates)
        self._agent_state, metrics = update(agent, self._agent_state, trajectory, key)
        tracker, episode_metrics = _track(run.tracker, trajectory.timesteps)
        num_updates = np.asarray(run.num_updates + 1, np.int32)  # numpy 1.26 makes int64 of the sum
        self._run = HostRun(memory, timestep, num_steps, tracker, num_updates)
        return jax.device_get({**episode_metrics, **metrics})


_track = jax.jit(track_episodes)
