"""What differs between the supported versions of JAX, in one place."""

from __future__ import annotations

from contextlib import AbstractContextManager

import jax


def enable_x64() -> AbstractContextManager[None]:
    """Returns a context in which JAX's default float type is float64."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax import experimental  # its home before jax 0.8

    return experimental.enable_x64()  # type: ignore[attr-defined, unused-ignore]
