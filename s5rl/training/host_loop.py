"""Training on environments that live on the host: any dm_env, or a batched backend."""

from __future__ import annotations

import functools
import warnings
from typing import NamedTuple, final

import dm_env
import jax
import numpy as np

from s5rl.agents import Agent, AgentState
from s5rl.envs import BatchedEnvironment
from s5rl.training.host_steps import (
    act,
    acting_params,
    count_steps,
    learn,
    place_trajectory,
    refuse_nan,
)
from s5rl.training.keys import row_keys, run_keys
from s5rl.training.layout import ROWS, ROWS_BEHIND_TIME, WHOLE, Layout
from s5rl.training.loop import Loop, Snapshot
from s5rl.training.memory_needed import MemoryNeeded
from s5rl.training.metrics import Columns, EpisodeTracker, start_tracker, track_episodes
from s5rl.training.processes import gather
from s5rl.training.unroll import Unroll, trajectory_shapes
from s5rl.types import ActorState, Array, Params, Trajectory

NO_STATE = "These environments have no get_state and set_state, or were saved by another number of processes."


class HostRows(NamedTuple):
    """B host environments between two updates."""

    memory: ActorState
    """[B, ...] what the agent carries to `timestep`."""
    timestep: dm_env.TimeStep
    """[B, ...] the latest one, in numpy."""
    num_steps: np.ndarray
    """int32 [B] real environment steps of each row."""


class HostRun(NamedTuple):
    """What a run on host environments carries from update to update beside what is learned."""

    rows: HostRows
    """Of all processes."""
    tracker: EpisodeTracker
    num_updates: np.ndarray
    """int32 []."""


@final
class HostLoop(Loop):
    """Environments on the host, stepped in Python; acting and learning are compiled, each on its own."""

    def __init__(self, agent: Agent, environment: BatchedEnvironment, seed: int, layout: Layout) -> None:
        """Begins a run, and an episode in every environment.

        Args:
          agent: bound to the environment.
          environment: the B environments of this process.
          seed: of parameters and actions; the environments have seeds of their own.
          layout: the devices that learn. Each process acts on its first one.
        """
        num_envs = environment.num_envs
        self._agent, self._environment, self._keys = agent, environment, run_keys(seed)
        self._layout = layout
        self._mine = slice(jax.process_index() * num_envs, (jax.process_index() + 1) * num_envs)
        num_all = jax.process_count() * num_envs
        self._acting_keys = row_keys(self._keys.acting, num_all)[self._mine]
        self._agent_state = layout.place(agent.init(self._keys.init), WHOLE)
        self._tracker = layout.place(start_tracker(num_all), ROWS)
        self._num_updates = np.zeros((), np.int32)
        self._rows = HostRows(
            memory=agent.initial_actor_state(num_envs),
            timestep=environment.reset(),
            num_steps=np.zeros(num_envs, np.int32),
        )

    @property
    def agent_state(self) -> AgentState:
        """What was learned; see `Loop.agent_state`."""
        return self._layout.whole(self._agent_state)

    @property
    def chunk_length(self) -> int:
        """The most updates between two visits of the host: it is always there."""
        return 1

    def advance(self, num_updates: int) -> Columns:
        """Trains on; see `Loop.advance`."""
        rows = [self._update() for _ in range(num_updates)]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def memory_needed(self, agent: Agent) -> MemoryNeeded:
        """Returns what the program that learns needs; see `Loop.memory_needed`."""
        params = agent.acting_params(self._agent_state)
        num_all = jax.process_count() * len(self._rows.num_steps)
        trajectory = trajectory_shapes(agent, params, self._rows.timestep, num_all)
        initial_state = self._layout.shapes(trajectory.initial_state, ROWS)
        timesteps, actions, extras = self._layout.shapes(trajectory[:-1], ROWS_BEHIND_TIME)
        trajectory = Trajectory(timesteps, actions, extras, initial_state)
        key = jax.random.fold_in(self._keys.updates, self._num_updates)
        program = learn.lower(agent, self._layout, self._agent_state, trajectory, key).compile()
        needed = MemoryNeeded.of(program, trajectory, self._layout.mesh.size)
        # Here the trajectory is an argument of the program.
        return needed._replace(kept=needed.kept - needed.trajectory)

    def take_agent(self, agent: Agent) -> None:
        """Goes on with another agent; see `Loop.take_agent`."""
        self._agent = agent

    def snapshot(self) -> Snapshot:
        """Returns the run over all processes, and the states of the environments of each."""
        rows = jax.tree.map(lambda *each: np.concatenate(each), *gather(jax.device_get(self._rows)))
        states = gather(self._environment.get_state())
        return Snapshot(
            self.agent_state,
            HostRun(rows, jax.device_get(self._layout.whole(self._tracker)), self._num_updates),
            None if any(state is None for state in states) else tuple(states),
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Goes back to where a snapshot was taken; in new episodes where environments have no states."""
        run, states = snapshot.run_state, snapshot.environment_states
        self._agent_state = self._layout.place(snapshot.agent_state, WHOLE)
        self._num_updates, tracker = run.num_updates, run.tracker
        self._rows = jax.tree.map(lambda leaf: leaf[self._mine], run.rows)
        if states is None:
            warnings.warn(
                f"{NO_STATE} The run goes on with new episodes: it differs from one without a stop.",
                stacklevel=2,
            )
            self._rows = self._rows._replace(timestep=self._environment.reset())
            tracker = start_tracker(len(run.rows.num_steps))
        else:
            self._environment.set_state(states[jax.process_index()])
        self._tracker = self._layout.place(tracker, ROWS)

    def _update(self) -> dict[str, np.ndarray]:
        agent, rows = self._agent, self._rows
        params = _on_one_device(acting_params(agent, self._agent_state))
        # What acting returns lies on its device; so does what it begins with, else it is compiled twice.
        memory = jax.device_put(rows.memory, self._layout.mesh.local_devices[0])
        timestep, num_steps = rows.timestep, rows.num_steps
        unroll = Unroll(memory, (timestep,))
        for _ in range(agent.config.unroll_length):
            refuse_nan(timestep, f"in update {self._num_updates + 1}")
            output, memory = act(agent, params, timestep, memory, self._acting_keys, num_steps)
            num_steps = count_steps(num_steps, timestep)
            timestep = self._environment.step(output.action)
            unroll = unroll.with_slot(output, timestep)
        trajectory = place_trajectory(self._layout, unroll.trajectory())
        key = jax.random.fold_in(self._keys.updates, self._num_updates)
        self._agent_state, metrics = learn(agent, self._layout, self._agent_state, trajectory, key)
        self._tracker, episode_metrics = _track(self._layout, self._tracker, trajectory.timesteps)
        self._rows = HostRows(memory, timestep, num_steps)
        self._num_updates = np.asarray(self._num_updates + 1, np.int32)  # numpy 1.26 makes int64 of the sum
        return jax.device_get({**episode_metrics, **metrics})


def _on_one_device(params: Params) -> Params:
    """Returns parameters, which are whole on all devices, on the first of this process: to act with."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), params)


@functools.partial(jax.jit, static_argnums=0)
def _track(
    layout: Layout, tracker: EpisodeTracker, timesteps: dm_env.TimeStep
) -> tuple[EpisodeTracker, dict[str, Array]]:
    tracker, metrics = track_episodes(tracker, timesteps)
    return layout.constrain(tracker, ROWS), layout.constrain(metrics, WHOLE)
