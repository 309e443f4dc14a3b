"""The kernel for GPUs, without a GPU: interpreted against a loop in complex128, and lowered for CUDA."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from numerics import FP32, assert_close

from s5rl import compat
from s5rl.cores import gpu_recurrence
from s5rl.cores.gpu_recurrence import solve_on_gpu

interpreted = functools.partial(solve_on_gpu, interpret=True)


def problem(shape, varies, seed=0):
    """Returns complex decay [P], or [T, B, P] where it varies, inputs [T, B, P] and flags [T, B]."""
    rng = np.random.default_rng(seed)
    decay_shape = shape if varies else shape[-1:]
    decay = rng.uniform(0.5, 1, decay_shape) * np.exp(1j * rng.uniform(-3, 3, decay_shape))
    inputs = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return decay, inputs, rng.random(shape[:-1]) < 0.25


def loop(decay, inputs, flags, reverse=False):
    """Returns all states [T, B, P]."""
    decay = np.broadcast_to(decay, inputs.shape)
    states, state = np.zeros_like(inputs), np.zeros_like(inputs[0])
    for t in reversed(range(len(inputs))) if reverse else range(len(inputs)):
        state = states[t] = inputs[t] + decay[t] * np.where(flags[t, :, None], 0, state)
    return states


def pair(x):
    return jnp.asarray(x.real, jnp.float32), jnp.asarray(x.imag, jnp.float32)


def arguments(decay, inputs, flags):
    return pair(decay), pair(inputs), jnp.asarray(flags)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("varies", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1), (11, 3, 130)])
def test_equals_a_loop_in_complex_numbers(shape, varies, reverse):
    x = problem(shape, varies)
    actual = jax.jit(functools.partial(interpreted, reverse=reverse))(*arguments(*x))
    assert_close(actual, pair(loop(*x, reverse=reverse)), FP32)


@pytest.mark.parametrize("num_steps", [4, 5, 8, 9])
def test_takes_any_number_of_steps(num_steps):
    """Around the number of steps that are taken at once, 4 when interpreted."""
    x = problem((num_steps, 1, 2), varies=False)
    assert_close(jax.jit(interpreted)(*arguments(*x)), pair(loop(*x)), FP32)


@pytest.mark.parametrize("steps_at_once", [1, 7])
def test_does_not_depend_on_the_steps_at_once(steps_at_once, monkeypatch):
    monkeypatch.setattr(gpu_recurrence, "STEPS_AT_ONCE_INTERPRETED", steps_at_once)
    x = problem((17, 1, 2), varies=False)
    assert_close(jax.jit(interpreted)(*arguments(*x)), pair(loop(*x)), FP32)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_reset_forgets_nan_and_inf(reverse):
    decay, inputs, flags = problem((9, 3, 3), varies=False)
    poisoned = inputs.copy()
    poisoned[4, 0], poisoned[4, 1] = np.nan, np.inf
    flags[:, :2] = False
    flags[3 if reverse else 5, :2] = True
    after = slice(None, 4) if reverse else slice(5, None)

    actual = jax.jit(functools.partial(interpreted, reverse=reverse))(*arguments(decay, poisoned, flags))
    assert not np.isfinite(actual[0][4, :2]).any()
    expected = pair(loop(decay, inputs, flags, reverse))
    assert_close([part[after] for part in actual], [part[after] for part in expected], FP32)
    assert_close([part[:, 2] for part in actual], [part[:, 2] for part in expected], FP32)


def test_maps_over_seeds():
    """Decays, inputs and flags of their own, then common flags, in nested maps."""
    xs = [problem((6, 2, 3), varies=False, seed=seed) for seed in range(4)]
    decay, inputs, flags = (np.stack(x).reshape(2, 2, *x[0].shape) for x in zip(*xs, strict=True))
    expected = np.stack([loop(*x) for x in xs]).reshape(inputs.shape)
    actual = jax.jit(jax.vmap(jax.vmap(interpreted)))(*arguments(decay, inputs, flags))
    assert_close(actual, pair(expected), FP32)

    expected = np.stack([loop(*x[:2], flags[0, 0]) for x in xs[:2]])
    mapped = jax.jit(jax.vmap(interpreted, in_axes=(0, 0, None)))
    assert_close(mapped(*arguments(decay[0], inputs[0], flags[0, 0])), pair(expected), FP32)


def lower_for_cuda(function, *arguments):
    """Returns the program for NVIDIA GPUs; it needs none to be there."""
    return export.export(jax.jit(function), platforms=["cuda"])(*arguments).mlir_module()


needs_gpu_kernels = pytest.mark.skipif(
    not compat.supports_gpu_kernels(), reason="this jax or a local GPU is too old for the kernel"
)


@needs_gpu_kernels
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("varies", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1030, 3, 130)])
def test_is_one_kernel_for_cuda(shape, varies, reverse):
    solve = functools.partial(solve_on_gpu, reverse=reverse)
    program = lower_for_cuda(solve, *arguments(*problem(shape, varies)))
    assert program.count("custom_call @mosaic_gpu") == 1
    assert program.count("custom_call") == 1


@needs_gpu_kernels
@pytest.mark.parametrize("in_axes", [0, (0, 0, None), (None, 0, 0)])
def test_is_one_kernel_for_cuda_under_vmap(in_axes):
    x = arguments(*problem((33, 4, 256), varies=False))
    axes = (in_axes,) * 3 if in_axes == 0 else in_axes
    mapped = [
        leaf if axis is None else jax.tree.map(lambda x: jnp.stack([x] * 3), leaf)
        for leaf, axis in zip(x, axes, strict=True)
    ]
    program = lower_for_cuda(jax.vmap(solve_on_gpu, in_axes=in_axes), *mapped)
    assert program.count("custom_call @mosaic_gpu") == 1


@needs_gpu_kernels
def test_is_a_kernel_for_cuda_where_the_default_is_64_bits():
    x = arguments(*problem((33, 4, 256), varies=False))
    with compat.enable_x64():
        assert "custom_call @mosaic_gpu" in lower_for_cuda(solve_on_gpu, *x)


@needs_gpu_kernels
def test_the_lowered_kernel_depends_on_the_direction():
    x = arguments(*problem((33, 4, 128), varies=False))
    forward, backward = (
        lower_for_cuda(functools.partial(solve_on_gpu, reverse=reverse), *x) for reverse in (False, True)
    )
    assert forward != backward


@pytest.mark.parametrize(
    ("version", "capabilities", "is_supported"),
    [
        ((0, 8, 3), [], False),
        ((0, 9, 0), [], True),
        ((0, 9, 0), ["9.0", "10.0"], True),
        ((0, 9, 0), ["9.0", "8.9"], False),
        ((0, 9, 0), ["gfx942"], False),
    ],
)
def test_knows_and_says_where_it_cannot_run(version, capabilities, is_supported, monkeypatch):
    devices = [SimpleNamespace(platform="gpu", compute_capability=x) for x in capabilities]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    monkeypatch.setattr(jax, "__version_info__", version)
    assert compat.supports_gpu_kernels() is is_supported
    if not is_supported:
        x = arguments(*problem((2, 1, 1), varies=False))
        with pytest.raises(NotImplementedError, match=r"need jax 0\.9 or newer and NVIDIA GPUs of .* 9\.0"):
            jax.eval_shape(solve_on_gpu, *x)


FLOAT = jnp.zeros((4, 2, 3))


@pytest.mark.parametrize(
    ("index", "given", "error", "message"),
    [
        (0, FLOAT[0], ValueError, "decay[1] must have shape [3] or [4, 2, 3], got [2, 3]."),
        (0, FLOAT.astype(jnp.int32), TypeError, "decay[1] must be float32, got int32[4, 2, 3]."),
        (1, FLOAT[:3], ValueError, "inputs[1] must have shape [4, 2, 3], got [3, 2, 3]."),
        (1, FLOAT.astype(jnp.bfloat16), TypeError, "inputs[1] must be float32, got bfloat16[4, 2, 3]."),
        (2, jnp.zeros((4, 1), bool), ValueError, "should_reset must have shape [4, 2], got [4, 1]."),
        (2, FLOAT[..., 0], TypeError, "should_reset must be bool, got float32[4, 2]."),
    ],
)
def test_refuses(index, given, error, message):
    x = [(FLOAT, FLOAT), (FLOAT, FLOAT), jnp.zeros((4, 2), bool)]
    x[index] = given if index == 2 else (FLOAT, given)
    with pytest.raises(error) as caught:
        interpreted(*x)
    assert str(caught.value) == message


@pytest.mark.parametrize("shape", [(0, 2, 3), (4, 2)])
def test_refuses_inputs_that_are_no_sequences(shape):
    x = jnp.zeros(shape)
    with pytest.raises(ValueError, match=r"inputs\[0\] must have shape \[T, B, P\], each at least 1, got "):
        interpreted((x, x), (x, x), jnp.zeros(shape[:-1], bool))
