"""Bad input to every core: an error of the right type names the argument, what came and what was expected."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cores import CORES, INPUT_SIZE
from numerics import random_params

from s5rl.cores import AttentionCore, FeedForwardCore, GRUCore, LSTMCore, ResettableS5Core

KEY = jax.random.key(0)
STATEFUL = [name for name in CORES if name != "feed_forward"]


@functools.cache
def params_of(name):
    return random_params(CORES[name], INPUT_SIZE)


def assert_refused(call, error, *words):
    """Asserts that the call fails with that error, whose message holds all the words."""
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    for word in words:
        assert word in str(caught.value)


def assert_both_refuse(method, params, arguments, error, *words):
    """Asserts the same error from the eager call and while it is traced."""
    assert_refused(lambda: method(params, *arguments), error, *words)
    if all(isinstance(leaf, jax.Array | np.ndarray) for leaf in jax.tree.leaves(arguments)):
        assert_refused(lambda: jax.eval_shape(method, params, *arguments), error, *words)


@pytest.mark.parametrize(
    ("shape", "dtype", "error", "words"),
    [
        ((2, INPUT_SIZE), jnp.int32, TypeError, ["inputs must be floating", "[B, F] or [F]", "int32[2, 3]"]),
        ((2, INPUT_SIZE), jnp.bool_, TypeError, ["inputs must be floating", "bool[2, 3]"]),
        ((2, INPUT_SIZE), jnp.complex64, TypeError, ["inputs must be floating", "complex64[2, 3]"]),
        ((), float, ValueError, ["inputs must have shape [B, F] or [F]", "got []"]),
        ((4, 2, INPUT_SIZE), float, ValueError, ["inputs must have shape [B, F] or [F]", "got [4, 2, 3]"]),
        (
            (1, 4, 2, INPUT_SIZE),
            float,
            ValueError,
            ["inputs must have shape [B, F] or [F]", "got [1, 4, 2, 3]"],
        ),
    ],
)
@pytest.mark.parametrize("name", CORES)
def test_step_refuses_inputs(name, shape, dtype, error, words):
    core = CORES[name]
    arguments = (jnp.zeros(shape, dtype), core.initial_state(2))
    assert_both_refuse(core.step, params_of(name), arguments, error, *words)


@pytest.mark.parametrize(
    ("shape", "dtype", "error", "words"),
    [
        (
            (4, 2, INPUT_SIZE),
            jnp.int32,
            TypeError,
            ["inputs must be floating", "[T, B, F] or [T, F]", "int32[4, 2, 3]"],
        ),
        ((), float, ValueError, ["inputs must have shape [T, B, F] or [T, F]", "got []"]),
        ((INPUT_SIZE,), float, ValueError, ["inputs must have shape [T, B, F] or [T, F]", "got [3]"]),
        ((1, 4, 2, INPUT_SIZE), float, ValueError, ["inputs must have shape [T, B, F]", "got [1, 4, 2, 3]"]),
        ((0, 2, INPUT_SIZE), float, ValueError, ["inputs must hold at least one time step", "[0, 2, 3]"]),
    ],
)
@pytest.mark.parametrize("name", CORES)
def test_unroll_refuses_inputs(name, shape, dtype, error, words):
    core = CORES[name]
    arguments = (jnp.zeros(shape, dtype), core.initial_state(2))
    assert_both_refuse(core.unroll, params_of(name), arguments, error, *words)


@pytest.mark.parametrize("name", CORES)
def test_inputs_of_another_width_are_refused(name):
    core = CORES[name]
    words = "inputs must have", "features", "for which the parameters were made", "got 7"
    step = jnp.zeros((2, 7)), core.initial_state(2)
    assert_both_refuse(core.step, params_of(name), step, ValueError, *words)
    unroll = jnp.zeros((4, 2, 7)), core.initial_state(2)
    assert_both_refuse(core.unroll, params_of(name), unroll, ValueError, *words)


@pytest.mark.parametrize("given", [None, "abc", object()])
@pytest.mark.parametrize("name", CORES)
def test_what_is_no_array_is_refused(name, given):
    core = CORES[name]
    kind = type(given).__name__
    inputs, state = jnp.zeros((2, INPUT_SIZE)), core.initial_state(2)
    params = params_of(name)
    assert_refused(lambda: core.step(params, given, state), TypeError, f"inputs must be an array, got {kind}")
    if given is not None:
        assert_refused(
            lambda: core.step(params, inputs, state, given),
            TypeError,
            f"should_reset must be an array, got {kind}",
        )
        if jax.tree.leaves(state):
            assert_refused(
                lambda: core.step(params, inputs, jax.tree.map(lambda _: given, state)),
                TypeError,
                f"every leaf of state must be an array, got {kind}",
            )


@pytest.mark.parametrize("dtype", [float, jnp.int32, jnp.uint8])
@pytest.mark.parametrize("name", CORES)
def test_flags_that_are_not_bool_are_refused(name, dtype):
    core = CORES[name]
    flags = jnp.zeros((4, 2), dtype)
    words = "should_reset must be bool", f"got {flags.dtype}"
    arguments = jnp.zeros((4, 2, INPUT_SIZE)), core.initial_state(2), flags
    assert_both_refuse(core.unroll, params_of(name), arguments, TypeError, *words, "[4, 2]")
    arguments = jnp.zeros((2, INPUT_SIZE)), core.initial_state(2), flags[0]
    assert_both_refuse(core.step, params_of(name), arguments, TypeError, *words, "[2]")


@pytest.mark.parametrize("shape", [(), (4,), (2, 4), (4, 1), (3, 2), (4, 2, 1)])
@pytest.mark.parametrize("name", CORES)
def test_flags_of_another_shape_are_refused(name, shape):
    core = CORES[name]
    arguments = jnp.zeros((4, 2, INPUT_SIZE)), core.initial_state(2), jnp.zeros(shape, jnp.bool_)
    words = "should_reset must have the shape of inputs without the features, [4, 2]", f"got {list(shape)}"
    assert_both_refuse(core.unroll, params_of(name), arguments, ValueError, *words)


@pytest.mark.parametrize("shape", [(2,), (1,)])
@pytest.mark.parametrize("name", CORES)
def test_batched_flags_without_a_batch_are_refused(name, shape):
    core = CORES[name]
    arguments = jnp.zeros(INPUT_SIZE), core.initial_state(), jnp.zeros(shape, jnp.bool_)
    words = "should_reset must have the shape of inputs without the features, []", f"got {list(shape)}"
    assert_both_refuse(core.step, params_of(name), arguments, ValueError, *words)


@pytest.mark.parametrize("name", CORES)
def test_the_state_of_another_core_is_refused(name):
    core = CORES[name]
    others = [other for other in CORES.values() if type(other) is not type(core)]
    for other in others:
        state, own = other.initial_state(2), core.initial_state(2)
        if jax.tree.structure(state) == jax.tree.structure(own):
            continue
        arguments = jnp.zeros((2, INPUT_SIZE)), state
        words = f"state is not one of this {type(core).__name__}", "expected the structure", "initial_state"
        assert_both_refuse(core.step, params_of(name), arguments, ValueError, *words)


@pytest.mark.parametrize(
    ("core", "other", "words"),
    [
        (LSTMCore(5), LSTMCore(6), ["float32[2, 5]", "float32[2, 6]"]),
        (GRUCore(5), GRUCore(6), ["float32[2, 5]", "float32[2, 6]"]),
        (ResettableS5Core(4, 3, 1), ResettableS5Core(8, 3, 1), ["float32[2, 2]", "float32[2, 4]"]),
        (ResettableS5Core(4, 3, 1), ResettableS5Core(4, 3, 2), ["expected the structure", "float32[2, 2]"]),
        (
            AttentionCore(1, 2, 4, 3),
            AttentionCore(1, 2, 4, 5),
            ["float32[2, 2, 3, 2]", "float32[2, 2, 5, 2]"],
        ),
    ],
)
def test_the_state_of_another_size_is_refused(core, other, words):
    arguments = jnp.zeros((2, INPUT_SIZE)), other.initial_state(2)
    words = ["state", f"this {type(core).__name__}", *words]
    assert_both_refuse(core.step, random_params(core, INPUT_SIZE), arguments, ValueError, *words)


@pytest.mark.parametrize("name", STATEFUL)
def test_the_state_of_another_batch_is_refused(name):
    core = CORES[name]
    for inputs, batch_size, words in [
        (jnp.zeros((2, INPUT_SIZE)), 3, ["inputs with batch 2", "[2", "got", "[3"]),
        (jnp.zeros((2, INPUT_SIZE)), 1, ["inputs with batch 2", "[2", "got", "[1"]),
        (jnp.zeros((2, INPUT_SIZE)), None, ["inputs with batch 2", "[2"]),
        (jnp.zeros(INPUT_SIZE), 2, ["inputs with no batch", "got", "[2"]),
        (jnp.zeros(INPUT_SIZE), 1, ["inputs with no batch", "got", "[1"]),
    ]:
        words = [f"state does not fit this {type(core).__name__}", "expected leaves", *words]
        state = core.initial_state(batch_size)
        assert_both_refuse(core.step, params_of(name), (inputs, state), ValueError, *words)
        assert_both_refuse(core.unroll, params_of(name), (inputs[None], state), ValueError, *words)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.int16])
@pytest.mark.parametrize("name", STATEFUL)
def test_a_state_of_another_dtype_is_refused(name, dtype):
    core = CORES[name]
    state = jax.tree.map(lambda leaf: leaf.astype(dtype), core.initial_state(2))
    words = (
        f"state has the wrong dtype for this {type(core).__name__}",
        "expected leaves",
        "float32",
        dtype.dtype.name,
    )
    assert_both_refuse(core.step, params_of(name), (jnp.zeros((2, INPUT_SIZE)), state), TypeError, *words)


SIZES = {
    LSTMCore: ["hidden_size"],
    GRUCore: ["hidden_size"],
    AttentionCore: ["num_layers", "num_heads", "model_size", "window", "mlp_ratio"],
    ResettableS5Core: ["state_size", "model_size", "num_layers", "blocks"],
}


@pytest.mark.parametrize("given", [0, -1, True, 2.0, "2", None])
@pytest.mark.parametrize(("core_type", "size"), [(core, size) for core in SIZES for size in SIZES[core]])
def test_sizes_are_positive_integers(core_type, size, given):
    words = f"{size} must be an integer of at least 1", f"got {given!r}"
    assert_refused(lambda: core_type(**{size: given}), ValueError, *words)


@pytest.mark.parametrize(
    ("core_type", "switch"),
    [(AttentionCore, "gating"), (ResettableS5Core, "timed_inputs"), (ResettableS5Core, "ignore_resets")],
)
@pytest.mark.parametrize("given", [0, "no", None])
def test_switches_are_true_or_false(core_type, switch, given):
    words = f"{switch} must be True or False", f"got {given!r}"
    assert_refused(lambda: core_type(**{switch: given}), ValueError, *words)


@pytest.mark.parametrize("name", CORES)
def test_an_empty_batch_is_taken(name):
    core = CORES[name]
    arguments = jnp.zeros((4, 0, INPUT_SIZE)), core.initial_state(0)
    outputs, _ = jax.eval_shape(core.unroll, params_of(name), *arguments)
    assert outputs.shape == (4, 0, core.output_size)


@pytest.mark.parametrize("given", [0, -1, True, 2.0, None])
def test_hidden_sizes_are_positive_integers(given):
    words = "hidden_sizes[1] must be an integer of at least 1", f"got {given!r}"
    assert_refused(lambda: FeedForwardCore((4, given)), ValueError, *words)


@pytest.mark.parametrize("given", [(), [4], 4, None])
def test_hidden_sizes_are_a_tuple_of_at_least_one(given):
    words = "hidden_sizes must be a tuple of at least 1 integers", f"got {given!r}"
    assert_refused(lambda: FeedForwardCore(given), ValueError, *words)


@pytest.mark.parametrize("given", [0, -1, True, 3.0, None])
@pytest.mark.parametrize("name", CORES)
def test_the_input_size_is_a_positive_integer(name, given):
    words = "input_size must be an integer of at least 1", f"got {given!r}"
    assert_refused(lambda: CORES[name].init(KEY, given), ValueError, *words)


@pytest.mark.parametrize(("state_size", "blocks"), [(1, 1), (7, 1), (8, 3), (10, 2), (4, 4)])
def test_modes_come_in_pairs_and_blocks(state_size, blocks):
    words = (
        "state_size must be even, and a multiple of 2 * blocks",
        f"got state_size={state_size} with blocks={blocks}",
    )
    assert_refused(lambda: ResettableS5Core(state_size, blocks=blocks), ValueError, *words)


def test_heads_divide_the_model_size():
    words = "num_heads must divide model_size", "got num_heads=3 and model_size=8"
    assert_refused(lambda: AttentionCore(num_heads=3, model_size=8), ValueError, *words)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0.1, 0.01),
        (0, 0.1),
        (-0.1, 0.1),
        (0.1, float("inf")),
        (float("nan"), 0.1),
        (0.1, float("nan")),
        ("0.1", 0.2),
        (0.1, None),
        (True, 2),
    ],
)
def test_time_steps_are_an_interval(low, high):
    with pytest.raises(ValueError, match=r"dt_(min|max) must be a number (above|of at least) .*, got "):
        ResettableS5Core(dt_min=low, dt_max=high)


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("discretization", "'zoh', 'bilinear'"),
        ("activation", "'full_glu', 'half_glu', 'gelu'"),
        ("norm", "'none', 'pre', 'post'"),
        ("implementation", "'auto', 'sequential', 'associative'"),
    ],
)
@pytest.mark.parametrize("given", ["other", "", None, 1])
def test_unknown_names_are_refused(option, choices, given):
    words = f"{option} must be one of {choices}", f"got {given!r}"
    assert_refused(lambda: ResettableS5Core(**{option: given}), ValueError, *words)
