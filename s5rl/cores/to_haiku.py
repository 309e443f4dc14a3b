"""Any core as a Haiku module: a drop-in for `hk.LSTM(...)`."""

from __future__ import annotations

from typing import Any, final

import haiku as hk
import jax

from s5rl.cores.base import RecurrentCore
from s5rl.types import Array, CoreState, Params


@final
class HaikuRecurrentCore(hk.RNNCore):
    """A `RecurrentCore` as an `hk.RNNCore`; its parameters are Haiku's.

    It works under `hk.static_unroll`, `hk.dynamic_unroll` and `hk.ResetCore`; its own `unroll` is the
    parallel one. Inputs may be `x` or `(x, should_reset)`, as `hk.ResetCore` takes them.
    """

    def __init__(self, core: RecurrentCore, name: str | None = None) -> None:
        """Wraps a core; call it inside a transform.

        Args:
          core: the core.
          name: name of the module, by default the core's class name.
        """
        super().__init__(name=name or type(core).__name__)
        self._core = core

    def __call__(self, inputs: Any, prev_state: CoreState) -> tuple[Array, CoreState]:
        """Consumes one input.

        Args:
          inputs: [B, F] or [F], or a pair of that and bool flags [B] or [].
          prev_state: the state before the input.

        Returns:
          The output [B, output_size] or [output_size], and the state after the input.
        """
        inputs, should_reset = _split(inputs)
        return self._core.step(self._params(inputs), inputs, prev_state, should_reset)

    def unroll(self, inputs: Any, state: CoreState) -> tuple[Array, CoreState]:
        """Consumes a sequence, in parallel where the core can.

        Args:
          inputs: [T, B, F] or [T, F], or a pair of that and bool flags [T, B] or [T].
          state: the state before the first input.

        Returns:
          The outputs [T, B, output_size] or [T, output_size], and the state after the last input.
        """
        inputs, should_reset = _split(inputs)
        return self._core.unroll(self._params(inputs), inputs, state, should_reset)

    def initial_state(self, batch_size: int | None) -> CoreState:
        """Returns the state of an empty memory, leaves [B, ...], or [...] for None."""
        return self._core.initial_state(batch_size)

    def _params(self, inputs: Array) -> Params:
        """Returns the core's parameters, each a Haiku parameter named by its path."""
        input_size = inputs.shape[-1]
        shapes = jax.eval_shape(lambda key: self._core.init(key, input_size), jax.random.key(0))
        leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
        fresh: list[Array] = []

        def parameter(index: int) -> Array:
            def init(*_: Any) -> Array:
                # Asked for only while Haiku initialises, so that `apply` needs no random key.
                if not fresh:
                    fresh.extend(jax.tree.leaves(self._core.init(hk.next_rng_key(), input_size)))
                return fresh[index]

            path, shape = leaves[index]
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            return hk.get_parameter(name, shape.shape, shape.dtype, init=init)

        return jax.tree.unflatten(structure, [parameter(index) for index in range(len(leaves))])


def _split(inputs: Any) -> tuple[Array, Array | None]:
    if isinstance(inputs, tuple):
        if len(inputs) != 2:
            raise ValueError(
                f"inputs must be an array or the pair (inputs, should_reset), got {len(inputs)} entries."
            )
        return inputs[0], inputs[1]
    return inputs, None
