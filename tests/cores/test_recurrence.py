"""The resettable recurrence against a loop in complex numbers, and its operator against the proofs."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numerics import FP32, GRADIENT, X64, assert_close

from s5rl.compat import enable_x64, supports_gpu_kernels
from s5rl.cores.linear_recurrence import IMPLEMENTATIONS, linear_recurrence
from s5rl.cores.recurrence_solvers import reset_operator


def problem(num_steps, batch_size=2, num_modes=3, seed=0, flag_rate=0.25, changes=False):
    """Returns complex decay [P] or [T, B, P], inputs [T, B, P], state [B, P], and flags [T, B]."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)

    shape = (num_steps, batch_size, num_modes) if changes else (num_modes,)
    decay = rng.uniform(0.5, 1, shape) * np.exp(1j * rng.uniform(-3, 3, shape))
    flags = rng.random((num_steps, batch_size)) < flag_rate
    return decay, draw(num_steps, batch_size, num_modes), draw(batch_size, num_modes), flags


def loop(decay, inputs, state, flags):
    """Returns all states [T, B, P] and what each was made of: the states before, resets done."""
    states, before = np.zeros_like(inputs), np.zeros_like(inputs)
    for t in range(len(inputs)):
        before[t] = np.where(flags[t, :, None], 0, states[t - 1] if t else state)
        states[t] = np.broadcast_to(decay, inputs.shape)[t] * before[t] + inputs[t]
    return states, before


def loop_gradients(decay, inputs, state, flags, cotangents):
    """Returns the gradients of sum(Re(conj(cotangents) states)) to decay, inputs and state."""
    _, before = loop(decay, inputs, state, flags)
    to_inputs, to_previous = np.zeros_like(inputs), np.zeros_like(state)
    for t in reversed(range(len(inputs))):
        to_inputs[t] = cotangents[t] + to_previous
        decayed = np.broadcast_to(decay, inputs.shape)[t].conj() * to_inputs[t]
        to_previous = np.where(flags[t, :, None], 0, decayed)
    to_decays = before.conj() * to_inputs
    return to_decays.sum((0, 1)) if decay.ndim == 1 else to_decays, to_inputs, to_previous


def pair(x):
    return x.real, x.imag


def as_pairs(*arrays):
    return tuple(pair(x) for x in arrays)


def apply(implementation, decay, inputs, state, flags):
    return linear_recurrence(*as_pairs(decay, inputs, state), flags, implementation)


@pytest.mark.parametrize("changes", [False, True])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS[1:])
@settings(max_examples=3, deadline=None)
@given(num_steps=st.integers(1, 33), seed=st.integers(0, 2**31), flag_rate=st.sampled_from([0.0, 0.2, 1.0]))
@example(num_steps=1, seed=0, flag_rate=0.5)
@example(num_steps=33, seed=2, flag_rate=0.1)
def test_equals_a_loop_in_complex_numbers(implementation, changes, num_steps, seed, flag_rate):
    decay, inputs, state, flags = problem(num_steps, seed=seed, flag_rate=flag_rate, changes=changes)
    cotangents = np.random.default_rng(seed).standard_normal((*inputs.shape, 2)) @ np.array([1, 1j])
    expected, _ = loop(decay, inputs, state, flags)

    @jax.jit
    def run(arguments, flags, cotangents):
        states, pullback = jax.vjp(lambda x: linear_recurrence(*x, flags, implementation), arguments)
        return states, pullback(cotangents)[0]

    with enable_x64():
        states, gradients = run(as_pairs(decay, inputs, state), flags, pair(cotangents))
    assert_close(states, pair(expected), X64)
    assert_close(gradients, as_pairs(*loop_gradients(decay, inputs, state, flags, cotangents)), X64)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_no_flags_are_flags_that_are_not_set(implementation):
    decay, inputs, state, _ = problem(7)
    expected, _ = loop(decay, inputs, state, np.zeros((7, 2), bool))
    assert_close(apply(implementation, decay, inputs, state, None), pair(expected), FP32)


@pytest.mark.parametrize(
    ("implementation", "batch", "changes"),
    [("chunked", (), True), ("chunked", (2, 2), False), ("associative", (2, 2), True), ("auto", (), False)],
)
def test_takes_any_number_of_batch_axes(implementation, batch, changes):
    decay, inputs, state, flags = problem(5, batch_size=math.prod(batch), changes=changes)
    expected, _ = loop(decay, inputs, state, flags)
    inputs, flags, expected = (x.reshape(5, *batch, *x.shape[2:]) for x in (inputs, flags, expected))
    decay, state = decay.reshape(inputs.shape) if changes else decay, state.reshape(*batch, -1)
    actual = jax.jit(functools.partial(apply, implementation))(decay, inputs, state, flags)
    assert_close(actual, pair(expected), FP32)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("num_vmaps", [1, 2])
