"""The resettable S5 core: a stack of diagonal state space layers that trains in parallel over resets."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp

from s5rl.cores import checks, layers
from s5rl.cores.base import CheckedCore
from s5rl.cores.linear_recurrence import IMPLEMENTATIONS, linear_recurrence
from s5rl.cores.recurrence_solvers import ComplexPair, Element, recurrence_step, reset_operator
from s5rl.cores.s5_layer import (
    ACTIVATIONS,
    DISCRETIZATIONS,
    NORMS,
    PreparedLayer,
    init_layer,
    layer_inputs,
    layer_outputs,
    prepare_layer,
)
from s5rl.types import Array, Params, PRNGKey
from s5rl.validation import check_choice, check_number, check_positive


class PreparedS5(NamedTuple):
    """Discretised layers, and the projection of inputs where their width is not the model's."""

    projection: dict[str, Array] | None
    layers: tuple[PreparedLayer, ...]


@final
@dataclasses.dataclass(frozen=True)
class ResettableS5Core(CheckedCore):
    """Stacked S5 layers with resets inside the parallel scan.

    Inputs of another width than `model_size` are first projected linearly.

    Attributes:
      state_size: number N of real states of a layer: N / 2 complex modes, each a pair of floats.
      model_size: number of features between layers, and of the output.
      num_layers: number of layers.
      discretization: "zoh" or "bilinear".
      dt_min: smallest initial time step; initial steps are log-uniform.
      dt_max: largest initial time step.
      blocks: number of HiPPO-N blocks that the initial state matrix of a layer is made of.
      activation: what follows a layer's recurrence: "full_glu", "half_glu" or "gelu".
      norm: layer norm "pre" (before a layer), "post" (behind the residual sum) or "none".
      implementation: of the recurrence in `unroll`: "auto", "sequential" or "associative".
      ignore_resets: the paper's ablation, S5 without reset: flags have no effect, neither in `step` nor in
        `unroll`. The memory then reaches over episode boundaries.

    Raises:
      ValueError: a size is not positive, `state_size` no multiple of `2 * blocks`, the bounds of the time
        step in the wrong order, or a name unknown.

    Source: Lu et al. 2023, section 3.1 and appendix B; Smith et al. 2022.
    """

    state_size: int = 256
    model_size: int = 256
    num_layers: int = 4
    discretization: str = "zoh"
    dt_min: float = 1e-3
    dt_max: float = 1e-1
    blocks: int = 1
    activation: str = "full_glu"
    norm: str = "none"
    implementation: str = "auto"
    ignore_resets: bool = False  # type: ignore[misc]  # a field here, a constant elsewhere

    def __post_init__(self) -> None:
        check_positive(
            state_size=self.state_size,
            model_size=self.model_size,
            num_layers=self.num_layers,
            blocks=self.blocks,
        )
        if self.state_size % (2 * self.blocks):
            raise ValueError(
                "state_size must be even, and a multiple of 2 * blocks, since modes come in conjugate "
                f"pairs; got state_size={self.state_size} with blocks={self.blocks}."
            )
        check_number("dt_min", self.dt_min, 0, above=True)
        check_number("dt_max", self.dt_max, self.dt_min)
        check_choice("discretization", self.discretization, DISCRETIZATIONS)
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("norm", self.norm, NORMS)
        check_choice("implementation", self.implementation, IMPLEMENTATIONS)

    @classmethod
    def bsuite(cls) -> ResettableS5Core:
        """Returns the size of the paper's bsuite experiment: Table 3."""
        return cls(state_size=256, model_size=256, num_layers=1)

    @classmethod
    def popgym(cls) -> ResettableS5Core:
        """Returns the size of the paper's POPGym experiment: Table 4."""
        return cls(state_size=256, model_size=256, num_layers=4)

    @classmethod
    def projected_dm_control(cls) -> ResettableS5Core:
        """Returns the size of the paper's meta-RL experiment: Table 5."""
        return cls(state_size=256, model_size=256, num_layers=10)

    @property
    def output_size(self) -> int:
        """Number of features of an output: `model_size`."""
        return self.model_size

    def init(self, key: PRNGKey, input_size: int) -> Params:
        """Returns fresh parameters for inputs of `input_size` features."""
        check_positive(input_size=input_size)
        key_projection, *layer_keys = jax.random.split(key, self.num_layers + 1)
        params: dict[str, Any] = {
            f"layer_{index}": init_layer(
                layer_key,
                state_size=self.state_size,
                model_size=self.model_size,
                blocks=self.blocks,
                dt_min=self.dt_min,
                dt_max=self.dt_max,
                activation=self.activation,
                norm=self.norm,
            )
            for index, layer_key in enumerate(layer_keys)
        }
        if input_size != self.model_size:
            params["projection"] = layers.linear(key_projection, input_size, self.model_size)
        return params

    def initial_state(self, batch_size: int | None = None) -> tuple[ComplexPair, ...]:
        """Returns zeros: for each layer a pair (real, imaginary) of [B, N / 2] or [N / 2]."""
        shape = (self.state_size // 2,) if batch_size is None else (batch_size, self.state_size // 2)
        return tuple((jnp.zeros(shape, float), jnp.zeros(shape, float)) for _ in range(self.num_layers))

    def prepare(self, params: Params) -> PreparedS5:
        """Returns the discretised layers, which acting needs once per parameter update."""
        if isinstance(params, PreparedS5):
            return params
        return PreparedS5(
            projection=params.get("projection"),
            layers=tuple(
                prepare_layer(params[f"layer_{index}"], self.discretization)
                for index in range(self.num_layers)
            ),
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
        layer = prepared.layers[0]
        b = layer_inputs(layer, self._project(prepared, inputs), self.norm)
        a = (
            jnp.broadcast_to(layer.decay[0], b[0].shape),
            jnp.broadcast_to(layer.decay[1], b[0].shape),
        )
        return a, b, should_reset

    def _step(
        self, prepared: PreparedS5, inputs: Array, state: tuple[ComplexPair, ...]
    ) -> tuple[Array, tuple[ComplexPair, ...]]:
        hidden = self._project(prepared, inputs)
        next_state = []
        for layer, x in zip(prepared.layers, state, strict=True):
            x = recurrence_step(layer.decay, layer_inputs(layer, hidden, self.norm), x)
            hidden = layer_outputs(layer, hidden, x, self.activation, self.norm)
            next_state.append(x)
        return hidden, tuple(next_state)

    def _unroll(
        self,
        prepared: PreparedS5,
        inputs: Array,
        state: tuple[ComplexPair, ...],
        should_reset: Array | None,
    ) -> tuple[Array, tuple[ComplexPair, ...]]:
        hidden = self._project(prepared, inputs)
        final_state = []
        for layer, x in zip(prepared.layers, state, strict=True):
            b = layer_inputs(layer, hidden, self.norm)
            xs = linear_recurrence(layer.decay, b, x, should_reset, self.implementation)
            hidden = layer_outputs(layer, hidden, xs, self.activation, self.norm)
            final_state.append((xs[0][-1], xs[1][-1]))
        return hidden, tuple(final_state)

    def _project(self, prepared: PreparedS5, inputs: Array) -> Array:
        if prepared.projection is None:
            checks.check_input_size(inputs, self.model_size)
            return inputs
        checks.check_input_size(inputs, prepared.projection["weights"].shape[0])
        return layers.apply_linear(prepared.projection, inputs)
