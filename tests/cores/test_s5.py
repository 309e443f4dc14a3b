"""The S5 core against its equations: loops in complex numbers, matrix exponentials, starts, extremes."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from numerics import FP32, X64, assert_close, gelu, layer_norm, linear, random_params, sequence, sigmoid

from s5rl.compat import enable_x64
from s5rl.cores import ResettableS5Core
from s5rl.cores.hippo import diagonalise
from s5rl.cores.linear_recurrence import IMPLEMENTATIONS

KEY = jax.random.key(0)


def matrices(layer, discretization):
    """Returns Lambda_bar [P], B_bar [P, H] and C [H, P] of a layer, complex128."""
    p = {name: np.asarray(layer[name], np.float64) for name in layer if name not in ("gate", "value", "norm")}
    rate = -np.exp(p["log_decay"]) + 1j * p["frequency"]
    dt = np.exp(p["log_dt"])
    B = (p["input_re"] + 1j * p["input_im"]).T
    C = (p["output_re"] + 1j * p["output_im"]).T
    if discretization == "zoh":
        decay = np.exp(rate * dt)
        return decay, ((decay - 1) / rate)[:, None] * B, C
    decay = (1 + rate * dt / 2) / (1 - rate * dt / 2)
    return decay, (dt / (1 - rate * dt / 2))[:, None] * B, C


def simulate(core, params, inputs, states, flags):
    """Returns the outputs [T, B, H] and the final states, one complex [B, P] a layer, step by step."""
    hidden = linear(params["projection"], inputs) if "projection" in params else inputs
    final_states = []
    for index, state in enumerate(states):
        layer = params[f"layer_{index}"]
        decay, B, C = matrices(layer, core.discretization)
        u = layer_norm(layer["norm"], hidden) if core.norm == "pre" else hidden
        x, outputs = state.copy(), np.zeros_like(hidden)
        for t, b in np.ndindex(flags.shape):
            if flags[t, b]:
                x[b] = 0
            x[b] = decay * x[b] + B @ u[t, b]
            y = gelu(2 * (C @ x[b]).real + np.asarray(layer["skip"]) * u[t, b])
            if core.activation == "full_glu":
                y = linear(layer["value"], y) * sigmoid(linear(layer["gate"], y))
            elif core.activation == "half_glu":
                y = y * sigmoid(linear(layer["gate"], y))
            outputs[t, b] = hidden[t, b] + y
        hidden = layer_norm(layer["norm"], outputs) if core.norm == "post" else outputs
        final_states.append(x)
    return hidden, final_states


def as_pairs(states):
    return tuple((state.real, state.imag) for state in states)


def warm_states(core, batch_size):
    rng = np.random.default_rng(7)
    shape = (core.num_layers, batch_size, core.state_size // 2)
    return list(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))


@pytest.mark.parametrize(
    ("discretization", "activation", "norm"),
    [
        ("zoh", "full_glu", "none"),
        ("zoh", "full_glu", "post"),
        ("zoh", "half_glu", "pre"),
        ("zoh", "gelu", "none"),
        ("zoh", "gelu", "post"),
        ("bilinear", "full_glu", "pre"),
        ("bilinear", "half_glu", "none"),
        ("bilinear", "half_glu", "post"),
        ("bilinear", "gelu", "pre"),
    ],
)
def test_equals_a_loop_in_complex_numbers(discretization, activation, norm):
    core = ResettableS5Core(8, 6, 2, discretization, activation=activation, norm=norm)
    inputs, flags = sequence(9, 3, 5)
    states = warm_states(core, 3)
    with enable_x64():
        params = random_params(core, 5)
        actual = jax.jit(core.unroll)(params, inputs, as_pairs(states), flags)
    outputs, final_states = simulate(core, params, inputs, states, flags)
    assert_close(actual, (outputs, as_pairs(final_states)), X64)


@pytest.mark.parametrize("chunk_length", [None, 4, 13])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_every_implementation_equals_the_loop(implementation, chunk_length):
    core = ResettableS5Core(8, 6, 3, blocks=2, implementation=implementation, chunk_length=chunk_length)
    inputs, flags = sequence(13, 2, 6)
    states = warm_states(core, 2)
    with enable_x64():
        params = random_params(core, 6)
        assert "projection" not in params
        actual = jax.jit(core.unroll)(params, inputs, as_pairs(states), flags)
    outputs, final_states = simulate(core, params, inputs, states, flags)
    assert_close(actual, (outputs, as_pairs(final_states)), X64)


def test_a_step_equals_the_loop():
    core = ResettableS5Core(8, 6, 2, norm="pre")
    inputs, _ = sequence(1, 4, 5)
    flags = np.array([[True, False, False, True]])
    states = warm_states(core, 4)
    with enable_x64():
        params = random_params(core, 5)
        actual = jax.jit(core.step)(params, inputs[0], as_pairs(states), flags[0])
    outputs, final_states = simulate(core, params, inputs, states, flags)
    assert_close(actual, (outputs[0], as_pairs(final_states)), X64)


def hippo_n(size):
    """HiPPO-LegS and the term of rank 1 that makes it normal."""
    n = np.arange(size)
    root = np.sqrt(2 * n + 1)
    legs = -np.tril(np.outer(root, root), -1) - np.diag(n + 1)
    return legs + np.outer(np.sqrt(n + 0.5), np.sqrt(n + 0.5))


def discretise_matrix(A, B, dt, discretization):
    """Returns A_bar and B_bar of a real system by the formulas for matrices."""
    size, num_inputs = B.shape
    if discretization == "zoh":
        augmented = np.zeros((size + num_inputs, size + num_inputs))
        augmented[:size] = np.concatenate([A, B], axis=1)
        exponential = scipy.linalg.expm(augmented * dt)
        return exponential[:size, :size], exponential[:size, size:]
    identity = np.eye(size)
    backward = np.linalg.inv(identity - dt / 2 * A)
    return backward @ (identity + dt / 2 * A), dt * backward @ B


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("discretization", ["zoh", "bilinear"])
def test_starts_as_the_real_system_of_hippo_n(discretization, blocks):
    """Half the modes of the diagonal form are the whole of the N x N system, x = 2 Re(V z)."""
    size, features, dt = 8, 3, 0.07
    core = ResettableS5Core(size, features, 1, discretization, activation="gelu", blocks=blocks)
    inputs, flags = sequence(12, 1, features)
    with enable_x64():
        params = core.init(KEY, features)
        layer = params["layer_0"]
        layer["log_dt"] = jnp.full_like(layer["log_dt"], np.log(dt))
        outputs, ((z_re, z_im),) = jax.jit(core.unroll)(params, inputs, core.initial_state(1), flags)
    outputs, z = np.asarray(outputs), np.asarray(z_re) + 1j * np.asarray(z_im)
    layer = {name: np.asarray(value) for name, value in layer.items()}

    A = np.kron(np.eye(blocks), hippo_n(size // blocks))
    eigenvalues, vectors = np.linalg.eig(hippo_n(size // blocks))
    upper = np.flatnonzero(eigenvalues.imag > 0)
    upper = upper[np.argsort(eigenvalues.imag[upper])]
    V = np.kron(np.eye(blocks), vectors[:, upper])
    B = 2 * (V @ (layer["input_re"] + 1j * layer["input_im"]).T).real
    C = 2 * ((layer["output_re"] + 1j * layer["output_im"]).T @ V.conj().T).real
    A_bar, B_bar = discretise_matrix(A, B, dt, discretization)

    x, expected = np.zeros(size), []
    for u, flag in zip(inputs[:, 0], flags[:, 0], strict=True):
        x = A_bar @ (np.zeros(size) if flag else x) + B_bar @ u
        expected.append(u + gelu(C @ x + layer["skip"] * u))
    assert_close(outputs[:, 0], np.stack(expected), X64)
    assert_close(2 * (V @ z[0]).real, x, X64)


@pytest.mark.parametrize(("state_size", "blocks"), [(2, 1), (16, 1), (16, 4)])
def test_start_has_the_eigenvalues_of_hippo_n(state_size, blocks):
    with enable_x64():
        layer = ResettableS5Core(state_size, 2, 1, blocks=blocks).init(KEY, 2)["layer_0"]
    half = -np.exp(layer["log_decay"]) + 1j * np.asarray(layer["frequency"])
    assert half.shape == (state_size // 2,)
    assert (half.imag > 0).all()
    both = np.concatenate([half, half.conj()])
    A = np.kron(np.eye(blocks), hippo_n(state_size // blocks))
    assert_close(np.sort_complex(both.round(9)), np.sort_complex(np.linalg.eigvals(A).round(9)), 1e-8)


def test_matrices_start_truncated_normal_in_the_real_basis():
    """The phases of the modes are free, hence the basis is the core's own; wrong ones leave the range."""
    core = ResettableS5Core(64, 32, 1, activation="gelu")
    layer = jax.tree.map(np.asarray, core.init(KEY, 32)["layer_0"])
    _, V = diagonalise(64)
    B = 2 * (V @ (layer["input_re"] + 1j * layer["input_im"]).T).real
    C = 2 * ((layer["output_re"] + 1j * layer["output_im"]).T @ V.conj().T).real
    for matrix, fan_in in [(B, 32), (C, 64)]:
        assert np.var(matrix) == pytest.approx(1 / fan_in, rel=0.1)
        assert np.max(np.abs(matrix)) <= 2.28 / np.sqrt(fan_in)


