"""What differs between the supported versions of JAX and optax, in one place."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import jax
import optax


def enable_x64() -> AbstractContextManager[None]:
    """Returns a context in which JAX's default float type is float64."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax import experimental  # its home before jax 0.8

    return experimental.enable_x64()  # type: ignore[attr-defined, unused-ignore]


def global_norm(tree: Any) -> jax.Array:
    """Returns the Euclidean norm of all leaves together, a scalar."""
    if hasattr(optax, "tree") and hasattr(optax.tree, "norm"):
        return optax.tree.norm(tree)
    return optax.global_norm(tree)  # its name before optax 0.2.6
