"""The tasks of DeepMind's control suite, on dm_control itself."""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple, final

import dm_env
import numpy as np
from dm_env import specs

from s5rl.envs.dm_env_adapter import to_action
from s5rl.envs.names import unknown_name
from s5rl.types import Action
from s5rl.validation import check_number

MAX_SEED = 2**32 - 1
NO_RENDERER = "disable"


def make_dm_control(task: str, *, seed: int = 0) -> DmControl:
    """Returns a task of the suite as it is, but with one flat observation.

    Args:
      task: domain and task, such as "cartpole/swingup".
      seed: of the initial states, from 0 to 2^32 - 1.

    Raises:
      ImportError: dm_control is not installed.
      ValueError: an unknown task, or a seed out of range.
    """
    return DmControl(task, seed)


def dm_control_tasks() -> tuple[str, ...]:
    """Returns the tasks of the suite in its order; none where dm_control is not installed."""
    try:
        return tuple("/".join(names) for names in _suite().ALL_TASKS)
    except ImportError:
        return ()


def load_task(task: str, seed: int) -> Any:
    """Returns a `dm_control.rl.control.Environment`; see `make_dm_control`."""
    suite = _suite()
    known = ["/".join(names) for names in suite.ALL_TASKS]
    if task not in known:
        domains = [f"{domain}/" for domain in dict.fromkeys(name.partition("/")[0] for name in known)]
        raise unknown_name("task of dm_control", task, known, domains)
    check_number("seed", seed, 0, MAX_SEED)
    domain, _, name = task.partition("/")
    environment = suite.load(domain, name, task_kwargs={"random": seed})
    if environment.physics.model.nhfield and os.environ["MUJOCO_GL"] == NO_RENDERER:
        # quadruped/escape asks for a renderer at each reset, and does without one where there is none.
        environment.physics._make_rendering_contexts = lambda: None
    return environment


def check_tasks(tasks: Sequence[str]) -> tuple[str, ...]:
    """Returns tasks to draw from, after a check that there is one and none twice.

    Raises:
      ValueError: there is none, or one is listed twice.
    """
    if isinstance(tasks, str) or not tasks or len(set(tasks)) < len(tasks):
        raise ValueError(f"tasks must be a list of different tasks, at least one, got {tasks!r}.")
    return tuple(tasks)


def _suite() -> ModuleType:
    # Before the import, which looks for a display otherwise.
    os.environ.setdefault("MUJOCO_GL", NO_RENDERER)
    try:
        from dm_control import suite
    except ModuleNotFoundError as error:
        raise ImportError("dm_control is not installed: pip install 's5rl[dm_control]'") from error
    except (ImportError, AttributeError) as error:  # PyOpenGL raises either where a library is missing
        raise cannot_draw(error) from error
    return suite


def cannot_draw(reason: object) -> RuntimeError:
    """Returns the error for a machine, or a setting, without a renderer."""
    return RuntimeError(
        f"dm_control cannot draw with MUJOCO_GL={os.environ['MUJOCO_GL']} ({reason}). Set it before the "
        "first environment of the process: to egl, which needs libegl1 (on Debian: apt install libegl1), or "
        f"to osmesa, which needs libosmesa6; to {NO_RENDERER} where nothing is to be drawn."
    )


def warn_of_divergence(task: str, reason: object) -> None:
    """Warns that the physics of a task diverged and its episode ends."""
    warnings.warn(f"the physics of {task} diverged, its episode is terminated: {reason}", stacklevel=3)


def flatten(observation: Any) -> np.ndarray:
    """Returns an observation of dm_control as float64 [O], in the order of its spec."""
    return np.concatenate([np.ravel(value) for value in observation.values()]).astype(np.float64)


class DmControlState(NamedTuple):
    """All that decides what follows in a `DmControl`."""

    physics: np.ndarray
    """float64 [P]: MuJoCo's mjSTATE_INTEGRATION, the guess from which its solver starts included."""
    model: np.ndarray
    """float64 [M]: the `DRAWN_FIELDS` of the model, one after the other."""
    random_key: np.ndarray
    """uint32 [624]: of the task's RandomState."""
    gauss: np.ndarray
    """float64 []: a normal number that the RandomState keeps for its next call."""
    counters: np.ndarray
    """int64 [4]: the RandomState's position, whether it keeps a number, the steps of the episode, and whether
    the next step begins an episode."""
    task: np.ndarray
    """uint32 []: the CRC-32 of its name; tasks of one domain have states of one shape."""


