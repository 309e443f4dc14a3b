"""Checks at the public entries of cores: errors that name the argument, what came and what was expected."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from s5rl.types import Array, CoreState, PyTree

if TYPE_CHECKING:
    from s5rl.cores.base import RecurrentCore


class UnhashableCoreError(TypeError):
    """A core that is no value: JAX and the cores' own caches need its hash."""


def check_hashable(core: RecurrentCore) -> None:
    """Raises an UnhashableCoreError where a core has no hash."""
    try:
        hash(core)
    except TypeError as error:
        raise UnhashableCoreError(
            f"{type(core).__name__} is not hashable, but cores are values: make it a frozen dataclass "
            f"of hashable hyperparameters ({error})."
        ) from error


def check_call(
    core: RecurrentCore,
    inputs: Any,
    state: CoreState,
    should_reset: Any,
    *,
    time_axes: int,
) -> tuple[Array, CoreState, Array | None]:
    """Checks the arguments of `step` (no time axis) or `unroll` (one) against the core and each other.

    Args:
      core: the core that is called.
      inputs: [B, F] or [F] behind the time axes, floating.
      state: leaves [B, ...] or [...].
      should_reset: bool, the shape of inputs without the features; or None.
      time_axes: number of leading axes that are time.

    Returns:
      The same as JAX arrays; inputs in JAX's default float type, in which cores compute.

    Raises:
      TypeError: a dtype is wrong.
      ValueError: a shape or the structure of the state is wrong.
    """
    inputs = _as_array("inputs", inputs)
    shapes = "[T, B, F] or [T, F]" if time_axes else "[B, F] or [F]"
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        raise TypeError(f"inputs must be floating, {shapes}; got {inputs.dtype}{list(inputs.shape)}.")
    if inputs.ndim not in (time_axes + 1, time_axes + 2):
        raise ValueError(f"inputs must have shape {shapes}, got {list(inputs.shape)}.")
    if time_axes and inputs.shape[0] == 0:
        raise ValueError(f"inputs must hold at least one time step, got shape {list(inputs.shape)}.")
    batch_size = inputs.shape[time_axes] if inputs.ndim == time_axes + 2 else None
    state = _check_state(core, state, batch_size)
    if should_reset is not None:
        should_reset = _check_flags(should_reset, inputs.shape[:-1])
    return inputs.astype(float), state, should_reset


def check_input_size(inputs: Array, expected: int) -> None:
    """Raises a ValueError unless the inputs [..., F] have the width that the parameters were made for."""
    if inputs.shape[-1] != expected:
        raise ValueError(
            f"inputs must have {expected} features, for which the parameters were made; "
            f"got {inputs.shape[-1]}."
        )


def describe(tree: Any) -> str:
    """Shows a nest with `float32[8,64]` in the place of every array."""

    def show(leaf: Any) -> str:
        dtype, shape = getattr(leaf, "dtype", None), getattr(leaf, "shape", None)
        return type(leaf).__name__ if dtype is None else f"{dtype}{list(shape or ())}"

    return str(jax.tree.map(show, tree)).replace("'", "")


def _as_array(name: str, value: Any) -> Array:
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an array, got {type(value).__name__}.") from error


def _check_flags(should_reset: Any, expected: tuple[int, ...]) -> Array:
    should_reset = _as_array("should_reset", should_reset)
    if should_reset.dtype != jnp.bool_:
        raise TypeError(
            "should_reset must be bool (True where the state is reset before the input), "
            f"got {should_reset.dtype}{list(should_reset.shape)}."
        )
    if should_reset.shape != expected:
        raise ValueError(
            f"should_reset must have the shape of inputs without the features, {list(expected)}; "
            f"got {list(should_reset.shape)}."
        )
    return should_reset


def _check_state(core: RecurrentCore, state: CoreState, batch_size: int | None) -> CoreState:
    expected = _state_shapes(core, batch_size, str(jax.dtypes.canonicalize_dtype(float)))
    batch = "no batch" if batch_size is None else f"batch {batch_size}"
    if leaf_paths(state) != leaf_paths(expected):
        raise ValueError(
            f"state is not one of this {type(core).__name__}: expected the structure "
            f"{describe(expected)}, got {describe(state)}. Start from core.initial_state(batch_size)."
        )
    # Replay servers give NamedTuples back as classes of their own, with the same fields.
    leaves = [_as_array("every leaf of state", leaf) for leaf in jax.tree.leaves(state)]
    state = jax.tree.unflatten(jax.tree.structure(expected), leaves)
    for got, want in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
        if got.shape != want.shape:
            raise ValueError(
                f"state does not fit this {type(core).__name__} and inputs with {batch}: expected leaves "
                f"{describe(expected)}, got {describe(state)}."
            )
        if got.dtype != want.dtype:
            raise TypeError(
                f"state has the wrong dtype for this {type(core).__name__}: expected leaves "
                f"{describe(expected)}, got {describe(state)}."
            )
    return state


def leaf_paths(nest: PyTree) -> list[Any]:
    """Returns where the leaves of a nest are: their indices, keys and names of fields."""
    return [path for path, _ in jax.tree_util.tree_flatten_with_path(nest)[0]]


@functools.lru_cache(maxsize=256)
def _state_shapes(core: RecurrentCore, batch_size: int | None, float_type: str) -> CoreState:
    """Shapes and dtypes of a state; cached by JAX's float type too, which may change (x64)."""
    del float_type
    return jax.eval_shape(lambda: core.initial_state(batch_size))
