"""From an observation to the features that a core takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import final

import haiku as hk
import jax
import jax.numpy as jnp

from s5rl.networks.encoder import flatten_observation
from s5rl.types import Array, Observation, Specs

Torso = Callable[[Observation], Array]
"""From observations [N, ...] to features [N, F]; built of Haiku modules and called inside a transform."""

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "tanh": jnp.tanh,
    "gelu": jax.nn.gelu,
}


@final
@dataclasses.dataclass(frozen=True, eq=False)
class MLPTorso:
    """A multilayer perceptron over the flat observation.

    Attributes:
      observation_spec: spec of one observation, possibly nested.
      hidden_sizes: width of each layer; the last one is F.
      activation: name of what follows each layer, one of ACTIVATIONS.
    """

    observation_spec: Specs
    hidden_sizes: tuple[int, ...]
    activation: str

    def __call__(self, observation: Observation) -> Array:
        """Returns features [N, F] of observations [N, ...]; inside a transform only."""
        features = flatten_observation(self.observation_spec, observation)
        activation = ACTIVATIONS[self.activation]
        return hk.nets.MLP(self.hidden_sizes, activation=activation, activate_final=True)(features)
