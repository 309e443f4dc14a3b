"""Observations and rewards of dm_control's tasks for many simulations at once.

Each formula repeats one of `dm_control.suite`, on fields [B, ...] of MuJoCo in place of one simulation; so
that results agree bit for bit, it uses the same fields, the same reward function and the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

Fields = dict[str, np.ndarray]
"""By the name in MuJoCo's MjData, [B, ...]: the state fields and the derived ones of the formulas."""

XZ, ZZ = 2, 8
"""Elements of a rotation matrix: the x and the z of the rotated z axis."""


class Formulas(NamedTuple):
    """What a task shows and pays."""

    derived: tuple[str, ...]
    """Derived fields of MjData that the functions read."""
    drawn: tuple[str, ...]
    """Fields of MjModel that the task draws anew for each episode."""
    observation: Callable[[Fields], np.ndarray]
    """[B, E], of fields at the new state."""
    reward: Callable[[Fields], np.ndarray]
    """[B]."""


def formulas(task: str, model: Any) -> Formulas:
    """Returns the formulas of a task.

    Args:
      task: one of `BATCHED_TASKS`.
      model: its MjModel, after a reset of the task.
    """
    return _MAKERS[task](model)


def _cartpole(model: Any, *, sparse: bool) -> Formulas:
    tolerance = _tolerance()

    def cosines(fields: Fields) -> np.ndarray:
        return fields["xmat"][:, 2:, ZZ]

    def observation(fields: Fields) -> np.ndarray:
        angles = fields["xmat"][:, 2:, (ZZ, XZ)].reshape(len(fields["qpos"]), -1)
        return np.concatenate([fields["qpos"][:, :1], angles, fields["qvel"]], axis=1)

    def dense_reward(fields: Fields) -> np.ndarray:
        upright = ((cosines(fields) + 1) / 2).mean(axis=1)
        centered = (1 + tolerance(fields["qpos"][:, 0], margin=2)) / 2
        control = tolerance(fields["ctrl"][:, 0], margin=1, value_at_margin=0, sigmoid="quadratic")
        small_control = (4 + control) / 5
        small_velocity = (1 + tolerance(fields["qvel"][:, 1:], margin=5).min(axis=1)) / 2
        return upright * small_control * small_velocity * centered

    def sparse_reward(fields: Fields) -> np.ndarray:
        cart_in_bounds = tolerance(fields["qpos"][:, 0], (-0.25, 0.25))
        return cart_in_bounds * tolerance(cosines(fields), (0.995, 1)).prod(axis=1)

    return Formulas(("xmat",), (), observation, sparse_reward if sparse else dense_reward)


def _pendulum(model: Any) -> Formulas:
    tolerance = _tolerance()
    pole = model.body("pole").id
    bound = np.cos(np.deg2rad(8))

    def observation(fields: Fields) -> np.ndarray:
        return np.concatenate([fields["xmat"][:, pole, (ZZ, XZ)], fields["qvel"]], axis=1)

    def reward(fields: Fields) -> np.ndarray:
        return tolerance(fields["xmat"][:, pole, ZZ], (bound, 1))

    return Formulas(("xmat",), (), observation, reward)


def _acrobot(model: Any, *, sparse: bool) -> Formulas:
    tolerance = _tolerance()
    arms = [model.body(name).id for name in ("upper_arm", "lower_arm")]
    target, tip = model.site("target").id, model.site("tip").id
    radius = float(model.site_size[target, 0])

    def observation(fields: Fields) -> np.ndarray:
        arms_xmat = fields["xmat"][:, arms]
        return np.concatenate([arms_xmat[..., XZ], arms_xmat[..., ZZ], fields["qvel"]], axis=1)

    def reward(fields: Fields) -> np.ndarray:
        distance = _norm(fields["site_xpos"][:, target] - fields["site_xpos"][:, tip])
        return tolerance(distance, (0, radius), margin=0 if sparse else 1)

    return Formulas(("xmat", "site_xpos"), (), observation, reward)


def _ball_in_cup(model: Any) -> Formulas:
    ball, target = model.body("ball").id, model.site("target").id
    room = model.site_size[target, [0, 2]] - model.geom("ball").size[0]

    def reward(fields: Fields) -> np.ndarray:
        offset = fields["site_xpos"][:, target, ::2] - fields["xpos"][:, ball, ::2]
        return (np.abs(offset) < room).all(axis=1).astype(float)

    return Formulas(("site_xpos", "xpos"), (), _position_and_velocity, reward)