@final
class DmControl(dm_env.Environment):
    """What `make_dm_control` returns.

    Observations are float32 [O]: those of dm_control, flattened, in the order of its spec. Where the physics
    diverge, the episode ends in a terminated step with reward 0 and an observation of zeros, and a warning.
    """

    def __init__(self, task: str, seed: int) -> None:
        """Loads a task; see `make_dm_control`."""
        self._task = task
        self._environment = load_task(task, seed)
        size = sum(int(np.prod(spec.shape)) for spec in self._environment.observation_spec().values())
        self._observation_spec = specs.Array((size,), np.float32, name="observation")
        spec = self._environment.action_spec()
        self._action_spec = specs.BoundedArray(
            spec.shape, np.float32, spec.minimum, spec.maximum, name="action"
        )

    def reseed(self, seed: int) -> None:
        """Lets all random numbers from now on follow from a seed; see `make_dm_control`."""
        self._environment.task.random.seed(seed)

    def reset(self) -> dm_env.TimeStep:
        """Begins an episode."""
        return self._flat(self._environment.reset())

    def step(self, action: Action) -> dm_env.TimeStep:
        """Acts once; without an episode, or after its last step, the action is ignored and one begins.

        Raises:
          TypeError: the action's dtype does not fit its spec.
          ValueError: the action's shape or values do not fit its spec.
        """
        if self._environment._reset_next_step:
            return self.reset()
        from dm_control.rl.control import PhysicsError

        action = to_action(self._action_spec, action)
        try:
            timestep = self._flat(self._environment.step(action))
        except PhysicsError as error:
            return self._diverge(error)
        if not (np.isfinite(timestep.observation).all() and np.isfinite(timestep.reward)):
            return self._diverge("an observation or a reward is not finite")
        return timestep

    def observation_spec(self) -> specs.Array:
        """Returns the spec of float32 [O]."""
        return self._observation_spec

    def action_spec(self) -> specs.BoundedArray:
        """Returns the spec of dm_control, as float32 [A]."""
        return self._action_spec

    def render(self, height: int = 120, width: int = 160) -> np.ndarray:
        """Returns a picture of the present state by the task's first camera.

        Args:
          height: H, in pixels.
          width: W.

        Returns:
          uint8 [H, W, 3].

        Raises:
          RuntimeError: nothing can be drawn with what MUJOCO_GL says; the message tells what can.
        """
        if os.environ["MUJOCO_GL"] == NO_RENDERER:
            raise cannot_draw("it is turned off")
        return self._environment.physics.render(height, width, camera_id=0)

    def get_state(self) -> DmControlState:
        """Returns all that decides what follows."""
        import mujoco

        physics, environment = self._environment.physics, self._environment
        model, data = physics.model.ptr, physics.data.ptr
        state = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION))
        mujoco.mj_getState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        random = environment.task.random.get_state(legacy=False)
        return DmControlState(
            physics=state,
            model=np.concatenate([np.ravel(getattr(model, field)) for field in DRAWN_FIELDS], dtype=float),
            random_key=np.array(random["state"]["key"], np.uint32),
            gauss=np.array(random["gauss"], np.float64),
            counters=np.array(
                (
                    *(random["state"]["pos"], random["has_gauss"]),
                    *(environment._step_count, environment._reset_next_step),
                ),
                np.int64,
            ),
            task=np.array(zlib.crc32(self._task.encode()), np.uint32),
        )

    def set_state(self, state: DmControlState) -> None:
        """Goes back to where `get_state` returned the state.

        Raises:
          ValueError: it is the state of another task.
        """
        import mujoco

        own = self.get_state()
        if [np.shape(leaf) for leaf in state] != [leaf.shape for leaf in own] or state[-1] != own.task:
            raise ValueError(f"state must be that of {self._task}, from get_state().")
        state = DmControlState(*(np.asarray(leaf) for leaf in state))
        position, has_gauss, num_steps, needs_reset = state.counters.tolist()
        environment = self._environment
        model, data = environment.physics.model.ptr, environment.physics.data.ptr
        start = 0
        for field in DRAWN_FIELDS:
            values = getattr(model, field)
            values[...] = state.model[start : start + values.size].reshape(values.shape)
            start += values.size
        mujoco.mj_setState(model, data, state.physics, mujoco.mjtState.mjSTATE_INTEGRATION)
        # What dm_control's step expects to be up to date; mj_forward would change the solver's first guess.
        mujoco.mj_step1(model, data)
        environment.task.random.set_state(
            {
                "bit_generator": "MT19937",
                "state": {"key": state.random_key, "pos": position},
                "has_gauss": has_gauss,
                "gauss": float(state.gauss),
            }
        )
        environment._step_count, environment._reset_next_step = num_steps, bool(needs_reset)

    def close(self) -> None:
        """Frees the physics, and what draws it; nothing can be called afterwards."""
        self._environment.physics.free()  # dm_control's own close() does nothing

    def _flat(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        reward = None if timestep.reward is None else float(timestep.reward)
        return timestep._replace(observation=flatten(timestep.observation).astype(np.float32), reward=reward)

    def _diverge(self, reason: object) -> dm_env.TimeStep:
        warn_of_divergence(self._task, reason)
        self._environment._reset_next_step = True
        return dm_env.termination(0.0, np.zeros(self._observation_spec.shape, np.float32))


DRAWN_FIELDS = (
    *("body_pos", "body_quat", "geom_pos", "geom_size", "geom_rgba", "site_pos", "site_size", "site_rgba"),
    *("light_pos", "hfield_data", "jnt_stiffness", "dof_damping", "wrap_prm"),
)
"""The fields of the model that some task of the suite draws."""