def test_maps_and_differentiates_under_vmap(implementation, num_vmaps):
    problems = [problem(7, seed=seed) for seed in range(4)]
    stacked = [np.stack(arrays) for arrays in zip(*problems, strict=True)]
    if num_vmaps == 2:
        stacked = [x.reshape(2, 2, *x.shape[1:]) for x in stacked]

    def value(arguments, flags):
        states = linear_recurrence(*arguments, flags, implementation)
        return jnp.sum(states[0] + 2 * states[1]), states

    run = jax.value_and_grad(value, has_aux=True)
    for _ in range(num_vmaps):
        run = jax.vmap(run)
    (_, states), gradients = jax.jit(run)(as_pairs(*stacked[:3]), stacked[3])
    flatten = functools.partial(jax.tree.map, lambda x: x.reshape(4, *x.shape[num_vmaps:]))
    expected = [loop(*p)[0] for p in problems]
    assert_close(flatten(states), pair(np.stack(expected)), FP32)
    slopes = [loop_gradients(*p, np.full_like(p[1], 1 + 2j)) for p in problems]
    assert_close(flatten(gradients), as_pairs(*(np.stack(x) for x in zip(*slopes, strict=True))), GRADIENT)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("changes", [False, True])
def test_both_modes_and_second_derivatives_are_those_of_a_plain_scan(implementation, changes):
    decay, inputs, state, flags = problem(9, changes=changes)
    directions = as_pairs(*problem(9, seed=1, changes=changes)[:3])

    def plain(decay, inputs, state):
        def body(x, slot):
            (a_re, a_im), (b_re, b_im), flag = slot
            re, im = (jnp.where(flag[:, None], 0, part) for part in x)
            x = a_re * re - a_im * im + b_re, a_re * im + a_im * re + b_im
            return x, x

        decays = jax.tree.map(lambda a: jnp.broadcast_to(a, inputs[0].shape), decay)
        return jax.lax.scan(body, state, (decays, inputs, flags))[1]

    def own(*arguments):
        return linear_recurrence(*arguments, flags, implementation)

    def derivatives(recurrence):
        def value(arguments):
            re, im = recurrence(*arguments)
            return jnp.sum(jnp.sin(re) + jnp.square(im))

        arguments = jax.tree.map(jnp.asarray, as_pairs(decay, inputs, state))
        forward = jax.jvp(recurrence, arguments, directions)[1]
        return forward, jax.jvp(jax.grad(value), (arguments,), (directions,))[1]

    with enable_x64():
        assert_close(jax.jit(lambda: derivatives(own))(), jax.jit(lambda: derivatives(plain))(), X64)


@pytest.mark.parametrize("num_vmaps", [0, 1, 2])
@pytest.mark.parametrize("differentiate", [False, True])
def test_auto_is_chosen_when_lowered_for_a_platform(num_vmaps, differentiate):
    def value(arguments, flags):
        states = linear_recurrence(*arguments, flags)
        return jnp.sum(states[0] * states[1])

    decay, inputs, state, flags = problem(8)
    arguments = (as_pairs(decay, inputs, state), flags)
    function = jax.grad(value) if differentiate else value
    for _ in range(num_vmaps):
        function, arguments = jax.vmap(function), jax.tree.map(lambda x: x[None], arguments)
    traced = jax.jit(function).trace(*arguments)
    loops = {
        platform: "stablehlo.while" in traced.lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda", "tpu")
    }
    assert loops == {"cpu": True, "cuda": False, "tpu": False}


@pytest.mark.skipif(not supports_gpu_kernels(), reason="this jax has no kernels for GPUs")
def test_pallas_is_a_kernel_for_cuda_and_auto_elsewhere():
    def value(arguments, flags):
        states = linear_recurrence(*arguments, flags, "pallas")
        return jnp.sum(states[0] * states[1])

    decay, inputs, state, flags = problem(8)
    inputs, state, flags = inputs[:, None], state[None], flags[:, None]  # any number of batch axes
    single = jax.tree.map(np.float32, as_pairs(decay, inputs, state))
    traced = jax.jit(jax.grad(value)).trace(single, flags)
    programs = {name: traced.lower(lowering_platforms=(name,)).as_text() for name in ("cpu", "cuda", "tpu")}
    assert {name: text.count("mosaic_gpu") > 1 for name, text in programs.items()} == {
        "cpu": False,
        "cuda": True,
        "tpu": False,
    }
    assert "stablehlo.while" in programs["cpu"]
    assert "stablehlo.while" not in programs["tpu"]


def test_an_unknown_implementation_is_refused():
    decay, inputs, state, flags = problem(2)
    with pytest.raises(ValueError, match=r"implementation must be one of 'auto', .*, got 'parallel'"):
        apply("parallel", decay, inputs, state, flags)


def element(flag, seed):
    decay, inputs, _, _ = problem(1, batch_size=1, seed=seed)
    return pair(decay), pair(inputs[0, 0]), np.bool_(flag)


def combine(*elements):
    return functools.reduce(reset_operator, elements)


