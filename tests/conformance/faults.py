"""A little core that keeps all laws, and planted faults, each a small change to it."""

from __future__ import annotations

import dataclasses
from typing import final

import jax
import jax.numpy as jnp

from s5rl.cores import CheckedCore, RecurrentCore

SIZE = 4


class Little(RecurrentCore):
    """h = tanh(x W + 0.5 reset(h)), which implements `step` and `unroll` without `CheckedCore`."""

    @property
    def output_size(self):
        return SIZE

    def init(self, key, input_size):
        return {"w": jax.random.normal(key, (input_size, SIZE), float)}

    def initial_state(self, batch_size=None):
        return (jnp.zeros((SIZE,) if batch_size is None else (batch_size, SIZE), float),)

    def reset(self, state, flag):
        (h,) = state
        return (h,) if flag is None else (jnp.where(flag[..., None], 0.0, h),)

    def advance(self, params, x, state):
        h = jnp.tanh(x.astype(float) @ params["w"] + 0.5 * state[0])
        return h, (h,)

    def step(self, params, inputs, state, should_reset=None):
        return self.advance(params, inputs, self.reset(state, should_reset))

    def unroll(self, params, inputs, state, should_reset=None):
        def body(state, slot):
            outputs, state = self.step(params, slot[0], state, slot[1])
            return state, outputs

        state, outputs = jax.lax.scan(body, state, (inputs, should_reset))
        return outputs, state


@final
@dataclasses.dataclass(frozen=True)
class Right(Little):
    """No fault."""


@final
@dataclasses.dataclass(frozen=True)
class ShiftedFlag(Little):
    """`unroll` resets one step late."""

    def unroll(self, params, inputs, state, should_reset=None):
        if should_reset is not None:
            should_reset = jnp.concatenate([jnp.zeros_like(should_reset[:1]), should_reset[:-1]])
        return super().unroll(params, inputs, state, should_reset)


@final
@dataclasses.dataclass(frozen=True)
class ResetBehindInput(Little):
    """The state is reset after the input was consumed, in `step` and `unroll` alike."""

    def step(self, params, inputs, state, should_reset=None):
        outputs, state = self.advance(params, inputs, state)
        return outputs, self.reset(state, should_reset)


@final
@dataclasses.dataclass(frozen=True)
class MultipliedMask(Little):
    """The state is multiplied by 1 - flag: 0 * inf is NaN."""

    def reset(self, state, flag):
        return state if flag is None else (state[0] * (1.0 - flag[..., None]),)


@final
@dataclasses.dataclass(frozen=True)
class WhereBehindProduct(Little):
    """The state is masked after a function of it that is not finite: only the gradients are NaN."""

    def advance(self, params, x, state):
        h = jnp.tanh(x.astype(float) @ params["w"] + state[0])
        return h, (h,)

    def reset(self, state, flag):
        # The gradient of x * x at inf is 0 * inf.
        halved = 0.5 * state[0] * jax.lax.rsqrt(1.0 + state[0] * state[0])
        return (halved,) if flag is None else (jnp.where(flag[..., None], 0.0, halved),)


@final
@dataclasses.dataclass(frozen=True)
class ResetToZeros(Little):
    """The state starts at ones, and a reset makes it zeros."""

    def initial_state(self, batch_size=None):
        return jax.tree.map(jnp.ones_like, super().initial_state(batch_size))


@final
@dataclasses.dataclass(frozen=True)
class OperatorAlone(Little):
    """There is an operator, but nothing that makes the elements it combines."""

    def operator(self, earlier, later):
        return earlier + later


@final
@dataclasses.dataclass(frozen=True)
class IgnoredState(Little):
    """`unroll` starts from the initial state whatever comes in: nothing crosses a cut."""

    def unroll(self, params, inputs, state, should_reset=None):
        return super().unroll(params, inputs, jax.tree.map(jnp.zeros_like, state), should_reset)