def test_time_steps_start_log_uniform():
    core = ResettableS5Core(1024, 2, 1, blocks=64, dt_min=1e-3, dt_max=1e-1)
    log_dt = np.asarray(core.init(KEY, 2)["layer_0"]["log_dt"])
    low, high = np.log(1e-3), np.log(1e-1)
    assert log_dt.shape == (512,)
    assert (log_dt >= low - 1e-6).all()
    assert (log_dt <= high + 1e-6).all()
    assert scipy.stats.kstest(log_dt, "uniform", args=(low, high - low)).pvalue > 0.01


def test_equal_bounds_fix_the_time_step():
    layer = ResettableS5Core(8, 2, 1, dt_min=0.05, dt_max=0.05).init(KEY, 2)["layer_0"]
    np.testing.assert_allclose(np.exp(layer["log_dt"]), 0.05, rtol=1e-6)


EXTREMES = [
    ("log_decay", -50.0),
    ("log_decay", 50.0),
    ("log_dt", -30.0),
    ("log_dt", 50.0),
    ("frequency", 0.0),
    ("frequency", 1e6),
]


@pytest.mark.parametrize("discretization", ["zoh", "bilinear"])
def test_is_stable_at_extreme_parameters(discretization):
    core = ResettableS5Core(4, 2, 1, discretization, activation="gelu")

    def loss(params):
        outputs, state = core.unroll(params, jnp.ones((5, 2)), core.initial_state())
        return jnp.sum(jnp.square(outputs)), (outputs, state)

    @jax.jit
    @jax.vmap
    def run(params):
        return core.prepare(params), jax.value_and_grad(loss, has_aux=True)(params)

    layer = random_params(core, 2)["layer_0"]
    extreme = [{"layer_0": layer | {name: np.full(2, value, np.float32)}} for name, value in EXTREMES]
    prepared, results = run(jax.tree.map(lambda *leaves: np.stack(leaves), *extreme))
    assert (np.hypot(*prepared.layers[0].decay) <= 1 + 1e-6).all()
    for leaf in jax.tree.leaves((prepared, results)):
        finite = np.isfinite(leaf).reshape(len(EXTREMES), -1).all(axis=1)
        assert [name for name, well in zip(EXTREMES, finite, strict=True) if not well] == []


