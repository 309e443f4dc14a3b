"""Any Haiku core as a `RecurrentCore`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, final

import haiku as hk
import jax
import jax.numpy as jnp

from s5rl.cores import checks
from s5rl.cores.base import CheckedCore
from s5rl.types import Array, CoreState, Params, PRNGKey
from s5rl.validation import check_positive


@final
@dataclasses.dataclass(frozen=True)
class HaikuCore(CheckedCore):
    """An `hk.RNNCore` as a core: `HaikuCore(lambda: hk.LSTM(256))`.

    Attributes:
      make_core: builds the module; called inside a transform. A named function, rather than a new lambda at
        each call, keeps equal cores equal.

    Raises:
      ValueError: the module has a trainable initial state, keeps `hk.get_state`, or draws random keys when it
        is applied: such a module is no pure function of parameters, inputs and state. Or its output is not
        one array [B, F], or its state changes shape or dtype.
      TypeError: `make_core` is no function that returns an `hk.RNNCore`, or the state holds lists or other
        dtypes than floats, int32 and bool.
    """

    make_core: Callable[[], hk.RNNCore]

    def __post_init__(self) -> None:
        if not callable(self.make_core):
            raise TypeError(
                f"make_core must be a function that returns an hk.RNNCore, got {self.make_core!r}."
            )

    @property
    def output_size(self) -> int:
        """Number of features of an output."""
        return self._output_size(input_size=1)

    def init(self, key: PRNGKey, input_size: int) -> Params:
        """Returns fresh parameters for inputs of `input_size` features."""
        check_positive(input_size=input_size)
        if (size := self._output_size(input_size)) != self.output_size:
            raise ValueError(
                f"make_core's output has {size} features for inputs of {input_size} and "
                f"{self.output_size} for inputs of 1: a core's output size must not depend on its inputs."
            )
        params, _ = self._transformed().init(key, jnp.zeros((1, input_size), float), self.initial_state(1))
        return params

    def initial_state(self, batch_size: int | None = None) -> CoreState:
        """Returns the module's own initial state, leaves [B, ...] or [...]."""

        def initial(size: int) -> CoreState:
            return self._make().initial_state(size)

        transformed = hk.transform_with_state(initial)
        init_key = jax.random.key(0)  # nothing may be drawn from it: the call below has none
        params, state = jax.eval_shape(lambda: transformed.init(init_key, 1))
        if jax.tree.leaves(params):
            raise ValueError(
                "make_core's module has a trainable initial state (parameters "
                f"{sorted(params)}); a core's initial state must be a constant."
            )
        _refuse_state(state)
        core_state, _ = _without_keys(
            transformed.apply, {}, {}, None, 1 if batch_size is None else batch_size
        )
        _check_state_leaves(core_state)
        if batch_size is None:
            core_state = jax.tree.map(lambda leaf: leaf[0], core_state)
        return jax.tree.map(jnp.asarray, core_state)

    def _step(self, prepared: Params, inputs: Array, state: CoreState) -> tuple[Array, CoreState]:
        try:
            result, _ = _without_keys(self._transformed().apply, prepared, {}, None, inputs, state)
        except ValueError as error:
            if "retrieved shape" not in str(error):
                raise
            raise ValueError(
                "inputs must have the number of features for which the parameters were made; "
                f"got {inputs.shape[-1]}: {error}"
            ) from error
        return result

    def _make(self) -> hk.RNNCore:
        try:
            core = self.make_core()
        except TypeError as error:
            raise TypeError(f"make_core must be callable without arguments: {error}") from error
        if isinstance(core, hk.ResetCore):
            raise TypeError(
                "make_core must return the core itself, not an hk.ResetCore around it: resets are done here."
            )
        if not isinstance(core, hk.RNNCore):
            raise TypeError(f"make_core must return an hk.RNNCore, got {type(core).__name__}.")
        return core

    def _transformed(self) -> hk.TransformedWithState:
        def step(inputs: Array, state: CoreState) -> tuple[Array, CoreState]:
            return self._make()(inputs, state)

        return hk.transform_with_state(step)

    def _output_size(self, input_size: int) -> int:
        state = self.initial_state(1)
        transformed = self._transformed()

        def step() -> tuple[Array, CoreState, Any]:
            inputs = jnp.zeros((1, input_size), float)
            params, module_state = transformed.init(jax.random.key(0), inputs, state)
            result, _ = _without_keys(transformed.apply, params, module_state, None, inputs, state)
            return *result, module_state

        outputs, next_state, module_state = jax.eval_shape(step)
        _refuse_state(module_state)
        if not isinstance(outputs, jax.ShapeDtypeStruct) or outputs.shape[:-1] != (1,):
            raise ValueError(
                "make_core's output must be one array [B, F], "
                f"got {checks.describe(outputs)} for inputs of shape [1, {input_size}]."
            )
        if checks.describe(next_state) != checks.describe(state):
            raise ValueError(
                "make_core's state must keep its structure, shapes and dtypes over a step, "
                f"got {checks.describe(next_state)} from {checks.describe(state)}."
            )
        return outputs.shape[-1]


def _refuse_state(module_state: Any) -> None:
    if jax.tree.leaves(module_state):
        raise ValueError(
            f"make_core's module keeps Haiku state ({sorted(module_state)}); everything that a core "
            "remembers must be in the state that it returns."
        )


def _without_keys(apply: Callable[..., Any], *args: Any) -> Any:
    """Applies a transform without a random key; names the reason where it asks for one."""
    try:
        return apply(*args)
    except ValueError as error:
        if "PRNG" not in str(error) and "rng" not in str(error):
            raise
        raise ValueError(
            "make_core's module draws random keys when it is applied; a core must be a pure function of "
            "parameters, inputs and state."
        ) from error


def _check_state_leaves(state: CoreState) -> None:
    for leaf in jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, list)):
        if isinstance(leaf, list):
            raise TypeError("make_core's state holds a list; states are tuples or dicts of arrays.")
        dtype = jnp.asarray(leaf).dtype
        if dtype not in (jnp.float32, jnp.float64, jnp.int32, jnp.bool_):
            raise TypeError(f"make_core's state holds {dtype}; expected float32, int32 or bool.")
