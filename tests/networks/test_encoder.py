"""The encoder: what gymnasium makes of the same observation, for every kind of spec and nest."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from s5rl.envs import make_environment
from s5rl.networks import flatten_observation

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import gymnasium
    from popgym import envs, wrappers

spaces = gymnasium.spaces


def ours(space):
    """Our spec of a gymnasium space, made here by hand: the encoder reads specs only."""
    if isinstance(space, spaces.Tuple):
        return tuple(ours(part) for part in space.spaces)
    if isinstance(space, spaces.Dict):
        return {name: ours(part) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Discrete) and space.start == 0:
        return specs.DiscreteArray(int(space.n))
    if isinstance(space, spaces.Discrete):
        return specs.BoundedArray((), np.int32, space.start, space.start + space.n - 1)
    if isinstance(space, spaces.MultiDiscrete):
        return specs.BoundedArray(space.shape, np.int32, space.start, space.start + space.nvec - 1)
    return specs.BoundedArray(space.shape, space.dtype, space.low, space.high)


SPACES = [
    spaces.Discrete(5),
    spaces.Discrete(3, start=-1),
    spaces.Discrete(200),
    spaces.MultiDiscrete([4, 4, 4]),
    spaces.MultiDiscrete([2, 5, 1, 3]),
    spaces.MultiDiscrete([64, 2], start=[-5, 3]),
    spaces.MultiDiscrete([[2, 3], [4, 5]]),
    spaces.Box(-1.0, 3.0, (2, 2), np.float32),
    spaces.Box(-np.inf, np.inf, (), np.float32),
    spaces.Box(0, 255, (3, 2), np.uint8),
    spaces.Box(0, 3, (2,), np.uint8),
    spaces.Box(0, 64, (2,), np.int32),
    spaces.Tuple((spaces.Discrete(2), spaces.MultiDiscrete([3, 2]), spaces.Box(0.0, 1.0, (2,), np.float32))),
    spaces.Dict(
        {"b": spaces.Discrete(2), "a": spaces.Tuple((spaces.MultiDiscrete([2, 2]), spaces.Discrete(3)))}
    ),
]


def assert_encodes_as_gymnasium(space, observations):
    expected = np.stack([spaces.utils.flatten(space, observation) for observation in observations])
    batch = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *map(plain, observations))
    encoded = flatten_observation(ours(space), batch)
    assert jnp.issubdtype(encoded.dtype, jnp.floating)
    np.testing.assert_array_equal(encoded, expected)


def plain(observation):
    """Without gymnasium's OrderedDict, which jax takes for another nest than a dict."""
    return jax.tree.map(np.asarray, dict(observation) if isinstance(observation, dict) else observation)


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_an_observation_is_encoded_as_gymnasium_does(space):
    space.seed(0)
    assert_encodes_as_gymnasium(space, [space.sample() for _ in range(20)])


@pytest.mark.parametrize("environment", envs.ALL, ids=lambda environment: environment.__name__)
def test_every_spec_of_popgym_is_encoded_as_by_its_own_wrappers(environment):
    nested = wrappers.Antialias(wrappers.PreviousAction(environment()))
    flat = wrappers.Flatten(wrappers.Antialias(wrappers.PreviousAction(environment())), flatten_action=False)
    twin = make_environment(f"popgym/{environment.__name__}")
    spec = (twin.observation_spec(), twin.action_spec(), specs.DiscreteArray(2))
    leaves = [jnp.asarray(leaf)[None] for leaf in jax.tree.leaves(nested.reset(seed=3)[0])]
    encoded = flatten_observation(spec, jax.tree.unflatten(jax.tree.structure(spec), leaves))
    np.testing.assert_array_equal(encoded[0], flat.reset(seed=3)[0])


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        (specs.BoundedArray((2,), np.int32, [0, -63], [63, 0]), 128),
        (specs.BoundedArray((), np.int64, 2**40, 2**40 + 2), 3),
        (specs.BoundedArray((), np.int8, 100, 127), 28),
        (specs.BoundedArray((3,), np.uint32, 2**32 - 2, 2**32 - 1), 6),
        (specs.DiscreteArray(3, dtype=np.uint8), 3),
        (specs.DiscreteArray(1000), 1000),
    ],
    ids=repr,
)
def test_categories_are_counted_from_the_minimum(spec, size):
    leaf = jnp.asarray(np.broadcast_to(spec.minimum, (2, *spec.shape)))
    encoded = flatten_observation(spec, leaf).reshape(2, int(np.prod(spec.shape)), -1)
    assert encoded[0].size == size
    np.testing.assert_array_equal(encoded[..., 0], 1.0)
    np.testing.assert_array_equal(encoded[..., 1:].sum(), 0.0)


@pytest.mark.parametrize(
    "spec",
    [
        specs.BoundedArray((2,), np.int32, [0, 0], [64, 1]),
        specs.BoundedArray((), np.int64, -(2**63), 2**63 - 1),
        specs.BoundedArray((2, 2), np.uint8, 0, 1),
        specs.BoundedArray((3,), np.bool_, False, True),
        specs.BoundedArray((0,), np.int32, 0, 1),
        specs.Array((2, 2), np.int32),
    ],
    ids=repr,
)
def test_everything_else_is_flat_numbers(spec):
    leaf = jnp.ones((2, *spec.shape), jax.dtypes.canonicalize_dtype(spec.dtype))
    np.testing.assert_array_equal(flatten_observation(spec, leaf), np.ones((2, int(np.prod(spec.shape)))))


def test_many_elements_cost_no_more_operations_than_one():
    def operations(num_elements):
        spec = specs.BoundedArray((num_elements,), np.int32, 0, 2)
        observation = jnp.zeros((4, num_elements), jnp.int32)
        return len(jax.make_jaxpr(lambda leaf: flatten_observation(spec, leaf))(observation).eqns)

    assert operations(104) == operations(1)
