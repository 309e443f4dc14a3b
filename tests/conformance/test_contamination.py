"""What gets behind a reset: nothing with a right core, something with each core whose reset is wrong."""

from __future__ import annotations

import dataclasses
from typing import final

import faults
import jax
import jax.numpy as jnp
import pytest
from cores import CORES

from s5rl.conformance import measure_contamination
from s5rl.cores import CheckedCore, ResettableS5Core

IN_THE_FAST_SUITE = ("s5",)


@pytest.mark.parametrize(
    "name",
    [name if name in IN_THE_FAST_SUITE else pytest.param(name, marks=pytest.mark.slow) for name in CORES],
)
def test_nothing_gets_behind_the_reset_of_a_right_core(name):
    assert measure_contamination(CORES[name]) == (0.0, 0.0)


@pytest.mark.parametrize(
    "core",
    [
        faults.ShiftedFlag(),
        faults.ResetBehindInput(),
        faults.IgnoredFlags(),
        ResettableS5Core(state_size=4, model_size=3, num_layers=1, ignore_resets=True),
    ],
    ids=lambda core: type(core).__name__,
)
def test_a_wrong_reset_lets_through(core):
    contamination = measure_contamination(core)
    assert contamination.outputs > 1e-3
    assert contamination.gradients > 1e-3


@final
@dataclasses.dataclass(frozen=True)
class Threshold(CheckedCore):
    """A right core with outputs -1 and 1, through which no gradient flows."""

    output_size = 4

    def init(self, key, input_size):
        return jax.random.normal(key, (input_size, 4))

    def initial_state(self, batch_size=None):
        return (jnp.zeros((4,) if batch_size is None else (batch_size, 4)),)

    def _step(self, params, inputs, state):
        h = jnp.sign(inputs @ params + 0.5 * state[0])
        return h, (h,)


@final
@dataclasses.dataclass(frozen=True)
class NanToThePast(faults.Little):
    """A reset behind which the values are right, but not the gradient to what was before: 0 times inf."""

    def reset(self, state, flag):
        (h,) = state
        root = jnp.sqrt(jax.lax.stop_gradient(h) - h)  # 0, with an infinite slope
        return (h,) if flag is None else (jnp.where(flag[..., None], 0.0 * root, h),)


def test_gradients_that_are_nowhere_are_none():
    assert measure_contamination(Threshold()) == (0.0, 0.0)


def test_a_gradient_that_is_not_finite_is_the_worst():
    contamination = measure_contamination(NanToThePast())
    assert contamination.outputs == 0.0
    assert contamination.gradients == float("inf")