def _point_mass(model: Any, *, drawn: tuple[str, ...]) -> Formulas:
    tolerance = _tolerance()
    target, mass = model.geom("target").id, model.geom("pointmass").id
    size = float(model.geom_size[target, 0])

    def reward(fields: Fields) -> np.ndarray:
        distance = _norm(fields["geom_xpos"][:, target] - fields["geom_xpos"][:, mass])
        near_target = tolerance(distance, (0, size), margin=size)
        control = tolerance(fields["ctrl"], margin=1, value_at_margin=0, sigmoid="quadratic").mean(axis=1)
        return near_target * ((control + 4) / 5)

    return Formulas(("geom_xpos",), drawn, _position_and_velocity, reward)


def _reacher(model: Any) -> Formulas:
    tolerance = _tolerance()
    target, finger = model.geom("target").id, model.geom("finger").id
    radii = float(model.geom_size[[target, finger], 0].sum())

    def to_target(fields: Fields) -> np.ndarray:
        return fields["geom_xpos"][:, target, :2] - fields["geom_xpos"][:, finger, :2]

    def observation(fields: Fields) -> np.ndarray:
        return np.concatenate([fields["qpos"], to_target(fields), fields["qvel"]], axis=1)

    def reward(fields: Fields) -> np.ndarray:
        return tolerance(_norm(to_target(fields)), (0, radii))

    return Formulas(("geom_xpos",), ("geom_pos",), observation, reward)


def _finger(model: Any, *, turn: bool) -> Formulas:
    def sensor(name: str) -> int:
        return int(model.sensor(name).adr[0])

    joints = [sensor("proximal"), sensor("distal")]
    velocities = [sensor(f"{joint}_velocity") for joint in ("proximal", "distal", "hinge")]
    touches = [sensor("touchtop"), sensor("touchbottom")]
    tip, target, spinner = (np.array([0, 2]) + sensor(name) for name in ("tip", "target", "spinner"))
    size = float(model.site("target").size[0])

    def basic(fields: Fields) -> list[np.ndarray]:
        data = fields["sensordata"]
        # The touch is that of the last substep, one before the rest; so it is in dm_control.
        return [
            data[:, joints],
            data[:, tip] - data[:, spinner],
            data[:, velocities],
            np.log1p(data[:, touches]),
        ]

    def target_position(fields: Fields) -> np.ndarray:
        return fields["sensordata"][:, target] - fields["sensordata"][:, spinner]

    def distance(fields: Fields) -> np.ndarray:
        tip_position = fields["sensordata"][:, tip] - fields["sensordata"][:, spinner]
        return _norm(target_position(fields) - tip_position) - size

    def spin_observation(fields: Fields) -> np.ndarray:
        return np.concatenate(basic(fields), axis=1)

    def turn_observation(fields: Fields) -> np.ndarray:
        parts = [*basic(fields), target_position(fields), distance(fields)[:, None]]
        return np.concatenate(parts, axis=1)

    def spin_reward(fields: Fields) -> np.ndarray:
        return (fields["sensordata"][:, velocities[2]] <= -15.0).astype(float)

    def turn_reward(fields: Fields) -> np.ndarray:
        return (distance(fields) <= 0).astype(float)

    if turn:
        return Formulas(("sensordata",), ("site_pos",), turn_observation, turn_reward)
    return Formulas(("sensordata",), (), spin_observation, spin_reward)


def _position_and_velocity(fields: Fields) -> np.ndarray:
    return np.concatenate([fields["qpos"], fields["qvel"]], axis=1)


def _norm(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=1)


def _tolerance() -> Callable[..., Any]:
    from dm_control.utils.rewards import tolerance

    return tolerance


_MAKERS: dict[str, Callable[[Any], Formulas]] = {
    "acrobot/swingup": partial(_acrobot, sparse=False),
    "acrobot/swingup_sparse": partial(_acrobot, sparse=True),
    "ball_in_cup/catch": _ball_in_cup,
    "cartpole/balance": partial(_cartpole, sparse=False),
    "cartpole/balance_sparse": partial(_cartpole, sparse=True),
    "cartpole/swingup": partial(_cartpole, sparse=False),
    "cartpole/swingup_sparse": partial(_cartpole, sparse=True),
    "cartpole/three_poles": partial(_cartpole, sparse=False),
    "cartpole/two_poles": partial(_cartpole, sparse=False),
    "finger/spin": partial(_finger, turn=False),
    "finger/turn_easy": partial(_finger, turn=True),
    "finger/turn_hard": partial(_finger, turn=True),
    "pendulum/swingup": _pendulum,
    "point_mass/easy": partial(_point_mass, drawn=()),
    "point_mass/hard": partial(_point_mass, drawn=("wrap_prm",)),
    "reacher/easy": _reacher,
    "reacher/hard": _reacher,
}
BATCHED_TASKS = tuple(_MAKERS)
"""The tasks with at most 12 numbers in the observation and 2 in the action, and with a time limit."""
