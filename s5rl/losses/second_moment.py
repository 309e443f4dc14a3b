"""A running mean of squares, by whose root advantages are divided."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from s5rl.losses.returns import weighted_mean
from s5rl.types import Array


class SecondMoment(NamedTuple):
    """A decaying mean of squares which begins at 0, and what that beginning still weighs."""

    decayed_sum: Array
    """[]."""
    decay_product: Array
    """[] beta^n after n updates."""

    @classmethod
    def zero(cls) -> SecondMoment:
        """Returns that of no squares at all."""
        return cls(jnp.zeros((), float), jnp.ones((), float))

    def updated(self, squares: Array, weights: Array, decay: float) -> SecondMoment:
        """Returns beta s + (1 - beta) x for the weighted mean x of squares [T, B]; s without weight."""
        updated = SecondMoment(
            decay * self.decayed_sum + (1.0 - decay) * weighted_mean(squares, weights),
            decay * self.decay_product,
        )
        return jax.tree.map(lambda new, old: jnp.where(jnp.any(weights > 0), new, old), updated, self)

    def root(self, epsilon: float) -> Array:
        """Returns sqrt(s / (1 - beta^n) + epsilon): without bias after the first update already.

        It is not centred. Before the first update it is 1.

        Source: Hessel et al. 2021, section 4.5.
        """
        weight = 1.0 - self.decay_product
        mean = jnp.where(weight > 0, self.decayed_sum / jnp.where(weight > 0, weight, 1.0), 1.0)
        return jnp.sqrt(mean + epsilon)
