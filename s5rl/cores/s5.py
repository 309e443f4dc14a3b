"""The resettable S5 core: a stack of diagonal state space layers that trains in parallel over resets."""

from __future__ import annotations

import dataclasses
from typing import final

import jax.numpy as jnp

from s5rl.cores.diagonal import DiagonalCore
from s5rl.cores.diagonal_layer import PreparedLayer, layer_inputs
from s5rl.cores.recurrence_solvers import ComplexPair, multiply
from s5rl.cores.s5_layer import (
    DISCRETIZATIONS,
    discretise,
    init_layer,
    prepare_layer,
    prepare_timed_layer,
)
from s5rl.types import Array, Params, PRNGKey
from s5rl.validation import check_bool, check_choice, check_number, check_positive


@final
@dataclasses.dataclass(frozen=True)
class ResettableS5Core(DiagonalCore):
    """Stacked S5 layers with resets inside the parallel scan.

        x_t = Lambda_bar x'_{t-1} + B_bar u_t,    y_t = 2 Re(C x_t) + D u_t

    x'_{t-1} is 0 where `should_reset[t]` is set, and x_{t-1} elsewhere. Lambda_bar, diagonal and complex, and
    B_bar discretise a model in continuous time with learned time steps. Inputs of another width than
    `model_size` are first projected linearly.

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
      implementation: of the recurrence in `unroll`; see `linear_recurrence`.
      chunk_length: number of time steps that `unroll` takes through all layers at a time, to save memory and
        time; None chooses it by the size of the batch on a CPU, and takes all steps at once elsewhere.
      timed_inputs: whether the last feature of every input is no feature but the time since the input before
        it, in multiples of the core's own time steps: irregular sampling. Its magnitude counts. An input is
        held for that time, the first one and the first one after a reset too.
      ignore_resets: the paper's ablation, S5 without reset: flags have no effect, neither in `step` nor in
        `unroll`. The memory then reaches over episode boundaries.

    Raises:
      ValueError: a size is not positive, `state_size` no multiple of `2 * blocks`, the bounds of the time
        step in the wrong order, a name unknown, or a switch not a bool.

    Source: Lu et al. 2023, section 3.1 and appendix B, and section 6 for timed inputs; Smith et al. 2022.
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
    chunk_length: int | None = None
    timed_inputs: bool = False
    ignore_resets: bool = False  # type: ignore[misc]  # a field here, a constant elsewhere

    def __post_init__(self) -> None:
        check_positive(state_size=self.state_size, blocks=self.blocks)
        if self.state_size % (2 * self.blocks):
            raise ValueError(
                "state_size must be even, and a multiple of 2 * blocks, since modes come in conjugate "
                f"pairs; got state_size={self.state_size} with blocks={self.blocks}."
            )
        self._check_fields()
        check_number("dt_min", self.dt_min, 0, above=True)
        check_number("dt_max", self.dt_max, self.dt_min)
        check_choice("discretization", self.discretization, DISCRETIZATIONS)
        check_bool("timed_inputs", self.timed_inputs)
        check_bool("ignore_resets", self.ignore_resets)

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

    def init(self, key: PRNGKey, input_size: int) -> Params:
        """Returns fresh parameters for inputs of `input_size` features, the time among them if timed.

        Raises:
          ValueError: the size is not positive, or leaves no feature beside the time.
        """
        check_positive(input_size=input_size)
        if not self.timed_inputs:
            return super().init(key, input_size)
        if input_size < 2:
            raise ValueError(f"input_size must be 2 or more where inputs are timed, got {input_size}.")
        return super().init(key, input_size - 1)

    def _init_layer(self, key: PRNGKey) -> Params:
        return init_layer(
            key,
            state_size=self.state_size,
            model_size=self.model_size,
            blocks=self.blocks,
            dt_min=self.dt_min,
            dt_max=self.dt_max,
            activation=self.activation,
            norm=self.norm,
        )

    def _prepare_layer(self, params: Params) -> PreparedLayer:
        prepare = prepare_timed_layer if self.timed_inputs else prepare_layer
        return prepare(params, self.discretization)

    def _split(self, inputs: Array) -> tuple[Array, Array | None]:
        return (inputs[..., :-1], jnp.abs(inputs[..., -1])) if self.timed_inputs else (inputs, None)

    def _transition(
        self, layer: PreparedLayer, hidden: Array, times: Array | None
    ) -> tuple[ComplexPair, ComplexPair]:
        if (times is None) != (layer.continuous is None):
            raise ValueError(f"params must be prepared by a core with timed_inputs={self.timed_inputs}.")
        b = layer_inputs(layer, hidden, self.norm)
        if times is None or layer.continuous is None:
            return layer.decay, b
        rate, dt = layer.continuous
        decay, gain = discretise(rate, dt * times[..., None], self.discretization)
        return decay, multiply(gain, b)
