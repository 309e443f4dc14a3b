"""Action heads: from the numbers that a network gives to actions that an environment takes."""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import TYPE_CHECKING, Any, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from s5rl.networks.bounds import inward_bounds
from s5rl.types import Action, Array, PRNGKey, Specs

if TYPE_CHECKING:
    # At run time it is imported where it is used: it loads TensorFlow where that is installed. Before that,
    # `s5rl.acme.compat.install` must have been called.
    import distrax

MAX_LOGITS = 100_000
"""More discrete values than this are not served: each of them is an output of the network."""
MIN_SCALE = 1e-3
"""Least scale of a Gaussian before it is squashed."""
MAX_MEAN = 2.0
"""Largest mean of a Gaussian before it is squashed: its mode reaches 0.96 of the range of an action."""
MAX_ENUMERATED = 32
"""No more actions than this are tried one by one."""


class ActionSample(NamedTuple):
    """An action, and what its probability is computed from."""

    action: Action
    """[...] + the shape of the action spec, in its dtype and range."""
    raw: Array
    """[..., D] the action before it is brought into the range of the spec."""


class ActionHead(abc.ABC):
    """A family of distributions over the actions of a spec."""

    @property
    @abc.abstractmethod
    def num_parameters(self) -> int:
        """Number P of network outputs that describe one distribution."""

    @abc.abstractmethod
    def sample(self, parameters: Array, key: PRNGKey) -> ActionSample:
        """Draws actions for parameters [..., P]."""

    @abc.abstractmethod
    def mode(self, parameters: Array) -> ActionSample:
        """Returns the actions that evaluation takes for parameters [..., P]."""

    @abc.abstractmethod
    def log_prob(self, parameters: Array, raw: Array) -> Array:
        """Returns log-probabilities [...] of raw actions [..., D] under parameters [..., P]."""

    @abc.abstractmethod
    def entropy(self, parameters: Array) -> Array:
        """Returns entropies [...] for parameters [..., P]."""

    @property
    @abc.abstractmethod
    def num_features(self) -> int:
        """Number E of numbers that describe an action to a network."""

    @abc.abstractmethod
    def features(self, raw: Array) -> Array:
        """Returns numbers [..., E] in [-1, 1] that describe raw actions [..., D] to a network."""

    @property
    @abc.abstractmethod
    def all_raw(self) -> np.ndarray | None:
        """All raw actions [N, D]; None where they are too many to be tried one by one."""


@final
@dataclasses.dataclass(frozen=True)
class DiscreteHead(ActionHead):
    """Independent categorical distributions, one for each element of an integer action.

    Attributes:
      shape: shape of one action; () for a plain discrete action.
      dtype: name of the action's dtype.
      minimum: smallest value of each element.
      num_values: number of values of each element.
    """

    shape: tuple[int, ...]
    dtype: str
    minimum: tuple[int, ...]
    num_values: tuple[int, ...]

    @property
    def num_parameters(self) -> int:
        """Number of logits."""
        return sum(self.num_values)

    def sample(self, parameters: Array, key: PRNGKey) -> ActionSample:
        """Draws each element of the action."""
        keys = jax.random.split(key, len(self.num_values))
        elements = self._distributions(parameters)
        return self._action([d.sample(seed=k) for d, k in zip(elements, keys, strict=True)])

    def mode(self, parameters: Array) -> ActionSample:
        """Returns the most probable value of each element."""
        return self._action([d.mode() for d in self._distributions(parameters)])

    def log_prob(self, parameters: Array, raw: Array) -> Array:
        """Returns the sum over elements of their log-probabilities."""
        elements = self._distributions(parameters)
        return sum(d.log_prob(raw[..., index]) for index, d in enumerate(elements))

    def entropy(self, parameters: Array) -> Array:
        """Returns the sum over elements of their entropies."""
        return sum(d.entropy() for d in self._distributions(parameters))

    @property
    def num_features(self) -> int:
        """Number of values of all elements."""
        return sum(self.num_values)

    def features(self, raw: Array) -> Array:
        """Returns one-hot vectors, one element behind the other."""
        one_hot = [jax.nn.one_hot(raw[..., i], n, dtype=float) for i, n in enumerate(self.num_values)]
        return jnp.concatenate(one_hot, axis=-1)

    @property
    def all_raw(self) -> np.ndarray | None:
        """All combinations of values, where they are no more than MAX_ENUMERATED."""
        if math.prod(self.num_values) > MAX_ENUMERATED:
            return None
        return np.indices(self.num_values).reshape(len(self.num_values), -1).T

    def _distributions(self, parameters: Array) -> list[distrax.Categorical]:
        import distrax

        logits = jnp.split(parameters, np.cumsum(self.num_values)[:-1], axis=-1)
        return [distrax.Categorical(logits=element) for element in logits]

    def _action(self, values: list[Array]) -> ActionSample:
        raw = jnp.stack(values, axis=-1).astype(jnp.int32)
        dtype = jax.dtypes.canonicalize_dtype(self.dtype)
        action = (raw + jnp.asarray(self.minimum, jnp.int32)).astype(dtype)
        return ActionSample(action.reshape(raw.shape[:-1] + self.shape), raw)


