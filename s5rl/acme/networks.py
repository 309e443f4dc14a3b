"""Networks for the agents of Acme, with any core of s5rl as their memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

import haiku as hk
import jax
import jax.numpy as jnp
from dm_env import specs

from s5rl.acme import compat
from s5rl.acme.is_first import FlaggedObservation
from s5rl.cores import RecurrentCore
from s5rl.cores.checks import describe, leaf_paths
from s5rl.networks import MLPTorso, Torso
from s5rl.types import Array, CoreState, Observation, Specs

if TYPE_CHECKING:
    from acme.agents.jax.impala import IMPALANetworks
    from acme.agents.jax.r2d2 import R2D2Networks
    from acme.specs import EnvironmentSpec

TORSO_SIZES = (64,)
"""Width of each layer of the torso where none is given."""


@final
class RecurrentNetwork(hk.RNNCore):
    """A torso, a core and a head: the interface that Acme's agents ask of a recurrent network.

    A `FlaggedObservation` resets the memory before each observation that begins an episode. Inputs may have a
    batch axis or not: it is told from the rank of the observation.
    """

    def __init__(
        self,
        observation_spec: Specs,
        core: RecurrentCore,
        head: Callable[[Array], Any],
        torso: Torso | None = None,
    ) -> None:
        """Builds the network; call it inside a transform.

        Args:
          observation_spec: spec of one observation, possibly nested; a `FlaggedObservation` of specs where
            the environment is in an `IsFirstWrapper`.
          core: the memory.
          head: from features [..., F] to what the agent needs.
          torso: from observations [N, ...] to features [N, F]; None for an MLP over the flat observation.
        """
        super().__init__(name="recurrent_network")
        is_flagged = isinstance(observation_spec, FlaggedObservation)
        seen_spec = observation_spec.observation if is_flagged else observation_spec
        parts = jax.tree.leaves(seen_spec, is_leaf=lambda part: isinstance(part, FlaggedObservation))
        if any(isinstance(part, FlaggedObservation) for part in parts):
            raise ValueError(
                "IsFirstWrapper must be outside of all wrappers that put the observation into a nest: inside "
                "of one its flag would be a feature, and the memory would not be reset."
            )
        self._observation_spec = observation_spec
        self._torso = torso or MLPTorso(seen_spec, TORSO_SIZES, "relu")
        self._core = core.to_haiku()
        self._head = head

    def __call__(self, inputs: Observation, prev_state: CoreState) -> tuple[Any, CoreState]:
        """Consumes one observation.

        Args:
          inputs: leaves [B, ...] or [...].
          prev_state: the state before the observation.

        Returns:
          What the head gives, [B, ...] or [...], and the state after the observation.
        """
        return self._run(self._core, inputs, prev_state)

    def unroll(self, inputs: Observation, state: CoreState) -> tuple[Any, CoreState]:
        """Consumes a sequence, in parallel where the core can.

        Args:
          inputs: leaves [T, B, ...] or [T, ...].
          state: the state before the first observation.

        Returns:
          What the head gives, [T, B, ...] or [T, ...], and the state after the last observation.
        """
        return self._run(self._core.unroll, inputs, state)

    def initial_state(self, batch_size: int | None, **_: Any) -> CoreState:
        """Returns the state of an empty memory, leaves [B, ...], or [...] for None; it has no parameters."""
        return self._core.initial_state(batch_size)

    def _run(
        self, core: Callable[[Any, CoreState], tuple[Array, CoreState]], inputs: Observation, state: CoreState
    ) -> tuple[Any, CoreState]:
        observation, leading = self._checked(inputs)
        is_flagged = isinstance(observation, FlaggedObservation)
        seen = observation.observation if is_flagged else observation
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(leading) :]), seen)
        features = self._torso(flat)
        features = features.reshape(*leading, features.shape[-1])
        outputs, state = core((features, observation.is_first) if is_flagged else features, state)
        return self._head(outputs), state

    def _checked(self, observation: Observation) -> tuple[Observation, tuple[int, ...]]:
        """Returns an observation in the nest of its spec, and its leading axes."""
        wanted, structure = jax.tree.flatten(self._observation_spec)
        # By the leaves: replay servers give NamedTuples back as classes of their own.
        leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(observation)]
        axes = {_leading_axes(leaf, spec) for leaf, spec in zip(leaves, wanted, strict=False)}
        is_same_nest = leaf_paths(observation) == leaf_paths(self._observation_spec)
        leading = axes.pop() if len(axes) == 1 else None
        if not is_same_nest or leading is None:
            raise ValueError(
                "observation does not fit the spec that the network was made for: expected "
                f"{describe(self._observation_spec)} behind the axes of time and batch, got "
                f"{describe(observation)}. Make the spec from the environment in all of its wrappers, "
                "IsFirstWrapper included."
            )
        return jax.tree.unflatten(structure, leaves), leading


def _leading_axes(leaf: Array, spec: specs.Array) -> tuple[int, ...] | None:
    """Returns the axes before those of a spec; None where it is not behind them."""
    rank = leaf.ndim - len(spec.shape)
    return leaf.shape[:rank] if rank >= 0 and leaf.shape[rank:] == spec.shape else None


def policy_value_network(
    environment_spec: EnvironmentSpec, core: RecurrentCore, torso: Torso | None = None
) -> RecurrentNetwork:
    """Returns a network of logits [..., A] and values [...], as IMPALA asks for; call it inside a transform.

    In Acme's current source: `make_unrollable_network(spec, lambda: policy_value_network(spec, core))`.

    Args:
      environment_spec: of `acme.specs.make_environment_spec`.
      core: the memory.
      torso: from observations [N, ...] to features [N, F]; None for an MLP over the flat observation.

    Raises:
      ImportError: dm-acme is not installed, or `s5rl.acme.compat.install` was not called.
      TypeError: the actions are not discrete.
    """
    num_actions = _num_actions(environment_spec)
    from acme.jax.networks import PolicyValueHead

    return RecurrentNetwork(environment_spec.observations, core, PolicyValueHead(num_actions), torso)


def duelling_network(
    environment_spec: EnvironmentSpec, core: RecurrentCore, torso: Torso | None = None
) -> RecurrentNetwork:
    """Returns a duelling network of action values [..., A], as R2D2 asks for; call it inside a transform.

    In Acme's current source: `make_unrollable_network(spec, lambda: duelling_network(spec, core))`.

    Args:
      environment_spec: of `acme.specs.make_environment_spec`.
      core: the memory.
      torso: from observations [N, ...] to features [N, F]; None for an MLP over the flat observation.

    Raises:
      ImportError: dm-acme is not installed, or `s5rl.acme.compat.install` was not called.
      TypeError: the actions are not discrete.
    """
    num_actions = _num_actions(environment_spec)
    from acme.jax.networks import DuellingMLP

    head = DuellingMLP(num_actions, hidden_sizes=(core.output_size,))
    return RecurrentNetwork(environment_spec.observations, core, head, torso)


def make_impala_networks(
    environment_spec: EnvironmentSpec, core: RecurrentCore, *, torso: Torso | None = None
) -> IMPALANetworks:
    """Returns the networks of dm-acme 0.4.0's IMPALA, with this memory.

    Args:
      environment_spec: of `acme.specs.make_environment_spec`.
      core: the memory.
      torso: from observations [N, ...] to features [N, F]; None for an MLP over the flat observation.

    Raises:
      ImportError: dm-acme or its Reverb is not installed, or `s5rl.acme.compat.install` was not called.
      TypeError: the actions are not discrete.
    """
    _num_actions(environment_spec)
    compat.require_reverb()
    from acme.agents.jax import impala

    return impala.make_haiku_networks(
        environment_spec,
        forward_fn=lambda *inputs: policy_value_network(environment_spec, core, torso)(*inputs),
        initial_state_fn=core.initial_state,
        unroll_fn=lambda *inputs: policy_value_network(environment_spec, core, torso).unroll(*inputs),
    )


def make_r2d2_networks(
    environment_spec: EnvironmentSpec, core: RecurrentCore, *, batch_size: int, torso: Torso | None = None
) -> R2D2Networks:
    """Returns the networks of dm-acme 0.4.0's R2D2, with this memory.

    That agent stores the state AFTER each step, and unrolls from it over the same step again. So the states
    of these networks are pairs, before and after the step: acting goes on from the second, an unroll starts
    from the first.

    Args:
      environment_spec: of `acme.specs.make_environment_spec`.
      core: the memory.
      batch_size: number of sequences in a batch, as in `R2D2Config`.
      torso: from observations [N, ...] to features [N, F]; None for an MLP over the flat observation.

    Raises:
      ImportError: dm-acme or its Reverb is not installed, or `s5rl.acme.compat.install` was not called.
      TypeError: the actions are not discrete.
    """
    _num_actions(environment_spec)
    compat.require_reverb()
    from acme.agents.jax import r2d2

    def forward(observation: Observation, states: tuple[CoreState, CoreState]) -> Any:
        _, before = states
        values, after = duelling_network(environment_spec, core, torso)(observation, before)
        return values, (before, after)

    def unroll(observations: Observation, states: tuple[CoreState, CoreState]) -> Any:
        before, _ = states
        values, after = duelling_network(environment_spec, core, torso).unroll(observations, before)
        return values, (after, after)

    def initial_states(batch_size: int | None = None) -> tuple[CoreState, CoreState]:
        return core.initial_state(batch_size), core.initial_state(batch_size)

    return r2d2.make_networks(environment_spec, forward, initial_states, unroll, batch_size)


def _num_actions(environment_spec: EnvironmentSpec) -> int:
    """Returns the number of actions, where dm-acme can be imported."""
    compat.require()
    if not isinstance(environment_spec.actions, specs.DiscreteArray):
        raise TypeError(
            "environment_spec.actions must be a DiscreteArray: IMPALA and R2D2 choose one of some actions; "
            f"got {environment_spec.actions}."
        )
    return environment_spec.actions.num_values
