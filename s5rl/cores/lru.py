"""The linear recurrent unit: a diagonal recurrence that is parameterised in discrete time."""

from __future__ import annotations

import dataclasses
import math
from typing import final

import jax
import jax.numpy as jnp

from s5rl.cores.diagonal import DiagonalCore
from s5rl.cores.diagonal_layer import PreparedLayer, init_surroundings, surroundings
from s5rl.types import Array, Params, PRNGKey
from s5rl.validation import check_number


@final
@dataclasses.dataclass(frozen=True)
class LRUCore(DiagonalCore):
    """Stacked linear recurrent units with resets inside the parallel scan.

        lambda = exp(-exp(log_decay) + i exp(log_phase))
        x_t = lambda x_{t-1} + exp(log_gain) B u_t,    y_t = Re(C x_t) + D u_t

    The layers around it are those of `ResettableS5Core`. Inputs of another width than `model_size` are first
    projected linearly.

    Attributes:
      state_size: number N of real states of a layer: N / 2 complex modes, each a pair of floats.
      model_size: number of features between layers, and of the output.
      num_layers: number of layers.
      radius_min: smallest initial magnitude of lambda; the squares of the magnitudes are uniform.
      radius_max: largest one, below 1.
      max_phase: largest initial phase of lambda, in radians; the phases are uniform from 0.
      activation: what follows a layer's recurrence: "full_glu", "half_glu" or "gelu".
      norm: layer norm "pre" (before a layer), "post" (behind the residual sum) or "none".
      implementation: of the recurrence in `unroll`; see `linear_recurrence`.
      chunk_length: number of time steps that `unroll` takes through all layers at a time, to save memory and
        time; None chooses it by the size of the batch on a CPU, and takes all steps at once elsewhere.

    Raises:
      ValueError: a size is not positive, `state_size` is odd, the bounds of the magnitude are in the wrong
        order or outside of [0, 1), a phase is not above 0 and at most 2 pi, or a name is unknown.

    Source: Orvieto et al. 2023, sections 3.2 to 3.4 and lemma 3.2; Lu et al. 2023, section 6, proposes it.
    """

    state_size: int = 256
    model_size: int = 256
    num_layers: int = 4
    radius_min: float = 0.9
    radius_max: float = 0.999
    max_phase: float = 2 * math.pi
    activation: str = "full_glu"
    norm: str = "none"
    implementation: str = "auto"
    chunk_length: int | None = None

    def __post_init__(self) -> None:
        self._check_fields()
        check_number("radius_min", self.radius_min, 0)
        check_number("radius_max", self.radius_max, self.radius_min, above=True)
        if self.radius_max >= 1:
            raise ValueError(f"radius_max must be below 1, got {self.radius_max}.")
        check_number("max_phase", self.max_phase, 0, above=True)
        if self.max_phase > 2 * math.pi:
            raise ValueError(f"max_phase must be at most 2 pi, got {self.max_phase}.")

    @classmethod
    def bsuite(cls) -> LRUCore:
        """Returns the size that Table 3 gives S5; the paper did not run this core."""
        return cls(state_size=256, model_size=256, num_layers=1)

    @classmethod
    def popgym(cls) -> LRUCore:
        """Returns the size that Table 4 gives S5; the paper did not run this core."""
        return cls(state_size=256, model_size=256, num_layers=4)

    @classmethod
    def projected_dm_control(cls) -> LRUCore:
        """Returns the size that Table 5 gives S5; the paper did not run this core."""
        return cls(state_size=256, model_size=256, num_layers=10)

    def _init_layer(self, key: PRNGKey) -> Params:
        keys = jax.random.split(key, 9)
        num_modes, width = self.state_size // 2, self.model_size
        square = jax.random.uniform(
            keys[0], (num_modes,), float, minval=self.radius_min**2, maxval=self.radius_max**2
        )
        # Not 0, whose logarithm is not finite.
        phase = self.max_phase * jax.random.uniform(keys[1], (num_modes,), float, minval=1e-5)
        square = jnp.maximum(square, 1e-12)

        def normal(key: PRNGKey, shape: tuple[int, ...], variance: float) -> Array:
            return math.sqrt(variance) * jax.random.normal(key, shape, float)

        return {
            "log_decay": jnp.log(-0.5 * jnp.log(square)),
            "log_phase": jnp.log(phase),
            "log_gain": 0.5 * jnp.log1p(-square),
            "input_re": normal(keys[2], (width, num_modes), 1 / (2 * width)),
            "input_im": normal(keys[3], (width, num_modes), 1 / (2 * width)),
            "output_re": normal(keys[4], (num_modes, width), 1 / num_modes),
            "output_im": normal(keys[5], (num_modes, width), 1 / num_modes),
            "skip": normal(keys[6], (width,), 1.0),
            **init_surroundings(keys[7:], width, self.activation, self.norm),
        }

    def _prepare_layer(self, params: Params) -> PreparedLayer:
        radius, phase = jnp.exp(-jnp.exp(params["log_decay"])), jnp.exp(params["log_phase"])
        gain = jnp.exp(params["log_gain"])
        return PreparedLayer(
            decay=(radius * jnp.cos(phase), radius * jnp.sin(phase)),
            input_matrix=jnp.concatenate([gain * params["input_re"], gain * params["input_im"]], axis=-1),
            output_matrix=jnp.concatenate([params["output_re"], -params["output_im"]], axis=0),
            skip=params["skip"],
            rest=surroundings(params),
        )
