"""The environments that every law is tested on, and actions for them."""

from __future__ import annotations

import dataclasses
import unittest
from collections.abc import Callable
from typing import Any, NamedTuple, final

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs, test_utils

from s5rl.envs import DistractedCue, JaxEnvironment, MemoryChain
from s5rl.envs.popgym import CartPole, MineSweeper, Noisy
from s5rl.types import Action, Array, PRNGKey, restart


class WalkState(NamedTuple):
    key: PRNGKey
    position: Array
    time: Array


def _noise(key: PRNGKey) -> Array:
    # No arithmetic that one program rounds otherwise than another.
    return jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)


@final
@dataclasses.dataclass(frozen=True)
class RandomWalk(JaxEnvironment):
    """Nested specs, noise in every step, terminations and truncations, and weak types all over."""

    max_steps: int = 6

    def reset(self, key: PRNGKey) -> tuple[WalkState, dm_env.TimeStep]:
        key, start = jax.random.split(key)
        state = WalkState(key, _noise(start), jnp.asarray(0))
        return state, restart(self._observe(state))

    def step(self, state: WalkState, action: Action) -> tuple[WalkState, dm_env.TimeStep]:
        key, noise, end = jax.random.split(state.key, 3)
        push = jnp.where(action["stay"] == 1, 0.0, action["push"])
        position = state.position + push + _noise(noise)
        state = WalkState(key, position, state.time + 1)
        is_terminal = jax.random.bernoulli(end, 0.2)
        is_last = is_terminal | (state.time >= self.max_steps)
        timestep = dm_env.TimeStep(
            step_type=jnp.where(is_last, 2, 1),
            reward=jnp.where(is_last, 1.0, 0.5),
            discount=jnp.where(is_terminal, 0.0, 1.0),
            observation=self._observe(state),
        )
        return state, timestep

    def observation_spec(self) -> dict[str, specs.Array]:
        return {
            "position": specs.Array((2,), np.float32, "position"),
            "time": specs.BoundedArray((), np.int32, 0, self.max_steps, "time"),
        }

    def action_spec(self) -> dict[str, specs.Array]:
        return {
            "push": specs.BoundedArray((2,), np.float32, -1.0, 1.0, "push"),
            "stay": specs.DiscreteArray(2, name="stay"),
        }

    def _observe(self, state: WalkState) -> dict[str, Array]:
        return {"position": state.position, "time": state.time}


ENVIRONMENTS = [
    MemoryChain(1),
    MemoryChain(3),
    MemoryChain(4, num_bits=3),
    DistractedCue(3, noise=0.1),
    RandomWalk(),
    MineSweeper(3, 2),
    Noisy(CartPole(3), 0.1),
]


def conformance(name: str, make: Callable[[], dm_env.Environment], num_actions: int = 250) -> type:
    """Returns dm_env's own tests of an environment, with random actions."""

    class Conformance(test_utils.EnvironmentTestMixin, unittest.TestCase):
        def make_object_under_test(self):
            return make()

        def make_action_sequence(self):
            spec = self.environment.action_spec()
            return (random_actions(spec, seed) for seed in range(num_actions))

        def test_an_end_is_reached(self):
            self.environment.reset()
            spec = self.environment.action_spec()
            assert any(self.environment.step(random_actions(spec, seed)).last() for seed in range(2_000))

    return type(name, (Conformance,), {})


def random_actions(action_spec: Any, seed: int, shape: tuple[int, ...] = ()) -> Any:
    """Returns a nest of actions [*shape, ...], uniform within the bounds."""
    rng = np.random.default_rng(seed)

    def draw(spec: specs.BoundedArray) -> np.ndarray:
        size = (*shape, *spec.shape)
        if np.issubdtype(spec.dtype, np.integer):
            return rng.integers(spec.minimum, spec.maximum, size, spec.dtype, endpoint=True)
        return rng.uniform(spec.minimum, spec.maximum, size).astype(spec.dtype)

    return jax.tree.map(draw, action_spec)


def assert_equal(left: Any, right: Any) -> None:
    """Asserts that two nests agree in structure, shapes, dtypes and every bit."""
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(_data(a), _data(b), strict=True), left, right)


def _data(leaf: Any) -> np.ndarray:
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)