@final
@dataclasses.dataclass(frozen=True)
class HiddenConvolution(Little):
    """`unroll` mixes each input with the one before, which no state carries over a cut or to `step`."""

    def unroll(self, params, inputs, state, should_reset=None):
        before = jnp.concatenate([jnp.zeros_like(inputs[:1]), inputs[:-1]])
        return super().unroll(params, inputs + 0.5 * before, state, should_reset)


@final
@dataclasses.dataclass(frozen=True)
class LookingAhead(Little):
    """Outputs of `unroll` attend to the whole sequence, the future included."""

    def unroll(self, params, inputs, state, should_reset=None):
        outputs, state = super().unroll(params, inputs, state, should_reset)
        weights = jax.nn.softmax(jnp.einsum("t...f,s...f->ts...", outputs, outputs), axis=1)
        return jnp.einsum("ts...,s...f->t...f", weights, outputs), state


@final
@dataclasses.dataclass(frozen=True)
class IgnoredFlags(Little):
    """`unroll` never resets."""

    def unroll(self, params, inputs, state, should_reset=None):
        return super().unroll(params, inputs, state, None)


@final
@dataclasses.dataclass(frozen=True)
class ListState(Little):
    """The state is a list."""

    def initial_state(self, batch_size=None):
        return list(super().initial_state(batch_size))

    def step(self, params, inputs, state, should_reset=None):
        outputs, state = super().step(params, inputs, tuple(state), should_reset)
        return outputs, list(state)


@final
@dataclasses.dataclass(frozen=True)
class NarrowState(Little):
    """The state is bfloat16."""

    def initial_state(self, batch_size=None):
        return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), super().initial_state(batch_size))

    def step(self, params, inputs, state, should_reset=None):
        outputs, state = super().step(params, inputs, state, should_reset)
        return outputs, jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), state)


@final
@dataclasses.dataclass(frozen=True)
class GrowingState(Little):
    """The state holds all inputs so far, so that `step` is compiled anew at every step."""

    def step(self, params, inputs, state, should_reset=None):
        outputs, new = self.advance(params, inputs, self.reset((state[0],), should_reset))
        return outputs, (*new, *state[1:], inputs)


@final
@dataclasses.dataclass(frozen=True)
class MixedRows(Little):
    """Rows of a batch see each other."""

    def advance(self, params, x, state):
        x = x - jnp.mean(x, axis=0, keepdims=True) if x.ndim == 2 else x
        return super().advance(params, x, state)


@final
@dataclasses.dataclass(frozen=True)
class FlagsByDefault(Little):
    """Without flags, every step is a reset."""

    def step(self, params, inputs, state, should_reset=None):
        if should_reset is None:
            should_reset = jnp.ones(inputs.shape[:-1], bool)
        return super().step(params, inputs, state, should_reset)


@final
@dataclasses.dataclass(frozen=True)
class LostFlag(CheckedCore):
    """A core whose operator does not carry on the flag of the earlier element."""

    @property
    def output_size(self):
        return SIZE

    def init(self, key, input_size):
        return {"w": jax.random.normal(key, (input_size, SIZE), float)}

    def initial_state(self, batch_size=None):
        return (jnp.zeros((SIZE,) if batch_size is None else (batch_size, SIZE), float),)

    def _step(self, prepared, inputs, state):
        x = 0.5 * state[0] + inputs @ prepared["w"]
        return x, (x,)

    def elements(self, params, inputs, should_reset):
        b = inputs @ params["w"]
        return jnp.full_like(b, 0.5), b, should_reset

    def operator(self, earlier, later):
        (a_i, b_i, _), (a_j, b_j, c_j) = earlier, later
        a_i, b_i = (jnp.where(c_j[..., None], x, y) for x, y in ((1.0, a_i), (0.0, b_i)))
        return a_j * a_i, a_j * b_i + b_j, c_j