def test_discretisation_is_exact_for_small_time_steps():
    """B_bar -> dt B: (exp(z) - 1) / z must not cancel in float32."""
    core = ResettableS5Core(4, 2, 1)
    params = random_params(core, 2)
    layer = params["layer_0"]
    layer["log_dt"] = jnp.full(2, np.log(1e-6))
    _, B, _ = matrices(layer, "zoh")
    actual = np.asarray(core.prepare(params).layers[0].input_matrix)
    assert_close(actual, np.concatenate([B.T.real, B.T.imag], axis=-1), FP32)


def test_preparing_twice_is_preparing_once():
    core = ResettableS5Core(4, 3, 1)
    prepared = core.prepare(random_params(core, 2))
    assert core.prepare(prepared) is prepared


def test_prepared_parameters_serve_as_the_raw_ones():
    core = ResettableS5Core(4, 3, 1, norm="post")
    params = random_params(core, 2)
    inputs, flags = sequence(4, 2, 2)
    state = core.initial_state(2)
    prepared = core.prepare(params)
    step, unroll = jax.jit(core.step), jax.jit(core.unroll)
    assert_close(step(prepared, inputs[0], state), step(params, inputs[0], state), FP32)
    assert_close(unroll(prepared, inputs, state, flags), unroll(params, inputs, state, flags), FP32)


def with_times(inputs, times):
    return jnp.concatenate([inputs, jnp.broadcast_to(times, inputs.shape[:-1])[..., None]], axis=-1)


