"""One task of dm_control in many simulations: `TaskBatch`."""

from __future__ import annotations

from typing import final

import dm_env
import numpy as np

from s5rl.envs.dm_control import flatten, load_task
from s5rl.envs.mujoco_batch.formulas import BATCHED_TASKS, formulas
from s5rl.envs.names import unknown_name
from s5rl.envs.projected.episodes import TaskSizes

STATE_FIELDS = ("qpos", "qvel", "ctrl")


@final
class TaskBatch:
    """Simulations of one task, each of which is dm_control's own, bit for bit.

    MuJoCo's own `mujoco.batch` steps them, on a pool of threads. Episodes begin on dm_control itself, in one
    environment, from which the state and what the task drew are copied into the row's simulation.

    Attributes:
      sizes: the task's name, and the numbers that it shows and takes.
      action_minimum: float64 [A].
      action_maximum: float64 [A].
    """

    def __init__(self, task: str, num_envs: int, num_threads: int) -> None:
        """Loads the task.

        Args:
          task: one of `BATCHED_TASKS`.
          num_envs: number of simulations.
          num_threads: on which they run; 0 for as many as there are CPUs.

        Raises:
          ImportError: dm_control is not installed.
          ValueError: an unknown task, or one without formulas.
        """
        self._environment = load_task(task, 0)
        if task not in BATCHED_TASKS:
            raise unknown_name("task of the batch of MuJoCo", task, BATCHED_TASKS)
        from mujoco import batch, mjtStage

        timestep = self._environment.reset()  # some tasks change their model here
        spec = self._environment.action_spec()
        self.action_minimum, self.action_maximum = spec.minimum, spec.maximum
        self.sizes = TaskSizes(task, flatten(timestep.observation).size, spec.shape[0])
        self._step_limit = self._environment._step_limit
        physics = self._environment.physics
        self._num_substeps = round(self._environment.control_timestep() / physics.timestep())
        self._formulas = formulas(task, physics.model.ptr)
        self._batch = batch.Batch(physics.model.ptr, num_envs, num_threads)
        self._fields = {name: self._batch.bind(name) for name in (*STATE_FIELDS, *self._formulas.derived)}
        self._drawn = {name: self._batch.expand(name) for name in self._formulas.drawn}
        # As in dm_control, positions, velocities and what follows from them are those after the step.
        self._stage = int(mjtStage.mjSTAGE_VEL)

    def reset(self, row: int, seed: int) -> np.ndarray:
        """Begins an episode in a row.

        Args:
          row: of the simulation.
          seed: of the initial state and of what the task draws.

        Returns:
          The observation, float64 [E].
        """
        import mujoco

        self._environment.task.random.seed(seed)
        timestep: dm_env.TimeStep = self._environment.reset()
        model, data = self._environment.physics.model.ptr, self._environment.physics.data.ptr
        mujoco.mj_getState(model, data, self._batch.state[row], mujoco.mjtState.mjSTATE_INTEGRATION)
        for name, values in self._drawn.items():
            values[row] = getattr(model, name)
        return flatten(timestep.observation)

    def step(self, rows: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Acts once in some rows.

        Args:
          rows: int [n], ascending.
          actions: [n, A] within the bounds.

        Returns:
          Observations float64 [n, E], rewards float64 [n], and bool [n] where the physics diverged; the other
          two are 0 there.
        """
        self._fields["ctrl"][rows] = actions
        warnings = self._batch.warning
        warnings[rows] = 0
        self._batch.step(rows, self._num_substeps, self._stage)
        fields = {name: values[rows] for name, values in self._fields.items()}
        observation = self._formulas.observation(fields)
        reward = self._formulas.reward(fields)
        diverged = warnings[rows, :, 1].any(axis=1)
        diverged |= ~(np.isfinite(observation).all(axis=1) & np.isfinite(reward))
        observation[diverged], reward[diverged] = 0.0, 0.0
        return observation, reward, diverged

    def is_over(self, num_steps: np.ndarray) -> np.ndarray:
        """Returns whether episodes of so many steps have reached the time limit."""
        return num_steps >= self._step_limit

    def get_state(self) -> tuple[np.ndarray, ...]:
        """Returns all that decides what follows: the states of all rows, and what was drawn for them."""
        return tuple(np.array(values) for values in (self._batch.state, *self._drawn.values()))

    def set_state(self, state: tuple[np.ndarray, ...]) -> None:
        """Goes back to where `get_state` returned the state."""
        for values, stored in zip((self._batch.state, *self._drawn.values()), state, strict=True):
            values[...] = stored

    def close(self) -> None:
        """Frees the environment in which episodes begin."""
        self._environment.close()
