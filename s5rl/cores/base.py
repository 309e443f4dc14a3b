"""The interface of every memory: `RecurrentCore`, and `CheckedCore`, from which a core is easily made."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, final

import jax

from s5rl.cores import checks
from s5rl.cores.resets import reset_state
from s5rl.types import Array, CoreState, Params, PRNGKey

if TYPE_CHECKING:
    from s5rl.cores.to_haiku import HaikuRecurrentCore


class RecurrentCore(abc.ABC):
    """A memory: pure functions of parameters, inputs and a state.

    Subclasses are frozen dataclasses of hyperparameters, hence hashable values. Letters in shapes: T time
    steps, B batch, F features.

    `should_reset[t]` acts BEFORE `inputs[t]` is consumed: there the state is replaced by the initial state.
    None means all False. States are tuples or dicts of float32, int32 or bool arrays with one row per batch
    element.
    """

    @property
    @abc.abstractmethod
    def output_size(self) -> int:
        """Number of features of an output."""

    @abc.abstractmethod
    def init(self, key: PRNGKey, input_size: int) -> Params:
        """Returns fresh parameters for inputs of `input_size` features."""

    @abc.abstractmethod
    def initial_state(self, batch_size: int | None = None) -> CoreState:
        """Returns the state of an empty memory, leaves [B, ...], or [...] without a batch size."""

    @abc.abstractmethod
    def step(
        self, params: Params, inputs: Array, state: CoreState, should_reset: Array | None = None
    ) -> tuple[Array, CoreState]:
        """Consumes one input.

        Args:
          params: parameters, or what `prepare` made of them.
          inputs: [B, F] or [F], floating.
          state: the state before the input, leaves [B, ...] or [...].
          should_reset: bool [B] or [].

        Returns:
          The output [B, output_size] or [output_size], and the state after the input.
        """

    @abc.abstractmethod
    def unroll(
        self, params: Params, inputs: Array, state: CoreState, should_reset: Array | None = None
    ) -> tuple[Array, CoreState]:
        """Consumes a sequence; equals a scan of `step`.

        Args:
          params: parameters.
          inputs: [T, B, F] or [T, F], floating.
          state: the state before the first input, leaves [B, ...] or [...].
          should_reset: bool [T, B] or [T].

        Returns:
          The outputs [T, B, output_size] or [T, output_size], and the state after the last input.
        """

    def prepare(self, params: Params) -> Any:
        """Returns what acting computes once per parameter update; idempotent, by default the identity."""
        return params

    @final
    def to_haiku(self, name: str | None = None) -> HaikuRecurrentCore:
        """Returns this core as a Haiku module; call it inside a transform.

        A drop-in for `hk.LSTM(...)` that also takes `(inputs, should_reset)`, as `hk.ResetCore` does.

        Args:
          name: name of the module, under which its parameters are found.

        Returns:
          An `hk.RNNCore` that has `unroll` beside `__call__` and `initial_state`.
        """
        # Imported here, since that module needs this one.
        from s5rl.cores.to_haiku import HaikuRecurrentCore

        return HaikuRecurrentCore(self, name=name)


class CheckedCore(RecurrentCore):
    """A core written as functions of one batch axis; arguments, batch axes and resets are handled here.

    Write `_step`, for inputs [B, F] and a state that has been reset already, and get `step` and `unroll`
    with clear errors, optional batch axes and right resets. Write `_unroll` as well where the core has a
    faster form than a scan.
    """

    ignore_resets: ClassVar[bool] = False
    """True only in an ablation: every `should_reset` is then taken as all False."""

    @abc.abstractmethod
    def _step(self, prepared: Any, inputs: Array, state: CoreState) -> tuple[Array, CoreState]:
        """Consumes inputs [B, F] with a state of leaves [B, ...]; returns [B, output_size] and a state."""

    def _unroll(
        self, prepared: Any, inputs: Array, state: CoreState, should_reset: Array | None
    ) -> tuple[Array, CoreState]:
        """Consumes inputs [T, B, F] with flags [T, B]; by default a scan of `_step`."""
        return self._scan(functools.partial(self._step, prepared), inputs, state, should_reset)

    @final
    def _scan(
        self,
        step: Callable[[Array, CoreState], tuple[Array, CoreState]],
        inputs: Array,
        state: CoreState,
        should_reset: Array | None,
    ) -> tuple[Array, CoreState]:
        """Consumes inputs [T, B, ...] with flags [T, B] by a scan of `step`, which sees reset states."""

        def body(state: CoreState, slot: tuple[Array, Array | None]) -> tuple[CoreState, Array]:
            inputs, should_reset = slot
            outputs, state = step(inputs, reset_state(self, state, should_reset))
            return state, outputs

        final_state, outputs = jax.lax.scan(body, state, (inputs, should_reset))
        return outputs, final_state

    @final
    def step(
        self, params: Params, inputs: Array, state: CoreState, should_reset: Array | None = None
    ) -> tuple[Array, CoreState]:
        """Consumes one input; see `RecurrentCore.step`.

        Raises:
          TypeError: inputs that are not floating, flags that are not bool, or a state of other dtypes.
          ValueError: shapes, or a state, that do not fit each other or this core.
        """

        def call(inputs: Array, state: CoreState, flags: Array | None) -> tuple[Array, CoreState]:
            return self._step(self.prepare(params), inputs, reset_state(self, state, flags))

        return self._checked(call, 0, inputs, state, should_reset)

    @final
    def unroll(
        self, params: Params, inputs: Array, state: CoreState, should_reset: Array | None = None
    ) -> tuple[Array, CoreState]:
        """Consumes a sequence; see `RecurrentCore.unroll`.

        Raises:
          TypeError: inputs that are not floating, flags that are not bool, or a state of other dtypes.
          ValueError: shapes, or a state, that do not fit each other or this core.
        """

        def call(inputs: Array, state: CoreState, flags: Array | None) -> tuple[Array, CoreState]:
            return self._unroll(self.prepare(params), inputs, state, flags)

        return self._checked(call, 1, inputs, state, should_reset)

    def _checked(
        self,
        call: Callable[[Array, CoreState, Array | None], tuple[Array, CoreState]],
        time_axes: int,
        inputs: Array,
        state: CoreState,
        should_reset: Array | None,
    ) -> tuple[Array, CoreState]:
        """Checks the arguments, then runs `call` with a batch axis behind `time_axes` leading axes."""
        inputs, state, should_reset = checks.check_call(
            self, inputs, state, should_reset, time_axes=time_axes
        )
        if self.ignore_resets:
            should_reset = None
        if inputs.ndim == time_axes + 2:
            return call(inputs, state, should_reset)
        outputs, final_state = call(
            inputs[..., None, :],
            jax.tree.map(lambda leaf: leaf[None], state),
            None if should_reset is None else should_reset[..., None],
        )
        return outputs[..., 0, :], jax.tree.map(lambda leaf: leaf[0], final_state)
