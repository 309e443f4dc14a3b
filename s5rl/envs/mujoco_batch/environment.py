"""Projected tasks of dm_control in a batch: `ProjectedDmControlBatch`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, final

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import StepType, specs

from s5rl.envs.batched import BatchedEnvironment
from s5rl.envs.dm_control import MAX_SEED, check_tasks, warn_of_divergence
from s5rl.envs.mujoco_batch.task_batch import TaskBatch
from s5rl.envs.projected.episodes import TRAINING_TASKS, draw_episode
from s5rl.envs.projected.projections import ProjectionSettings, observe, project
from s5rl.types import Action, PyTree
from s5rl.validation import check_number, check_positive


class _Rows(NamedTuple):
    """What the rows carry beside their physics; everything is changed in place."""

    task: np.ndarray
    """int64 [B]: index of the task of the current episode."""
    step_type: np.ndarray
    """int32 [B]."""
    num_steps: np.ndarray
    """int64 [B]: of the current episode."""
    num_episodes: np.ndarray
    """int64 [B]: begun so far."""
    observation_matrix: np.ndarray
    """float64 [B, O, O]: M_o, with zeros behind the columns of a smaller task."""
    action_matrix: np.ndarray
    """float64 [B, A, A]: M_a, with zeros below the rows of a smaller task."""


@final
class ProjectedDmControlBatch(BatchedEnvironment):
    """Algorithm 1 on dm_control's tasks, B rows at once; each with a task and projections of its own.

    Row i returns what `ProjectedDmControl(seed=seed, row=i)` returns, in batches of MuJoCo, one for each
    task. Where the physics of a row diverge, its episode ends in a terminated step with reward 0 and an inner
    observation of zeros, and a warning; the other rows go on.
    """

    def __init__(
        self,
        tasks: Sequence[str] = TRAINING_TASKS,
        *,
        num_envs: int = 1,
        seed: int = 0,
        num_threads: int = 0,
        **options: Any,
    ) -> None:
        """Loads the tasks.

        Args:
          tasks: to draw from, such as "cartpole/swingup"; of `BATCHED_TASKS`.
          num_envs: B.
          seed: of all that is random, from 0 to 2^32 - 1.
          num_threads: on which MuJoCo runs; 0 for as many as there are CPUs.
          **options: fields of `ProjectionSettings`.

        Raises:
          ImportError: dm_control is not installed.
          TypeError: an unknown option.
          ValueError: an unknown task, one without formulas, one that exceeds the projection, or an option
            out of range.
        """
        check_positive(num_envs=num_envs)
        check_number("seed", seed, 0, MAX_SEED)
        check_number("num_threads", num_threads, 0)
        self._settings = settings = ProjectionSettings(**options)
        self._names = check_tasks(tasks)
        self._tasks = [TaskBatch(task, num_envs, num_threads) for task in self._names]
        for task in self._tasks:
            settings.check_sizes(*task.sizes)
        self._num_envs, self._seed = num_envs, seed
        size, action_size = settings.observation_size, settings.action_size
        self._rows = _Rows(
            task=np.zeros(num_envs, np.int64),
            step_type=np.full(num_envs, StepType.LAST, np.int32),
            num_steps=np.zeros(num_envs, np.int64),
            num_episodes=np.zeros(num_envs, np.int64),
            observation_matrix=np.zeros((num_envs, size, size)),
            action_matrix=np.zeros((num_envs, action_size, action_size)),
        )

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, to which `task_of_row` points."""
        return self._names

    @property
    def task_of_row(self) -> np.ndarray:
        """int64 [B]: the index in `tasks` of each row's current episode, its LAST step included."""
        return self._rows.task.copy()

    @property
    def num_envs(self) -> int:
        """The number B of rows."""
        return self._num_envs

    @property
    def settings(self) -> dict[str, Any]:
        """The tasks and the `ProjectionSettings`; see `BatchedEnvironment.settings`."""
        return {"tasks": self._names, **dataclasses.asdict(self._settings)}

    def reset(self) -> dm_env.TimeStep:
        """Begins an episode in every row; see `BatchedEnvironment.reset`."""
        self._rows.step_type[:] = StepType.LAST
        return self.step(np.zeros((self._num_envs, self._settings.action_size), np.float32))

    def step(self, actions: Action) -> dm_env.TimeStep:
        """Fills one slot of every row; see `BatchedEnvironment.step`.

        Raises:
          TypeError: the dtype does not fit the action spec.
          ValueError: the shape does not fit the action spec and the number of rows, or a number is NaN or out
            of bounds; the message names the row. Nothing has changed then.
        """
        rows = self._rows
        dead = rows.step_type == StepType.LAST
        actions = self._checked(actions, ~dead)
        observation = np.zeros((self._num_envs, *self.observation_spec().shape))
        reward, discount = np.zeros(self._num_envs), np.ones(self._num_envs)
        for index, task in enumerate(self._tasks):
            going = np.flatnonzero(~dead & (rows.task == index))
            if going.size:
                self._step_task(task, going, actions[going], (observation, reward, discount))
        for row in np.flatnonzero(dead).tolist():
            observation[row] = self._begin(row)
        float_dtype = jnp.result_type(float)
        return dm_env.TimeStep(
            step_type=rows.step_type.copy(),
            reward=reward.astype(float_dtype),
            discount=discount.astype(float_dtype),
            observation=observation.astype(np.float32),
        )

    def observation_spec(self) -> specs.Array:
        """Returns the spec of float32 [O + 2], or [O + 2 + A] with the previous action."""
        return self._settings.observation_spec()

    def action_spec(self) -> specs.BoundedArray:
        """Returns the spec of float32 [A], from -1 to 1."""
        return self._settings.action_spec()

    def get_state(self) -> PyTree:
        """Returns all that decides what follows; see `BatchedEnvironment.get_state`."""
        rows = tuple(values.copy() for values in self._rows)
        return rows, np.array(self._seed, np.int64), tuple(task.get_state() for task in self._tasks)

    def set_state(self, state: PyTree) -> None:
        """Goes back to where `get_state` returned the state.

        Raises:
          ValueError: it is the state of other tasks, or of another number of rows.
        """
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(state)]
        if shapes != [leaf.shape for leaf in jax.tree.leaves(self.get_state())]:
            raise ValueError(
                f"state must be that of {self._num_envs} rows and the tasks {self._names}, from get_state()."
            )
        rows, seed, tasks = state
        for values, stored in zip(self._rows, rows, strict=True):
            values[...] = stored
        self._seed = int(seed)
        for task, task_state in zip(self._tasks, tasks, strict=True):
            task.set_state(task_state)

    def close(self) -> None:
        """Frees the physics."""
        for task in self._tasks:
            task.close()

    def _checked(self, actions: Action, is_live: np.ndarray) -> np.ndarray:
        actions, spec = np.asarray(actions), self.action_spec()
        expected = (self._num_envs, *spec.shape)
        if actions.shape != expected:
            raise ValueError(f"actions must have shape {expected}, got {actions.shape}.")
        if not np.can_cast(actions.dtype, spec.dtype, casting="same_kind"):
            raise TypeError(f"actions must fit {spec}, got dtype {actions.dtype}.")
        actions = actions.astype(spec.dtype)
        is_within = ((spec.minimum <= actions) & (actions <= spec.maximum)).all(axis=1)  # false for NaN
        if (is_bad := is_live & ~is_within).any():
            row = int(np.flatnonzero(is_bad)[0])
            raise ValueError(f"the action of row {row} must be within -1 and 1, got {actions[row].tolist()}.")
        return actions

    def _step_task(
        self,
        task: TaskBatch,
        going: np.ndarray,
        actions: np.ndarray,
        out: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> None:
        """Steps rows of one task, and fills in what they return."""
        rows, settings, (observation, reward, discount) = self._rows, self._settings, out
        _, num_shown, num_taken = task.sizes
        projected = project(rows.action_matrix[going, :num_taken], actions)
        inner_actions = np.clip(projected, task.action_minimum, task.action_maximum).astype(np.float32)
        inner, reward[going], diverged = task.step(going, inner_actions)
        rows.num_steps[going] += 1
        is_cut_off = task.is_over(rows.num_steps[going])
        is_last = is_cut_off | diverged
        rows.step_type[going] = np.where(is_last, StepType.LAST, StepType.MID)
        matrix = rows.observation_matrix[going, :, :num_shown]
        done = diverged | (is_cut_off & (not settings.bootstrap))
        discount[going] = np.where(done, 0.0, 1.0)
        observation[going] = self._show(matrix, inner, reward[going], done, actions)
        if diverged.any():
            warn_of_divergence(task.sizes.name, f"in rows {going[diverged].tolist()}")

    def _begin(self, row: int) -> np.ndarray:
        """Begins the next episode of a row; returns what it shows."""
        rows, settings = self._rows, self._settings
        sizes = [task.sizes for task in self._tasks]
        episode = draw_episode(settings, sizes, self._seed, row, int(rows.num_episodes[row]))
        inner = self._tasks[episode.task].reset(row, episode.task_seed)
        rows.task[row] = episode.task
        rows.step_type[row] = StepType.FIRST
        rows.num_steps[row] = 0
        rows.num_episodes[row] += 1
        for matrices, matrix in (
            (rows.observation_matrix, episode.observation_matrix),
            (rows.action_matrix, episode.action_matrix),
        ):
            matrices[row] = 0.0
            matrices[row, : matrix.shape[0], : matrix.shape[1]] = matrix
        zeros = np.zeros(settings.action_size)
        return self._show(episode.observation_matrix, inner, np.array(0.0), np.array(False), zeros)

    def _show(
        self, matrix: np.ndarray, inner: np.ndarray, reward: Any, done: Any, previous_action: np.ndarray
    ) -> np.ndarray:
        # Rounded as DmControl rounds it.
        shown = observe(matrix, inner.astype(np.float32).astype(np.float64), reward, done, np)
        if self._settings.previous_action:
            shown = np.concatenate([shown, previous_action], axis=-1)
        return shown
