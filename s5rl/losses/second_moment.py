"""A running mean of squares, by whose root advantages are divided."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

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

    def updated(self, mean_square: Array, decay: float) -> SecondMoment:
        """Returns beta s + (1 - beta) x for a mean of squares x []."""
        decayed_sum = decay * self.decayed_sum + (1.0 - decay) * mean_square
        return SecondMoment(decayed_sum, decay * self.decay_product)

    def root(self, epsilon: float) -> Array:
        """Returns sqrt(s / (1 - beta^n) + epsilon): without bias after the first update already.

        It is not centred. Before the first update it is of no meaning.

        Source: Hessel et al. 2021, section 4.5.
        """
        return jnp.sqrt(self.decayed_sum / (1.0 - self.decay_product) + epsilon)