@pytest.mark.parametrize("timed_inputs", [False, True])
def test_what_another_core_prepared_is_refused(timed_inputs):
    """Untimed matrices are discrete already, timed ones are not: either would pass for the other."""
    core = ResettableS5Core(4, 3, 1, timed_inputs=timed_inputs)
    other = dataclasses.replace(core, timed_inputs=not timed_inputs)
    prepared = other.prepare(random_params(other, 3))
    inputs = jnp.ones((2, 4 if timed_inputs else 2))
    with pytest.raises(ValueError, match=f"prepared by a core with timed_inputs={timed_inputs}"):
        core.step(prepared, inputs, core.initial_state(2))


@pytest.mark.parametrize("discretization", ["zoh", "bilinear"])
def test_inputs_a_time_of_1_apart_are_those_of_a_core_without_times(discretization):
    timed = ResettableS5Core(8, 6, 2, discretization, norm="pre", timed_inputs=True)
    plain = dataclasses.replace(timed, timed_inputs=False)
    inputs, flags = sequence(9, 3, 5)
    states = as_pairs(warm_states(plain, 3))
    with enable_x64():
        params = random_params(plain, 5)
        actual = jax.jit(timed.unroll)(params, with_times(inputs, 1.0), states, flags)
        assert_close(actual, jax.jit(plain.unroll)(params, inputs, states, flags), X64)


def test_an_input_that_is_held_for_a_time_is_one_input_with_that_time():
    """Of one layer: the state in continuous time is exact under "zoh" wherever it is looked at."""
    timed = ResettableS5Core(8, 6, 1, "zoh", timed_inputs=True)
    plain = dataclasses.replace(timed, timed_inputs=False)
    inputs, flags = sequence(7, 2, 5)
    times = np.array([1, 3, 2, 1, 5, 4, 2])
    ends = np.cumsum(times) - 1
    held, held_flags = np.repeat(inputs, times, axis=0), np.zeros((times.sum(), 2), bool)
    held_flags[ends - times + 1] = flags
    states = as_pairs(warm_states(plain, 2))
    with enable_x64():
        params = random_params(plain, 5)
        outputs, final_state = jax.jit(plain.unroll)(params, held, states, held_flags)
        actual = jax.jit(timed.unroll)(params, with_times(inputs, times[:, None]), states, flags)
        assert_close(actual, (outputs[ends], final_state), X64)


def test_gradients_reach_the_times():
    core = ResettableS5Core(4, 3, 1, timed_inputs=True)
    params = random_params(core, 3)
    inputs, flags = sequence(5, 2, 2)

    def value(times):
        return jnp.sum(core.unroll(params, with_times(inputs, times), core.initial_state(2), flags)[0])

    with enable_x64():
        jax.test_util.check_grads(jax.jit(value), (np.full((5, 2), 1.5),), order=1, modes=("rev",))


def test_timed_inputs_need_a_feature_beside_the_time():
    with pytest.raises(ValueError, match=r"input_size must be 2 or more where inputs are timed, got 1"):
        ResettableS5Core(4, 3, 1, timed_inputs=True).init(KEY, 1)


def test_ignored_resets_have_no_effect():
    core = ResettableS5Core(4, 3, 1, ignore_resets=True)
    obeying = ResettableS5Core(4, 3, 1)
    inputs, flags = sequence(4, 2, 2)
    params = random_params(core, 2)
    state = as_pairs(warm_states(core, 2))
    state = jax.tree.map(lambda leaf: leaf.astype(np.float32), state)
    unflagged = obeying.unroll(params, inputs, state)
    assert_close(core.unroll(params, inputs, state, flags), unflagged, FP32)
    assert not np.allclose(obeying.unroll(params, inputs, state, flags)[0], unflagged[0])
    all_set = np.ones(2, bool)
    assert_close(core.step(params, inputs[0], state, all_set), obeying.step(params, inputs[0], state), FP32)


@pytest.mark.parametrize(
    ("core", "input_size", "num_layers", "num_params"),
    [
        (ResettableS5Core.bsuite(), 256, 1, 263_296),
        (ResettableS5Core.popgym(), 256, 4, 1_053_184),
        (ResettableS5Core.projected_dm_control(), 512, 10, 2_764_288),
    ],
)
def test_named_sizes(core, input_size, num_layers, num_params):
    assert (core.state_size, core.model_size, core.output_size, core.num_layers) == (
        256,
        256,
        256,
        num_layers,
    )
    assert (core.discretization, core.dt_min, core.dt_max) == ("zoh", 0.001, 0.1)
    shapes = jax.eval_shape(lambda: core.init(KEY, input_size))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == num_params
    assert [leaf.shape for leaf in jax.tree.leaves(core.initial_state(3))] == [(3, 128)] * (2 * num_layers)
