"""Scalars as distributions over a fixed support: the two-hot values of MuZero."""

from __future__ import annotations

import dataclasses
from typing import final

import jax
import optax
import rlax

from s5rl.types import Array
from s5rl.validation import check_number, check_positive


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
        # rlax gives one scalar an axis of its own.
        scalars: Array = self._pair.apply_inv(jax.nn.softmax(logits)).reshape(logits.shape[:-1])
        return scalars

    def cross_entropy(self, logits: Array, targets: Array) -> Array:
        """Returns the cross-entropies [...] of scalar targets [...] under distributions [..., bins].

        No gradient flows through the targets.
        """
        labels = jax.lax.stop_gradient(self._pair.apply(targets)).reshape(logits.shape)
        losses: Array = optax.softmax_cross_entropy(logits, labels)
        return losses

    @property
    def _pair(self) -> rlax.TxPair:
        return rlax.muzero_pair(-self.max_value, self.max_value, self.num_bins, rlax.SIGNED_HYPERBOLIC_PAIR)
