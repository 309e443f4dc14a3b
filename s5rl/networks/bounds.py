"""Bounds of actions in another precision."""

from __future__ import annotations

from typing import Any

import numpy as np


def inward_bounds(minimum: Any, maximum: Any, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns bounds in a dtype, rounded inwards: a spec refuses what is beyond by a unit in the last place.

    Args:
      minimum: float [...].
      maximum: float [...].
      dtype: a floating one.

    Returns:
      minimum and maximum [...] in the dtype, neither outside of the bounds that were given.
    """
    minimum, maximum = np.asarray(minimum), np.asarray(maximum)
    with np.errstate(over="ignore"):
        low, high = minimum.astype(dtype), maximum.astype(dtype)
    low = np.where(low < minimum, np.nextafter(low, np.asarray(np.inf, dtype)), low)
    high = np.where(high > maximum, np.nextafter(high, np.asarray(-np.inf, dtype)), high)
    return low, high
