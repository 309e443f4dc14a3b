"""Scalars as distributions over a fixed support: the two-hot values of MuZero."""

from __future__ import annotations

import dataclasses
from typing import final

import jax
import jax.numpy as jnp
import optax

from s5rl.types import Array
from s5rl.validation import check_number, check_positive

H_EPSILON = 1e-3


@final
@dataclasses.dataclass(frozen=True)
class TwoHotDistribution:
    """A categorical distribution over bins at equal distances in h-space, read as the scalar h^-1(mean).

        h(x) = sign(x) (sqrt(|x| + 1) - 1) + 0.001 x

    A scalar becomes the distribution of the two bins nearest to h(x) whose mean is h(x). The mean in h-space
    of a scalar that varies lies below its mean: {0, 200}, half and half, are read as 57.

    Attributes:
      num_bins: number of bins.
      max_value: h-value of the last bin; the first one has its negative. Scalars beyond are clipped.

    Raises:
      ValueError: there are fewer than two bins, or max_value is not positive.

    Source: Schrittwieser et al. 2020 (MuZero), appendix F; Pohlen et al. 2018 for h.
    """

    num_bins: int
    max_value: float

    def __post_init__(self) -> None:
        check_positive(num_bins=self.num_bins)
        if self.num_bins < 2:
            raise ValueError(f"num_bins must be an integer of at least 2, got {self.num_bins}.")
        check_number("max_value", self.max_value, 0, above=True)

    def decode(self, logits: Array) -> Array:
        """Returns the scalars [...] of distributions [..., bins]."""
        support = jnp.linspace(-self.max_value, self.max_value, self.num_bins, dtype=logits.dtype)
        return _inverse_h(jax.nn.softmax(logits) @ support)

    def cross_entropy(self, logits: Array, targets: Array) -> Array:
        """Returns the cross-entropies [...] of scalar targets [...] under distributions [..., bins].

        No gradient flows through the targets.
        """
        import rlax  # here, since it loads distrax; see heads.py

        bounds = -self.max_value, self.max_value
        labels = rlax.transform_to_2hot(_h(jax.lax.stop_gradient(targets)), *bounds, self.num_bins)
        # rlax gives one scalar an axis of its own.
        losses: Array = optax.softmax_cross_entropy(logits, labels.reshape(logits.shape))
        return losses


def _h(x: Array) -> Array:
    # rlax's form, sqrt(|x| + 1) - 1, and its inverse lose what is small against 1 to rounding.
    return x / (jnp.sqrt(jnp.abs(x) + 1.0) + 1.0) + H_EPSILON * x


def _inverse_h(y: Array) -> Array:
    # Of w = sqrt(|x| + 1) - 1, which solves e w^2 + (1 + 2 e) w = |y|, the root without a difference.
    size, b = jnp.abs(y), 1.0 + 2.0 * H_EPSILON
    w = 2.0 * size / (jnp.sqrt(b**2 + 4.0 * H_EPSILON * size) + b)
    return jnp.sign(y) * w * (w + 2.0)
