"""Random projections of observations and actions: the mathematics, for numpy and JAX alike.

Algorithm 1 of Lu et al. 2023 (https://arxiv.org/abs/2303.03982). At each reset a task, M_o and M_a are drawn,
and then

    o'' = [M_o o, reward, done],      a = M_a a',      a' in [-1, 1]^A

done is 1 where an episode terminates. One that is only cut off by its time limit, and bootstrapped, does not
show it: no loss trains on what follows an episode, so that the value that is bootstrapped would depend on a
weight which is never learned.

E is the size of the task's own observation or action; O and A are the sizes that agents see.
"""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import Any, final

import numpy as np
from dm_env import specs

from s5rl.validation import check_bool, check_choice, check_number, check_positive

DISTRIBUTIONS = ("orthogonal", "gaussian")


@final
@dataclasses.dataclass(frozen=True)
class ProjectionSettings:
    """What projections are drawn, and what agents see of them.

    Attributes:
      observation_size: O.
      action_size: A.
      projection: the distribution of both matrices. "orthogonal": uniform over those with orthonormal columns
        (or rows, where there are fewer), so that M_o keeps lengths; "gaussian": N(0, 1/E) per element, E the
        size of what is projected. The paper does not say.
      scale: what the matrices are multiplied by.
      previous_action: whether the observation ends with the A numbers of the previous action, 0 in a FIRST
        step. The paper's agent does not see it.
      bootstrap: whether an episode that reaches its time limit is cut off with the discount of its task, 1 in
        dm_control; else it counts as terminated, discount 0.
      fixed_projections: whether each task has one projection, that of the seed, in place of a fresh one for
        each episode.
    """

    observation_size: int = 12
    action_size: int = 2
    projection: str = "orthogonal"
    scale: float = 1.0
    previous_action: bool = False
    bootstrap: bool = True
    fixed_projections: bool = False

    def __post_init__(self) -> None:
        check_positive(observation_size=self.observation_size, action_size=self.action_size)
        check_choice("projection", self.projection, DISTRIBUTIONS)
        check_number("scale", self.scale, 0.0, above=True)
        for name in ("previous_action", "bootstrap", "fixed_projections"):
            check_bool(name, getattr(self, name))

    def check_sizes(self, task: str, observation_size: int, action_size: int) -> None:
        """Raises a ValueError unless a task fits, which has so many numbers in observation and action."""
        for name, size in (("observation_size", observation_size), ("action_size", action_size)):
            if size > getattr(self, name):
                raise ValueError(
                    f"{task} has {observation_size} numbers in its observation and {action_size} in its "
                    f"action, which exceeds {name}={getattr(self, name)} of the projection."
                )

    def observation_spec(self) -> specs.Array:
        """Returns the spec of float32 [O + 2], or [O + 2 + A] with the previous action."""
        size = self.observation_size + 2 + self.action_size * self.previous_action
        return specs.Array((size,), np.float32, name="projected observation")

    def action_spec(self) -> specs.BoundedArray:
        """Returns the spec of float32 [A], from -1 to 1."""
        return specs.BoundedArray((self.action_size,), np.float32, -1.0, 1.0, name="action to project")

    def matrix(self, normal: Any, xp: ModuleType) -> Any:
        """Returns the projection made of standard normal numbers.

        Args:
          normal: [rows, columns].
          xp: numpy or jax.numpy.
        """
        if self.projection == "gaussian":
            return self.scale * normal / normal.shape[1] ** 0.5
        return self.scale * semi_orthogonal(normal, xp)


def semi_orthogonal(normal: Any, xp: ModuleType) -> Any:
    """Returns a matrix with orthonormal columns, or rows where there are fewer, uniform over all of those.

    Args:
      normal: [rows, columns] standard normal numbers.
      xp: numpy or jax.numpy.
    """
    rows, columns = normal.shape
    q, r = xp.linalg.qr(normal if rows >= columns else normal.T)
    # Only with a positive diagonal of r is q uniform: Mezzadri 2007, "How to generate random matrices".
    q = q * xp.where(xp.diagonal(r) < 0, -1.0, 1.0)
    return q if rows >= columns else q.T


def project(matrix: Any, vector: Any) -> Any:
    """Returns [..., rows]: the matrix [..., rows, columns] times the vector [..., columns].

    As a sum, not as a product of matrices: its rounding does not depend on the number of rows in a batch.
    """
    return (matrix * vector[..., None, :]).sum(-1)


def observe(matrix: Any, observation: Any, reward: Any, done: Any, xp: ModuleType) -> Any:
    """Returns [..., O + 2]: M_o o, the reward and the end of the episode, 0 or 1.

    Args:
      matrix: [..., O, E] M_o.
      observation: [..., E] o.
      reward: [...] 0 in a FIRST step.
      done: [...] whether the episode has terminated.
      xp: numpy or jax.numpy.
    """
    projected = project(matrix, observation)
    signals = [xp.asarray(signal, projected.dtype)[..., None] for signal in (reward, done)]
    return xp.concatenate([projected, *signals], axis=-1)
