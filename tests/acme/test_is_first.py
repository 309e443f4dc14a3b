"""The flag in the observation, held to the flags of the environment itself."""

from __future__ import annotations

import copy

import haiku as hk
import jax
import numpy as np
import pytest
from absl.testing import absltest
from dm_env import specs, test_utils

from s5rl import make_environment
from s5rl.acme.is_first import FlaggedObservation, IsFirstWrapper
from s5rl.acme.networks import RecurrentNetwork
from s5rl.cores import GRUCore
from s5rl.envs import as_dm_env


def make_wrapped(memory_length=2):
    environment = as_dm_env(make_environment("memory_chain", memory_length=memory_length), seed=0)
    return environment, IsFirstWrapper(environment)


class IsFirstWrapperTest(test_utils.EnvironmentTestMixin, absltest.TestCase):
    """dm_env's own tests of an environment."""

    def make_object_under_test(self):
        return make_wrapped()[1]


def test_the_flag_is_up_where_an_episode_begins_and_nowhere_else():
    _, wrapped = make_wrapped()
    timesteps = [wrapped.reset()]
    for _ in range(10):
        timesteps.append(wrapped.step(0))  # which begins anew by itself after the last step
    assert sum(timestep.last() for timestep in timesteps) == 2
    for timestep in timesteps:
        assert timestep.observation.is_first.dtype == np.bool_
        assert timestep.observation.is_first == timestep.first()
        wrapped.observation_spec().is_first.validate(timestep.observation.is_first)


def test_the_rest_is_that_of_the_environment():
    environment, wrapped = make_wrapped()
    spec = wrapped.observation_spec()
    assert isinstance(spec, FlaggedObservation)
    assert spec.observation == environment.observation_spec()
    assert spec.is_first == specs.Array((), np.bool_, name="is_first")
    assert wrapped.action_spec() == environment.action_spec()
    assert wrapped.reward_spec() == environment.reward_spec()
    assert wrapped.discount_spec() == environment.discount_spec()
    other, _ = make_wrapped()
    expected, actual = other.reset(), wrapped.reset()
    np.testing.assert_array_equal(actual.observation.observation, expected.observation)
    expected, actual = other.step(1), wrapped.step(1)
    np.testing.assert_array_equal(actual.observation.observation, expected.observation)
    assert actual.reward == expected.reward
    assert actual.discount == expected.discount
    assert actual.step_type == expected.step_type


def test_what_else_the_environment_has_stays_there():
    wrapped = IsFirstWrapper(make_environment("bsuite/memory_len/0"))
    assert wrapped.bsuite_num_episodes == 10_000
    assert copy.copy(wrapped).bsuite_num_episodes == 10_000
    with pytest.raises(AttributeError):
        wrapped.nothing  # noqa: B018


def test_a_flag_inside_of_another_wrapper_is_refused():
    _, wrapped = make_wrapped()
    nest = {"inner": wrapped.observation_spec(), "reward": wrapped.reward_spec()}
    network = hk.transform(lambda: RecurrentNetwork(nest, GRUCore(4), hk.Linear(1)))
    with pytest.raises(ValueError, match="IsFirstWrapper must be outside of all wrappers"):
        network.init(jax.random.key(0))