@pytest.mark.parametrize("x_flag", [False, True])
@pytest.mark.parametrize(
    ("y_flag", "z_flag"),
    [
        pytest.param(False, True, id="case 1: z"),
        pytest.param(True, True, id="case 1: z and y"),
        pytest.param(True, False, id="case 2: y, not z"),
        pytest.param(False, False, id="case 3: neither"),
    ],
)
def test_the_operator_is_associative(x_flag, y_flag, z_flag):
    """Appendix A, both sides against the value that its proof names."""
    x, y, z = element(x_flag, 0), element(y_flag, 1), element(z_flag, 2)
    with enable_x64():
        left, right = combine(combine(x, y), z), combine(x, combine(y, z))
    since_reset = [z] if z_flag else [y, z] if y_flag else [x, y, z]
    decay, state = 1, 0
    for (a_re, a_im), (b_re, b_im), _ in since_reset:
        decay, state = (a_re + 1j * a_im) * decay, (a_re + 1j * a_im) * state + b_re + 1j * b_im
    expected = pair(decay), pair(state), np.bool_(x_flag or y_flag or z_flag)
    for side in (left, right):
        assert_close(side[:2], expected[:2], X64)
        assert side[2] == expected[2]


@settings(max_examples=20, deadline=None)
@given(flags=st.lists(st.booleans(), min_size=5, max_size=5), cut=st.integers(1, 4))
def test_any_bracketing_gives_the_same(flags, cut):
    elements = [element(flag, seed) for seed, flag in enumerate(flags)]
    with enable_x64():
        whole = combine(*elements)
        halves = reset_operator(combine(*elements[:cut]), combine(*elements[cut:]))
    assert_close(halves[:2], whole[:2], X64)
    assert halves[2] == whole[2]


@pytest.mark.parametrize("resets", [(), (0,), (3,), (2, 5), (2, 3), tuple(range(7))])
def test_the_scan_gives_the_value_of_section_3_1(resets):
    """After a reset at n: A, A^2, ... and x_n, x_{n+1}, ... as if the sequence began at n."""
    num_steps = 7
    decay, inputs, _, flags = problem(num_steps, flag_rate=0)
    flags[list(resets)] = True
    decays = np.broadcast_to(decay, inputs.shape)
    with enable_x64():
        elements = (pair(jnp.asarray(decays)), pair(jnp.asarray(inputs)), jnp.asarray(flags))
        products, states, any_reset = jax.lax.associative_scan(reset_operator, elements)
    expected, _ = loop(decay, inputs, np.zeros_like(inputs[0]), flags)
    assert_close(states, pair(expected), X64)
    for t in range(num_steps):
        start = max((n for n in resets if n <= t), default=0)
        power = np.broadcast_to(decay ** (t - start + 1), products[0][t].shape)
        assert_close((products[0][t], products[1][t]), pair(power), X64)
        assert (any_reset[t] == any(n <= t for n in resets)).all()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_reset_clears_a_bad_state(implementation, bad):
    decay, inputs, state, flags = problem(7, flag_rate=0)
    flags[0] = True
    expected, _ = loop(decay, inputs, state, flags)
    arguments = as_pairs(decay, inputs, np.full_like(state, complex(bad, bad)))
    states, pullback = jax.vjp(lambda x: linear_recurrence(*x, flags, implementation), arguments)
    assert_close(states, pair(expected), FP32)
    (gradients,) = pullback((jnp.ones(inputs.shape), jnp.zeros(inputs.shape)))
    slopes = loop_gradients(decay, inputs, state, flags, np.ones_like(inputs))
    assert_close(gradients, as_pairs(*slopes), GRADIENT)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("bad_step", [0, 2])
def test_a_reset_clears_bad_inputs(implementation, bad, bad_step):
    """Row 0 goes bad and is reset at step 3; row 1 is always well."""
    decay, inputs, state, flags = problem(7, flag_rate=0)
    flags[3, 0] = True
    expected, _ = loop(decay, inputs, state, flags)
    inputs[bad_step, 0] = complex(bad, bad)

    def behind(inputs, state):
        states = linear_recurrence(pair(decay), inputs, state, flags, implementation)
        return (states[0][3:], states[1][3:]), states

    _, pullback, states = jax.vjp(behind, *as_pairs(inputs, state), has_aux=True)
    assert not np.isfinite(states[0][bad_step:3, 0]).any()
    assert_close((states[0][3:], states[1][3:]), pair(expected[3:]), FP32)
    assert_close((states[0][:, 1], states[1][:, 1]), pair(expected[:, 1]), FP32)
    to_inputs, to_state = pullback((jnp.ones((4, 2, 3)), jnp.zeros((4, 2, 3))))
    cotangents = np.zeros_like(inputs)
    cotangents[3:] = 1
    _, slopes, to_start = loop_gradients(decay, np.nan_to_num(inputs), state, flags, cotangents)
    assert_close((to_inputs, to_state), as_pairs(slopes, to_start), GRADIENT)
