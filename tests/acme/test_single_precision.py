"""The wrapper that narrows 64 bits, held to Acme's own where that runs, and to dm_env's tests."""

from __future__ import annotations

import importlib.util

import dm_env
import jax
import numpy as np
import pytest
from dm_env import specs
from environments import conformance
from random_lengths import RandomLengths

from s5rl.acme.single_precision import SinglePrecisionWrapper

NUMPY_1 = np.__version__.startswith("1.")

TestWrapped = conformance("TestWrapped", lambda: SinglePrecisionWrapper(RandomLengths()))


def leaves(timestep):
    return jax.tree.leaves(timestep, is_leaf=lambda leaf: leaf is None)


def test_narrows_all_but_what_is_narrow_or_none():
    wrapped, plain = SinglePrecisionWrapper(RandomLengths()), RandomLengths()
    first, expected = wrapped.reset(), plain.reset()
    assert (first.reward, first.discount) == (None, None)
    np.testing.assert_array_equal(first.observation["noise"], np.float32(expected.observation["noise"]))
    assert first.observation["noise"].dtype == np.float32
    assert first.observation["count"].dtype == np.int32
    following = wrapped.step(np.zeros(2, np.float32))
    assert (following.reward.dtype, following.discount.dtype) == (np.float32, np.float32)
    assert wrapped.observation_spec()["noise"] == specs.Array((2,), np.float32)
    assert wrapped.reward_spec().dtype == np.float32


def test_the_rest_of_the_environment_is_still_there():
    environment = RandomLengths()
    environment.bsuite_num_episodes = 3
    assert SinglePrecisionWrapper(environment).bsuite_num_episodes == 3
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = SinglePrecisionWrapper(environment).no_such_name


class OneStep(dm_env.Environment):
    """Shows one value; notes the action; its bounds are no float32."""

    def __init__(self, value=0):
        self.value, self.action = value, None

    def reset(self):
        return dm_env.restart(np.int64(self.value))

    def step(self, action):
        self.action = action
        return dm_env.termination(0.0, np.int64(self.value))

    def observation_spec(self):
        return specs.BoundedArray((), np.int64, 0, 2**40)

    def action_spec(self):
        return specs.BoundedArray((2,), np.float64, -0.1, [0.1, np.inf])


def test_actions_reach_the_environment_in_its_dtype_and_bounds():
    environment = OneStep()
    wrapped = SinglePrecisionWrapper(environment)
    spec = wrapped.action_spec()
    assert (spec.dtype, spec.shape) == (np.float32, (2,))
    for bound in (spec.minimum, spec.maximum):
        wrapped.step(np.broadcast_to(bound, spec.shape))
        environment.action_spec().validate(environment.action)
    assert spec.maximum[0] == np.nextafter(np.float32(0.1), np.float32(0))
    assert np.float64(np.float32(0.1)) > 0.1  # for which the bound has to move


def test_integers_that_need_more_bits_are_refused():
    spec = SinglePrecisionWrapper(OneStep()).observation_spec()
    assert (int(spec.minimum), int(spec.maximum)) == (0, 2**31 - 1)
    assert SinglePrecisionWrapper(OneStep(2**31 - 1)).reset().observation == 2**31 - 1
    with pytest.raises(OverflowError, match=r"must fit into 32 bits, got 2147483648"):
        SinglePrecisionWrapper(OneStep(2**31)).reset()


def acmes_wrapper():
    if importlib.util.find_spec("acme") is None:
        pytest.skip("dm-acme is not installed")
    from acme.wrappers import SinglePrecisionWrapper as AcmesWrapper

    return AcmesWrapper(RandomLengths())


@pytest.mark.skipif(not NUMPY_1, reason="Acme's wrapper fails with numpy 2")
def test_equals_acmes_wrapper():
    ours, acmes = SinglePrecisionWrapper(RandomLengths()), acmes_wrapper()
    assert ours.observation_spec() == acmes.observation_spec()
    assert ours.reward_spec() == acmes.reward_spec()
    assert ours.action_spec() == acmes.action_spec()
    pairs = [(ours.reset(), acmes.reset())]
    pairs += [
        (ours.step(action), acmes.step(action)) for action in np.linspace(-1, 1, 40)[:, None] * np.ones(2)
    ]
    for left, right in pairs:
        for a, b in zip(leaves(left), leaves(right), strict=True):
            assert getattr(a, "dtype", None) == getattr(b, "dtype", None)
            np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(NUMPY_1, reason="Acme's wrapper works with numpy 1")
def test_acmes_wrapper_fails():
    with pytest.raises(ValueError, match="copy"):
        acmes_wrapper().reset()
