"""Stacks of diagonal state space layers: what `ResettableS5Core` and `LRUCore` share."""

from __future__ import annotations

import abc
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from s5rl.cores import checks, layers
from s5rl.cores.base import CheckedCore
from s5rl.cores.diagonal_layer import (
    ACTIVATIONS,
    NORMS,
    PreparedLayer,
    layer_inputs,
    layer_outputs,
)
from s5rl.cores.linear_recurrence import IMPLEMENTATIONS, linear_recurrence
from s5rl.cores.recurrence_solvers import ComplexPair, Element, recurrence_step, reset_operator
from s5rl.cores.time_chunks import default_chunk_length, unroll_in_chunks
from s5rl.types import Array, Params, PRNGKey
from s5rl.validation import check_choice, check_positive


class PreparedStack(NamedTuple):
    """Layers ready to run, and the projection of inputs where their width is not the model's."""

    projection: dict[str, Array] | None
    layers: tuple[PreparedLayer, ...]


class DiagonalCore(CheckedCore):
    """A stack of layers, each a diagonal linear recurrence with a nonlinearity behind it.

    Subclasses are dataclasses with the fields below, and say how a layer starts and how it is prepared.
    """

    state_size: int
    model_size: int
    num_layers: int
    activation: str
    norm: str
    implementation: str
    chunk_length: int | None

    @abc.abstractmethod
    def _init_layer(self, key: PRNGKey) -> Params:
        """Returns fresh parameters of one layer."""

    @abc.abstractmethod
    def _prepare_layer(self, params: Params) -> PreparedLayer:
        """Returns a layer ready to run."""

    def _split(self, inputs: Array) -> tuple[Array, Array | None]:
        """Returns the features of inputs [..., F], and the time steps [...] that come with them, if any."""
        return inputs, None

    def _transition(
        self, layer: PreparedLayer, hidden: Array, times: Array | None
    ) -> tuple[ComplexPair, ComplexPair]:
        """Returns the decay, [P] or [..., P], and the input [..., P] of a layer's recurrence."""
        return layer.decay, layer_inputs(layer, hidden, self.norm)

    def _check_fields(self) -> None:
        """Raises ValueError for a field that no core of this kind can have."""
        check_positive(state_size=self.state_size, model_size=self.model_size, num_layers=self.num_layers)
        if self.state_size % 2:
            raise ValueError(f"state_size must be even, since a mode has two states, got {self.state_size}.")
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("norm", self.norm, NORMS)
        check_choice("implementation", self.implementation, IMPLEMENTATIONS)
        if self.chunk_length is not None:
            check_positive(chunk_length=self.chunk_length)

    @property
    def output_size(self) -> int:
        """Number of features of an output: `model_size`."""
        return self.model_size

    def init(self, key: PRNGKey, input_size: int) -> Params:
        """Returns fresh parameters for inputs of `input_size` features."""
        return layers.stack(
            key,
            self._init_layer,
            num_layers=self.num_layers,
            input_size=input_size,
            model_size=self.model_size,
        )

    def initial_state(self, batch_size: int | None = None) -> tuple[ComplexPair, ...]:
        """Returns zeros: for each layer a pair (real, imaginary) of [B, N / 2] or [N / 2]."""
        shape = (self.state_size // 2,) if batch_size is None else (batch_size, self.state_size // 2)
        return tuple((jnp.zeros(shape, float), jnp.zeros(shape, float)) for _ in range(self.num_layers))

    def prepare(self, params: Params) -> PreparedStack:
        """Returns the discrete layers, which acting needs once per parameter update."""
        if isinstance(params, PreparedStack):
            return params
        return PreparedStack(
            projection=params.get("projection"),
            layers=tuple(self._prepare_layer(params[f"layer_{index}"]) for index in range(self.num_layers)),
        )

    def operator(self, earlier: Element, later: Element) -> Element:
        """Returns earlier (+) later, the associative operator of the parallel scan."""
        return reset_operator(earlier, later)

    def elements(self, params: Params, inputs: Array, should_reset: Array) -> Element:
        """Returns what the parallel scan of the first layer combines: the paper's equation 9.

        Args:
          params: parameters, or what `prepare` made of them.
          inputs: [T, B, F].
          should_reset: bool [T, B].

        Returns:
          (decay, inputs, flags): two pairs of [T, B, N / 2] and [T, B].
        """
        prepared = self.prepare(params)
        hidden, times = self._project(prepared, inputs)
        a, b = self._transition(prepared.layers[0], hidden, times)
        return (jnp.broadcast_to(a[0], b[0].shape), jnp.broadcast_to(a[1], b[0].shape)), b, should_reset

    def _step(
        self, prepared: PreparedStack, inputs: Array, state: tuple[ComplexPair, ...]
    ) -> tuple[Array, tuple[ComplexPair, ...]]:
        hidden, times = self._project(prepared, inputs)
        next_state = []
        for layer, x in zip(prepared.layers, state, strict=True):
            x = recurrence_step(*self._transition(layer, hidden, times), x)
            hidden = layer_outputs(layer, hidden, x, self.activation, self.norm)
            next_state.append(x)
        return hidden, tuple(next_state)

    def _unroll(
        self,
        prepared: PreparedStack,
        inputs: Array,
        state: tuple[ComplexPair, ...],
        should_reset: Array | None,
    ) -> tuple[Array, tuple[ComplexPair, ...]]:
        if should_reset is None:
            should_reset = jnp.zeros(inputs.shape[:-1], jnp.bool_)

        chunk_length = self.chunk_length or default_chunk_length(inputs.shape[1])

        def in_chunks(
            prepared: PreparedStack, inputs: Array, state: tuple[ComplexPair, ...], should_reset: Array
        ) -> tuple[Array, tuple[ComplexPair, ...]]:
            unroll = functools.partial(self._unroll_whole, prepared)
            return unroll_in_chunks(unroll, inputs, state, should_reset, chunk_length)

        if self.chunk_length is not None or inputs.shape[0] < 2 * chunk_length:
            return in_chunks(prepared, inputs, state, should_reset)
        # Elsewhere than on a CPU the chunks would be steps in sequence that a parallel scan saves.
        results: tuple[Array, tuple[ComplexPair, ...]] = jax.lax.platform_dependent(
            prepared, inputs, state, should_reset, cpu=in_chunks, default=self._unroll_whole
        )
        return results

    def _unroll_whole(
        self,
        prepared: PreparedStack,
        inputs: Array,
        state: tuple[ComplexPair, ...],
        should_reset: Array,
    ) -> tuple[Array, tuple[ComplexPair, ...]]:
        hidden, times = self._project(prepared, inputs)
        final_state = []
        for layer, x in zip(prepared.layers, state, strict=True):
            decay, b = self._transition(layer, hidden, times)
            xs = linear_recurrence(decay, b, x, should_reset, self.implementation)
            hidden = layer_outputs(layer, hidden, xs, self.activation, self.norm)
            final_state.append((xs[0][-1], xs[1][-1]))
        return hidden, tuple(final_state)

    def _project(self, prepared: PreparedStack, inputs: Array) -> tuple[Array, Array | None]:
        features, times = self._split(inputs)
        projection = prepared.projection
        num_features = self.model_size if projection is None else projection["weights"].shape[0]
        checks.check_input_size(inputs, num_features + inputs.shape[-1] - features.shape[-1])
        return features if projection is None else layers.apply_linear(projection, features), times
