"""Training on a JaxEnvironment: acting, learning and resetting in one compiled program."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np

from s5rl.agents import Agent, AgentState
from s5rl.envs import JaxEnvironment
from s5rl.training.keys import RunKeys, run_keys
from s5rl.training.layout import ROWS, ROWS_BEHIND_TIME, SEEDS, WHOLE, Layout
from s5rl.training.loop import Loop, Snapshot
from s5rl.training.memory_needed import MemoryNeeded
from s5rl.training.metrics import Columns, EpisodeTracker, start_tracker, track_episodes
from s5rl.training.rollout import Actors, rollout, start_actors
from s5rl.types import Array, Params, Trajectory

SLOTS_BETWEEN_VISITS = 10_000
"""Of the host to a run: rare enough to cost nothing."""


class RunState(NamedTuple):
    """Everything that a run carries from update to update."""

    agent_state: AgentState
    actors: Actors
    tracker: EpisodeTracker
    keys: RunKeys
    num_updates: Array


PLACES = RunState(agent_state=WHOLE, actors=ROWS, tracker=ROWS, keys=WHOLE, num_updates=WHOLE)
"""Where each part of one seed's run lies."""


@final
class CompiledLoop(Loop):
    """Acting, learning and resetting in one compiled program; several seeds side by side under vmap."""

    def __init__(
        self,
        agent: Agent,
        environment: JaxEnvironment,
        num_envs: int,
        seeds: np.ndarray,
        layout: Layout,
    ) -> None:
        """Begins a run.

        Args:
          agent: bound to the environment.
          environment: the environment.
          num_envs: number of environments, over all devices.
          seeds: [] for one run, [S] for several.
          layout: the devices.
        """
        self._agent, self._environment, self._num_envs = agent, environment, num_envs
        self._layout, self._has_seed_axis = layout, bool(seeds.ndim)
        if self._has_seed_axis:
            runs = [_start(agent, environment, num_envs, jnp.asarray(seed)) for seed in seeds]
            run = jax.tree.map(lambda *leaves: jnp.stack(leaves), *runs)
            self._run_chunk = _run_chunk_seeds
        else:
            run = _start(agent, environment, num_envs, jnp.asarray(seeds))
            self._run_chunk = _run_chunk
        self._run = self._place(run)

    @property
    def agent_state(self) -> AgentState:
        """What was learned; see `Loop.agent_state`."""
        return self._layout.whole(self._run.agent_state)

    @property
    def chunk_length(self) -> int:
        """The most updates between two visits of the host."""
        return max(1, SLOTS_BETWEEN_VISITS // (self._num_envs * self._agent.config.unroll_length))

    def advance(self, num_updates: int) -> Columns:
        """Trains on; see `Loop.advance`."""
        self._run, columns = self._run_chunk(
            self._agent, self._environment, self._layout, self.chunk_length, self._run, num_updates
        )
        return {name: column[..., :num_updates] for name, column in jax.device_get(columns).items()}

    def memory_needed(self, agent: Agent) -> MemoryNeeded:
        """Returns what the program needs; see `Loop.memory_needed`."""
        # For the very arguments of `advance`, which then finds the program compiled.
        program = self._run_chunk.lower(
            agent, self._environment, self._layout, self.chunk_length, self._run, 1
        ).compile()

        def act(run: RunState) -> Trajectory:
            params, num_slots = agent.acting_params(run.agent_state), agent.config.unroll_length
            return rollout(agent, self._environment, params, run.actors, num_slots)[0]

        trajectory = jax.eval_shape(jax.vmap(act) if self._has_seed_axis else act, self._run)
        return MemoryNeeded.of(program, trajectory, self._layout.mesh.size)

    def take_agent(self, agent: Agent) -> None:
        """Goes on with another agent; see `Loop.take_agent`."""
        self._agent = agent

    def snapshot(self) -> Snapshot:
        """Returns copies, since the next chunk takes the arrays of this one."""
        run = self._layout.whole(self._run)
        return Snapshot(run.agent_state, run._replace(agent_state=()))

    def restore(self, snapshot: Snapshot) -> None:
        """Goes back to where a snapshot was taken."""
        self._run = self._place(snapshot.run_state._replace(agent_state=snapshot.agent_state))

    def _place(self, run: RunState) -> RunState:
        return self._layout.place(run, PLACES, self._has_seed_axis)


def _start(agent: Agent, environment: JaxEnvironment, num_envs: int, seed: Array) -> RunState:
    """Returns a run before its first update; not compiled, since that takes longer than to do it once."""
    keys = run_keys(seed)
    return RunState(
        agent_state=agent.init(keys.init),
        actors=start_actors(agent, environment, keys, num_envs),
        tracker=start_tracker(num_envs),
        keys=keys,
        num_updates=jnp.int32(0),
    )


def act_on_shares(
    agent: Agent, environment: JaxEnvironment, layout: Layout, run: RunState
) -> tuple[Trajectory, Actors]:
    """Returns the next trajectory and the actors behind it; each device acts in its own environments."""

    def act(acting_params: Params, actors: Actors) -> tuple[Trajectory, Actors]:
        return rollout(agent, environment, acting_params, actors, agent.config.unroll_length)

    in_time = Trajectory(ROWS_BEHIND_TIME, ROWS_BEHIND_TIME, ROWS_BEHIND_TIME, initial_state=ROWS)
    act_everywhere = layout.map_shares(act, in_specs=(WHOLE, ROWS), out_specs=(in_time, ROWS))
    return act_everywhere(agent.acting_params(run.agent_state), run.actors)


def _update(
    agent: Agent, environment: JaxEnvironment, layout: Layout, run: RunState
) -> tuple[RunState, dict[str, Array]]:
    trajectory, actors = act_on_shares(agent, environment, layout, run)
    key = jax.random.fold_in(run.keys.updates, run.num_updates)
    agent_state, metrics = agent.update(run.agent_state, trajectory, key)
    tracker, episode_metrics = track_episodes(run.tracker, trajectory.timesteps)
    run = RunState(
        layout.constrain(agent_state, WHOLE),
        actors,
        layout.constrain(tracker, ROWS),
        run.keys,
        run.num_updates + 1,
    )
    return run, layout.constrain({**episode_metrics, **metrics}, WHOLE)


def _run_updates(
    agent: Agent, environment: JaxEnvironment, layout: Layout, chunk_length: int, run: RunState, length: Array
) -> tuple[RunState, dict[str, Array]]:
    """Runs `length` updates, at most `chunk_length`; metrics are [chunk_length], the rest of them unused.

    The number of updates is data, so that the last, shorter chunk needs no compilation of its own.
    """
    _, shapes = jax.eval_shape(functools.partial(_update, agent, environment, layout), run)
    columns = jax.tree.map(lambda shape: jnp.zeros(chunk_length, shape.dtype), shapes)

    def body(index: Array, carry: tuple[RunState, Any]) -> tuple[RunState, Any]:
        run, columns = carry
        run, metrics = _update(agent, environment, layout, run)
        return run, jax.tree.map(lambda column, metric: column.at[index].set(metric), columns, metrics)

    return jax.lax.fori_loop(0, length, body, (run, columns))


def _run_updates_seeds(
    agent: Agent, environment: JaxEnvironment, layout: Layout, chunk_length: int, run: RunState, length: Array
) -> tuple[RunState, dict[str, Array]]:
    run_updates = functools.partial(_run_updates, agent, environment, layout, chunk_length)
    runs, columns = jax.vmap(run_updates, in_axes=(0, None), spmd_axis_name=SEEDS)(run, length)
    return runs, layout.constrain(columns, WHOLE)


# Agents, environments and layouts are values: equal ones share one compilation, across calls of `train` too.
_run_chunk = jax.jit(_run_updates, static_argnums=(0, 1, 2, 3), donate_argnums=4)
_run_chunk_seeds = jax.jit(_run_updates_seeds, static_argnums=(0, 1, 2, 3), donate_argnums=4)
