"""Random projections of dm_control's tasks, one stream, on dm_control itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, final

import dm_env
import numpy as np
from dm_env import specs

from s5rl.envs.dm_control import MAX_SEED, DmControl, DmControlState, check_tasks
from s5rl.envs.dm_env_adapter import to_action
from s5rl.envs.projected.episodes import TRAINING_TASKS, Episode, TaskSizes, draw_episode
from s5rl.envs.projected.projections import ProjectionSettings, observe, project
from s5rl.types import Action
from s5rl.validation import check_number


class ProjectedDmControlState(NamedTuple):
    """All that decides what follows in a `ProjectedDmControl`."""

    tasks: tuple[DmControlState, ...]
    """Of every task."""
    seed: np.ndarray
    """int64 [2]: seed and row."""
    num_episodes: np.ndarray
    """int64 []: begun so far."""
    needs_reset: np.ndarray
    """bool []: whether the next step begins an episode."""


@final
class ProjectedDmControl(dm_env.Environment):
    """Algorithm 1 on dm_control: every episode another task, behind other projections.

    Slow and plain: the batch of `s5rl.envs.mujoco_batch` returns the same, row by row. Any task of the suite
    whose sizes fit can take part. Episodes end as those of the tasks do; see `DmControl` for physics that
    diverge.
    """

    def __init__(
        self, tasks: Sequence[str] = TRAINING_TASKS, *, seed: int = 0, row: int = 0, **options: Any
    ) -> None:
        """Loads the tasks.

        Args:
          tasks: to draw from, such as "cartpole/swingup".
          seed: of all that is random, from 0 to 2^32 - 1.
          row: which of the environments of that seed, from 0 on.
          **options: fields of `ProjectionSettings`.

        Raises:
          ImportError: dm_control is not installed.
          TypeError: an unknown option.
          ValueError: an unknown task, one that exceeds the projection, or an option out of range.
        """
        check_number("seed", seed, 0, MAX_SEED)
        check_number("row", row, 0, MAX_SEED)
        self._settings = ProjectionSettings(**options)
        self._seed, self._row = seed, row
        self._members = tuple(DmControl(task, 0) for task in check_tasks(tasks))
        self._tasks = tuple(
            TaskSizes(task, member.observation_spec().shape[0], member.action_spec().shape[0])
            for task, member in zip(tasks, self._members, strict=True)
        )
        for task in self._tasks:
            self._settings.check_sizes(*task)
        self._num_episodes = 0
        self._needs_reset = True
        self._episode: Episode | None = None

    @property
    def task(self) -> str | None:
        """The task of the current episode; None before the first one."""
        return None if self._episode is None else self._tasks[self._episode.task].name

    def reset(self) -> dm_env.TimeStep:
        """Draws a task and its projections, and begins an episode."""
        self._begin(self._num_episodes)
        self._num_episodes += 1
        self._needs_reset = False
        self._member.reseed(self._current.task_seed)
        timestep = self._member.reset()
        return timestep._replace(observation=self._show(timestep, np.zeros(self._settings.action_size)))

    def step(self, action: Action) -> dm_env.TimeStep:
        """Acts once; without an episode, or after its last step, the action is ignored and one begins.

        Raises:
          TypeError: the action's dtype does not fit its spec.
          ValueError: the action's shape or values do not fit its spec.
        """
        if self._needs_reset:
            return self.reset()
        action = to_action(self.action_spec(), action)
        spec = self._member.action_spec()
        projected = project(self._current.action_matrix, action)
        low, high = np.maximum(spec.minimum, -1.0), np.minimum(spec.maximum, 1.0)  # lqr's bounds are 1e10
        timestep = self._member.step(np.clip(projected, low, high))
        self._needs_reset = timestep.last()
        if timestep.last() and not self._settings.bootstrap:
            timestep = timestep._replace(discount=0.0)
        return timestep._replace(observation=self._show(timestep, action))

    def observation_spec(self) -> specs.Array:
        """Returns the spec of float32 [O + 2], or [O + 2 + A] with the previous action."""
        return self._settings.observation_spec()

    def action_spec(self) -> specs.BoundedArray:
        """Returns the spec of float32 [A], from -1 to 1."""
        return self._settings.action_spec()

    def render(self, height: int = 120, width: int = 160) -> np.ndarray:
        """Returns a picture of the current episode; see `DmControl.render`.

        Raises:
          RuntimeError: nothing can be drawn, or no episode has begun.
        """
        if self._episode is None:
            raise RuntimeError("there is nothing to draw before the first episode: call reset().")
        return self._member.render(height, width)

    def get_state(self) -> ProjectedDmControlState:
        """Returns all that decides what follows."""
        return ProjectedDmControlState(
            tasks=tuple(member.get_state() for member in self._members),
            seed=np.array([self._seed, self._row], np.int64),
            num_episodes=np.array(self._num_episodes, np.int64),
            needs_reset=np.array(self._needs_reset),
        )

    def set_state(self, state: ProjectedDmControlState) -> None:
        """Goes back to where `get_state` returned the state.

        Raises:
          ValueError: it is the state of other tasks.
        """
        state = ProjectedDmControlState(*state)
        if len(state.tasks) != len(self._members):
            raise ValueError(f"state must be that of {len(self._members)} tasks, from get_state().")
        for member, member_state in zip(self._members, state.tasks, strict=True):
            member.set_state(member_state)
        self._seed, self._row = (int(number) for number in state.seed)
        self._num_episodes = int(state.num_episodes)
        self._needs_reset = bool(state.needs_reset)
        self._episode = None
        if self._num_episodes:
            self._begin(self._num_episodes - 1)

    def close(self) -> None:
        """Frees the physics."""
        for member in self._members:
            member.close()

    @property
    def _current(self) -> Episode:
        assert self._episode is not None
        return self._episode

    @property
    def _member(self) -> DmControl:
        return self._members[self._current.task]

    def _begin(self, number: int) -> None:
        self._episode = draw_episode(self._settings, self._tasks, self._seed, self._row, number)

    def _show(self, timestep: dm_env.TimeStep, previous_action: np.ndarray) -> np.ndarray:
        reward = 0.0 if timestep.first() else timestep.reward
        observation = timestep.observation.astype(np.float64)
        done = timestep.last() and timestep.discount == 0
        shown = observe(self._current.observation_matrix, observation, reward, done, np)
        if self._settings.previous_action:
            shown = np.concatenate([shown, previous_action])
        return shown.astype(np.float32)
