"""The paper's formulation of resettable S5, against which ours is measured.

Complex64 matrix products, and a parallel scan over triples of decay, input and reset flag, whose operator
multiplies by the flag: as published, with the same parameters as `ResettableS5Core`. A step of acting is a
sequence of length 1.

Source: Lu et al. 2023, section 3.1, equations 9 and 10, and the code published with it.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from s5rl.cores import CheckedCore, ResettableS5Core, layers
from s5rl.cores.diagonal import PreparedStack
from s5rl.cores.diagonal_layer import PreparedLayer
from s5rl.cores.recurrence_solvers import ComplexPair
from s5rl.types import Array, Params, PRNGKey

Triple = tuple[Array, Array, Array]


class ComplexLayer(NamedTuple):
    """A discrete layer, H features and P modes."""

    decay: Array
    """complex64 [P]."""
    input_matrix: Array
    """complex64 [H, P]: B_bar."""
    output_matrix: Array
    """complex64 [P, H]: 2 C."""
    skip: Array
    """[H]."""

    @classmethod
    def of(cls, layer: PreparedLayer) -> ComplexLayer:
        """Returns the same layer in complex numbers."""
        b_re, b_im = jnp.split(layer.input_matrix, 2, axis=1)
        c_re, minus_c_im = jnp.split(layer.output_matrix, 2, axis=0)
        return cls(
            jax.lax.complex(*layer.decay),
            jax.lax.complex(b_re, b_im),
            jax.lax.complex(c_re, -minus_c_im),
            layer.skip,
        )


def combine(earlier: Triple, later: Triple) -> Triple:
    """Returns the paper's equation 10, written with products."""
    (a_i, b_i, c_i), (a_j, b_j, c_j) = earlier, later
    return (
        a_j * a_i * (1 - c_j) + a_j * c_j,
        (a_j * b_i + b_j) * (1 - c_j) + b_j * c_j,
        c_i * (1 - c_j) + c_j,
    )


def unroll_layer(
    layer: ComplexLayer, inputs: Array, state: Array, should_reset: Array
) -> tuple[Array, Array]:
    """Returns y = 2 Re(C x) + D u, [T, B, H], and the final state, complex64 [B, P].

    Args:
      layer: the layer.
      inputs: [T, B, H].
      state: complex64 [B, P].
      should_reset: bool [T, B].
    """
    b = inputs @ layer.input_matrix
    b = jnp.concatenate([state[None], b])
    a = jnp.concatenate([jnp.ones_like(b[:1]), jnp.broadcast_to(layer.decay, b[1:].shape)])
    c = jnp.concatenate([jnp.zeros((1, b.shape[1])), should_reset])[..., None]
    _, x, _ = jax.lax.associative_scan(combine, (a, b, c))
    return (x[1:] @ layer.output_matrix).real + layer.skip * inputs, x[-1]


@final
@dataclasses.dataclass(frozen=True)
class PaperS5Core(CheckedCore):
    """S5 as the paper's authors wrote it, gates included.

    Attributes:
      state_size: see `ResettableS5Core`.
      model_size: see there.
      num_layers: see there.
    """

    state_size: int = 256
    model_size: int = 256
    num_layers: int = 4

    @property
    def ours(self) -> ResettableS5Core:
        """The core of the same function."""
        return ResettableS5Core(self.state_size, self.model_size, self.num_layers)

    @property
    def output_size(self) -> int:
        """Number of features of an output."""
        return self.model_size

    def init(self, key: PRNGKey, input_size: int) -> Params:
        """Returns the parameters of `ours`."""
        return self.ours.init(key, input_size)

    def initial_state(self, batch_size: int | None = None) -> tuple[ComplexPair, ...]:
        """Returns the state of `ours`."""
        return self.ours.initial_state(batch_size)

    # Not `prepare`: as published, every call discretises.
    def _step(
        self, prepared: Params, inputs: Array, state: tuple[ComplexPair, ...]
    ) -> tuple[Array, tuple[ComplexPair, ...]]:
        outputs, state = self._unroll(prepared, inputs[None], state, None)
        return outputs[0], state

    def _unroll(
        self, prepared: Params, inputs: Array, state: tuple[ComplexPair, ...], should_reset: Array | None
    ) -> tuple[Array, tuple[ComplexPair, ...]]:
        stack: PreparedStack = self.ours.prepare(prepared)
        if should_reset is None:
            should_reset = jnp.zeros(inputs.shape[:2], bool)
        hidden = inputs if stack.projection is None else layers.apply_linear(stack.projection, inputs)
        final_state = []
        for layer, x in zip(stack.layers, state, strict=True):
            y, last = unroll_layer(ComplexLayer.of(layer), hidden, jax.lax.complex(*x), should_reset)
            y = jax.nn.gelu(y)
            gate = jax.nn.sigmoid(layers.apply_linear(layer.rest["gate"], y))
            hidden = hidden + layers.apply_linear(layer.rest["value"], y) * gate
            final_state.append((last.real, last.imag))
        return hidden, tuple(final_state)
