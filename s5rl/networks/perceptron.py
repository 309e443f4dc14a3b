"""The perceptrons between a memory and what is read from it."""

from __future__ import annotations

import haiku as hk

from s5rl.networks.torso import ACTIVATIONS
from s5rl.types import Array


def perceptron(sizes: tuple[int, ...], activation: str) -> hk.Transformed:
    """Returns the pure functions of a perceptron, whose last layer is linear.

    Args:
      sizes: width of each layer; the last one is that of the output.
      activation: name of what follows each layer but the last, one of ACTIVATIONS.
    """

    def apply(inputs: Array) -> Array:
        return hk.nets.MLP(sizes, activation=ACTIVATIONS[activation])(inputs)

    return hk.without_apply_rng(hk.transform(apply))
