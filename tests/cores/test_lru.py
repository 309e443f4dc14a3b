"""The LRU core against its equations in complex numbers, and its start."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest
import scipy.stats
from numerics import X64, assert_close, gelu, linear, random_params, sequence, sigmoid

from s5rl.compat import enable_x64
from s5rl.cores import LRUCore

KEY = jax.random.key(0)


def eigenvalues(layer):
    return np.exp(-np.exp(layer["log_decay"]) + 1j * np.exp(layer["log_phase"]))


@pytest.mark.parametrize("implementation", ["sequential", "associative"])
def test_equals_a_loop_in_complex_numbers(implementation):
    core = LRUCore(8, 6, 2, implementation=implementation, chunk_length=4)
    inputs, flags = sequence(9, 3, 6)
    rng = np.random.default_rng(7)
    states = rng.standard_normal((2, 3, 4)) + 1j * rng.standard_normal((2, 3, 4))
    with enable_x64():
        params = random_params(core, 6)
        actual = jax.jit(core.unroll)(params, inputs, tuple((x.real, x.imag) for x in states), flags)
    hidden = inputs
    for index, x in enumerate(states):
        layer = {
            name: np.asarray(p, np.float64)
            for name, p in params[f"layer_{index}"].items()
            if name not in ("gate", "value")
        }
        B = np.exp(layer["log_gain"])[:, None] * (layer["input_re"] + 1j * layer["input_im"]).T
        C = (layer["output_re"] + 1j * layer["output_im"]).T
        outputs = np.zeros_like(hidden)
        for t, b in np.ndindex(flags.shape):
            x[b] = eigenvalues(layer) * (0 if flags[t, b] else x[b]) + B @ hidden[t, b]
            y = gelu((C @ x[b]).real + layer["skip"] * hidden[t, b])
            gates = params[f"layer_{index}"]
            outputs[t, b] = hidden[t, b] + linear(gates["value"], y) * sigmoid(linear(gates["gate"], y))
        hidden = outputs
    assert_close(actual, (hidden, tuple((x.real, x.imag) for x in states)), X64)


def test_eigenvalues_start_uniform_on_their_part_of_a_ring():
    core = LRUCore(2048, 2, 1, radius_min=0.5, radius_max=0.9, max_phase=math.pi / 2)
    with enable_x64():
        layer = {name: np.asarray(p) for name, p in core.init(KEY, 2)["layer_0"].items() if "log" in name}
    values = eigenvalues(layer)
    square, phase = np.abs(values) ** 2, np.angle(values)
    assert scipy.stats.kstest(square, "uniform", args=(0.25, 0.81 - 0.25)).pvalue > 0.01
    assert scipy.stats.kstest(phase, "uniform", args=(0, math.pi / 2)).pvalue > 0.01
    np.testing.assert_allclose(np.exp(layer["log_gain"]), np.sqrt(1 - square))


def test_states_start_as_large_as_their_inputs():
    """White noise of variance 1 makes states of variance 1, whatever the radius: what the gain is for."""
    core = LRUCore(64, 256, 1, radius_min=0.9, radius_max=0.99)
    inputs = np.random.default_rng(0).standard_normal((1500, 4, 256)).astype(np.float32)
    _, ((re, im),) = jax.jit(core.unroll)(core.init(KEY, 256), inputs, core.initial_state(4))
    assert np.mean(np.square(re) + np.square(im)) == pytest.approx(1, rel=0.25)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"state_size": 5}, "state_size must be even, .* got 5"),
        ({"radius_min": 0.9, "radius_max": 0.8}, "radius_max"),
        ({"radius_max": 1.0}, "radius_max must be below 1, got 1.0"),
        ({"max_phase": 7.0}, "max_phase must be at most 2 pi, got 7.0"),
        ({"chunk_length": 0}, "chunk_length"),
        ({"activation": "relu"}, "activation must be one of"),
    ],
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        LRUCore(**fields)


def test_phases_start_below_a_small_bound():
    layer = LRUCore(2, 2, 1, max_phase=1e-6, activation="gelu").init(KEY, 2)["layer_0"]
    assert (np.exp(layer["log_phase"]) <= 1e-6 * (1 + 1e-5)).all()


def test_named_sizes():
    for core, num_layers in (
        (LRUCore.bsuite(), 1),
        (LRUCore.popgym(), 4),
        (LRUCore.projected_dm_control(), 10),
    ):
        assert (core.state_size, core.output_size, core.num_layers) == (256, 256, num_layers)