@final
@dataclasses.dataclass(frozen=True)
class SquashedGaussianHead(ActionHead):
    """A diagonal Gaussian with state-dependent scale, squashed by tanh into the bounds of the action.

        action = minimum + (tanh(raw) + 1) / 2 * (maximum - minimum),    raw ~ N(mean, scale)

    The mean lies between -MAX_MEAN and MAX_MEAN, the scale between MIN_SCALE and 1; with a scale of 1 and a
    mean of 0 actions spread over all of their range. Means without bounds drift to where noise changes no
    action any more, and exploration ends.

    Attributes:
      shape: shape of one action.
      dtype: name of the action's dtype.
      minimum: smallest value of each element.
      maximum: largest value of each element.

    Source: Haarnoja et al. 2018 (SAC), appendix C.
    """

    shape: tuple[int, ...]
    dtype: str
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]

    @property
    def num_parameters(self) -> int:
        """A mean and a scale for each element."""
        return 2 * len(self.minimum)

    def sample(self, parameters: Array, key: PRNGKey) -> ActionSample:
        """Draws before the tanh and squashes."""
        return self._action(self._gaussian(parameters).sample(seed=key))

    def mode(self, parameters: Array) -> ActionSample:
        """Returns the squashed mean."""
        return self._action(self._gaussian(parameters).mean())

    def log_prob(self, parameters: Array, raw: Array) -> Array:
        """Returns the log-density of the action, computed from `raw`: no inverse tanh is needed."""
        return self._gaussian(parameters).log_prob(raw) - self._squash().forward_log_det_jacobian(raw)

    def entropy(self, parameters: Array) -> Array:
        """Returns the entropy of the Gaussian before the tanh; behind it there is no closed form."""
        return self._gaussian(parameters).entropy()

    @property
    def num_features(self) -> int:
        """One for each element."""
        return len(self.minimum)

    def features(self, raw: Array) -> Array:
        """Returns the squashed elements, before they are brought into the bounds."""
        return jnp.tanh(raw)

    @property
    def all_raw(self) -> None:
        """None: they are a continuum."""

    def _gaussian(self, parameters: Array) -> distrax.MultivariateNormalDiag:
        import distrax

        mean, scale = jnp.split(parameters, 2, axis=-1)
        # The floor keeps log-densities finite when training drives the scale to nothing. A scale beyond 1
        # would only push the tanh to both of its ends: noise in which the mean no longer matters.
        return distrax.MultivariateNormalDiag(
            MAX_MEAN * jnp.tanh(mean / MAX_MEAN),
            MIN_SCALE + (1.0 - MIN_SCALE) * jax.nn.sigmoid(scale + 1.0),
        )

    def _squash(self) -> distrax.Bijector:
        import distrax

        low, high = jnp.asarray(self.minimum, float), jnp.asarray(self.maximum, float)
        affine = distrax.ScalarAffine(shift=(low + high) / 2, scale=(high - low) / 2)
        return distrax.Block(distrax.Chain([affine, distrax.Tanh()]), ndims=1)

    def _action(self, raw: Array) -> ActionSample:
        bounds = inward_bounds(self.minimum, self.maximum, jax.dtypes.canonicalize_dtype(float))
        action = jnp.clip(self._squash().forward(raw), *bounds)
        dtype = jax.dtypes.canonicalize_dtype(self.dtype)
        return ActionSample(action.astype(dtype).reshape(raw.shape[:-1] + self.shape), raw)


def make_head(action_spec: Specs) -> ActionHead:
    """Returns the head for an action spec: discrete, multi-discrete or bounded continuous.

    Args:
      action_spec: a `dm_env.specs.BoundedArray`; integer for discrete actions, one bound for each element
        (a `DiscreteArray` is one), floating with finite bounds for continuous ones.

    Raises:
      ValueError: no head serves the spec.
    """
    if isinstance(action_spec, specs.BoundedArray) and action_spec.dtype != np.bool_:
        minimum, maximum = (
            np.broadcast_to(bound, action_spec.shape).reshape(-1).tolist()
            for bound in (action_spec.minimum, action_spec.maximum)
        )
        common: dict[str, Any] = {"shape": action_spec.shape, "dtype": action_spec.dtype.name}
        if minimum and np.issubdtype(action_spec.dtype, np.integer):
            num_values = tuple(high - low + 1 for low, high in zip(minimum, maximum, strict=True))
            fits = min(minimum) >= -(2**31) and max(maximum) < 2**31 and sum(num_values) <= MAX_LOGITS
            if min(num_values) >= 1 and fits:
                return DiscreteHead(minimum=tuple(minimum), num_values=num_values, **common)
        elif minimum and all(-math.inf < a < b < math.inf for a, b in zip(minimum, maximum, strict=True)):
            return SquashedGaussianHead(minimum=tuple(minimum), maximum=tuple(maximum), **common)
    raise ValueError(
        "action_spec must be one dm_env.specs.BoundedArray, either integer (discrete, multi-discrete; in the "
        f"range of int32, at most {MAX_LOGITS} values in all) or floating with finite bounds, minimum below "
        f"maximum; no action head serves {action_spec!r}."
    )
