"""Action heads: actions that specs accept, and probabilities that are right."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from dm_env import specs

from s5rl.networks import DiscreteHead, SquashedGaussianHead, make_head

DISCRETE_SPECS = [
    specs.DiscreteArray(4),
    specs.DiscreteArray(1),
    specs.BoundedArray((), np.int32, 3, 5),
    specs.BoundedArray((), np.uint8, 0, 2),
    specs.BoundedArray((3,), np.int32, [0, -1, 5], [1, 3, 5]),
    specs.BoundedArray((2, 2), np.int32, 0, 2),
]
CONTINUOUS_SPECS = [
    specs.BoundedArray((), np.float32, -2.0, 2.0),
    specs.BoundedArray((2,), np.float32, [-1.0, 0.5], [1.0, 0.75]),
    specs.BoundedArray((1,), np.float64, -0.1, 3.7),
    specs.BoundedArray((1,), np.float64, 1000.0, 1000.0001),  # the nearest float32 is beyond
]


@pytest.mark.parametrize("spec", DISCRETE_SPECS + CONTINUOUS_SPECS, ids=repr)
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_actions_conform_to_the_spec(spec, scale):
    head = make_head(spec)
    parameters = scale * jax.random.normal(jax.random.key(0), (200, head.num_parameters))
    keys = jax.random.split(jax.random.key(1), 200)
    for sample in (jax.vmap(head.sample)(parameters, keys), head.mode(parameters)):
        assert sample.action.shape == (200, *spec.shape)
        assert sample.action.dtype == jax.dtypes.canonicalize_dtype(spec.dtype)
        for action in np.asarray(sample.action, spec.dtype):
            spec.validate(action)
        assert np.isfinite(head.log_prob(parameters, sample.raw)).all() or scale > 1


@pytest.mark.parametrize("spec", DISCRETE_SPECS, ids=repr)
def test_discrete_probabilities_sum_to_one_and_match_frequencies(spec):
    head = make_head(spec)
    assert isinstance(head, DiscreteHead)
    parameters = jax.random.normal(jax.random.key(0), (head.num_parameters,))
    raws = jnp.asarray(
        np.stack(np.meshgrid(*map(range, head.num_values), indexing="ij"), -1).reshape(
            -1, len(head.num_values)
        )
    )
    probabilities = np.exp(head.log_prob(parameters, raws))
    np.testing.assert_allclose(probabilities.sum(), 1.0, rtol=1e-5)
    np.testing.assert_allclose(
        -(probabilities * np.log(probabilities)).sum(), head.entropy(parameters), rtol=1e-4, atol=1e-6
    )
    keys = jax.random.split(jax.random.key(1), 5000)
    drawn = np.asarray(jax.vmap(head.sample, in_axes=(None, 0))(parameters, keys).raw)
    frequencies = [(drawn == raw).all(axis=-1).mean() for raw in np.asarray(raws)]
    np.testing.assert_allclose(frequencies, probabilities, atol=0.03)
    assert (np.asarray(head.mode(parameters).raw) == np.asarray(raws)[probabilities.argmax()]).all()


def test_squashed_gaussian_density_is_the_derivative_of_its_distribution():
    head = make_head(specs.BoundedArray((), np.float64, -2.0, 6.0))
    assert isinstance(head, SquashedGaussianHead)
    parameters = jnp.asarray([0.3, -0.5])
    mean, scale = 2 * np.tanh(0.3 / 2), 1e-3 + 0.999 * float(jax.nn.sigmoid(-0.5 + 1.0))
    raw = np.linspace(-2.0, 2.0, 9)
    step = 1e-4

    def cumulative(action):
        return scipy.stats.norm.cdf(np.arctanh((action - 2.0) / 4.0), mean, scale)

    action = 2.0 + 4.0 * np.tanh(raw)
    expected = (cumulative(action + step) - cumulative(action - step)) / (2 * step)
    density = np.exp(head.log_prob(parameters, jnp.asarray(raw, float)[:, None]))
    np.testing.assert_allclose(density, expected, rtol=1e-3, atol=1e-5)


def test_the_scale_of_a_squashed_gaussian_is_bounded():
    head = make_head(specs.BoundedArray((1,), np.float32, -1.0, 1.0))
    for parameter, scale in [(-1e6, 1e-3), (1e6, 1.0)]:
        entropy = head.entropy(jnp.asarray([0.0, parameter]))
        np.testing.assert_allclose(entropy, scipy.stats.norm.entropy(0.0, scale), rtol=1e-4)


def test_the_mean_of_a_squashed_gaussian_is_bounded():
    head = make_head(specs.BoundedArray((1,), np.float32, -4.0, 4.0))
    for parameter, mean in [(-1e6, -2.0), (1e6, 2.0), (0.1, 0.1)]:
        mode = head.mode(jnp.asarray([parameter, 0.0]))
        np.testing.assert_allclose(mode.raw, mean, rtol=1e-3)
        np.testing.assert_allclose(mode.action, 4 * np.tanh(mean), rtol=1e-3)


def test_log_prob_has_finite_gradients_at_saturation():
    head = make_head(specs.BoundedArray((), np.float32, -1.0, 1.0))
    gradient = jax.grad(lambda p: head.log_prob(p, jnp.asarray([30.0])))(jnp.asarray([0.0, 1.0]))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    "spec",
    [
        specs.Array((2,), np.float32),
        specs.BoundedArray((2,), np.float32, -np.inf, np.inf),
        specs.BoundedArray((2,), np.float32, 1.0, 1.0),
        specs.BoundedArray((0,), np.float32, -1.0, 1.0),
        specs.BoundedArray((), np.bool_, False, True),
        specs.BoundedArray((), np.int32, -(2**31), 2**31 - 1),
        specs.BoundedArray((), np.int64, 2**40, 2**40 + 3),
        specs.BoundedArray((), np.uint32, 2**31, 2**31 + 3),
        specs.StringArray(()),
        {"left": specs.DiscreteArray(2)},
    ],
    ids=repr,
)
def test_a_spec_that_no_head_serves_is_refused(spec):
    with pytest.raises(ValueError, match="action_spec must be one"):
        make_head(spec)


@pytest.mark.parametrize("spec", DISCRETE_SPECS + CONTINUOUS_SPECS, ids=repr)
def test_features_tell_actions_apart_and_stay_within_one(spec):
    head = make_head(spec)
    parameters = jax.random.normal(jax.random.key(0), (200, head.num_parameters))
    raw = jax.vmap(head.sample)(parameters, jax.random.split(jax.random.key(1), 200)).raw
    features = np.asarray(head.features(raw))
    assert features.shape == (200, head.num_features)
    assert (np.abs(features) <= 1).all()
    if isinstance(head, DiscreteHead):
        assert (features.sum(axis=-1) == len(head.num_values)).all()
    assert len(np.unique(features, axis=0)) == len(np.unique(np.asarray(raw), axis=0))


@pytest.mark.parametrize("spec", DISCRETE_SPECS, ids=repr)
def test_all_raw_actions_are_listed_where_they_are_few(spec):
    head = make_head(spec)
    if np.prod(head.num_values) > 32:
        assert head.all_raw is None
        return
    listed = {tuple(raw) for raw in head.all_raw.tolist()}
    assert listed == set(itertools.product(*map(range, head.num_values)))
    assert len(listed) == len(head.all_raw)


@pytest.mark.parametrize("spec", CONTINUOUS_SPECS, ids=repr)
def test_a_continuum_of_actions_is_not_listed(spec):
    assert make_head(spec).all_raw is None
