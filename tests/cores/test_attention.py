"""Attention against a masked softmax over the whole sequence, in loops."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numerics import FP32, X64, assert_close, gelu, layer_norm, linear, random_params, sequence, sigmoid

from s5rl.compat import enable_x64
from s5rl.cores import AttentionCore

KEY = jax.random.key(0)
NUM_STEPS, BATCH_SIZE, INPUT_SIZE = 7, 2, 3
make_core = functools.partial(AttentionCore, num_layers=2, num_heads=2, model_size=4, mlp_ratio=2)


def gate(p, x, y):
    """GTrXL's gated recurrent unit: x is the stream, y the update."""
    w_r, w_z, w_g = np.split(np.asarray(p["update"]), 3, axis=1)
    u_r, u_z = np.split(np.asarray(p["stream"]), 2, axis=1)
    r = sigmoid(y @ w_r + x @ u_r)
    z = sigmoid(y @ w_z + x @ u_z - np.asarray(p["bias"]))
    candidate = np.tanh(y @ w_g + (r * x) @ np.asarray(p["candidate"]))
    return (1 - z) * x + z * candidate


def attention(core, layer, x, flags):
    """Returns softmax over the steps that are seen, for x [T, F] and flags [T]."""
    size = core.model_size // core.num_heads
    query, key, value = (linear(layer[name], x) for name in ("query", "key", "value"))
    attended = np.zeros_like(x)
    for t in range(len(x)):
        start = max((n for n in range(t + 1) if flags[n]), default=0)
        seen = [j for j in range(t + 1) if j >= start and t - j < core.window]
        for head in range(core.num_heads):
            part = slice(head * size, (head + 1) * size)
            bias = np.array([layer["age_bias"][head, t - j] for j in seen])
            weights = np.exp(key[seen, part] @ query[t, part] / np.sqrt(size) + bias)
            attended[t, part] = (weights / weights.sum()) @ value[seen, part]
    return linear(layer["attended"], attended)


def whole_sequence(core, params, inputs, flags):
    """Returns the outputs [T, B, F] of a transformer over the whole of each row."""

    def merge(layer, name, x, y):
        return gate(layer[name], x, np.maximum(y, 0)) if core.gating else x + y

    rows = []
    for row in range(inputs.shape[1]):
        x = inputs[:, row]
        x = linear(params["projection"], x) if "projection" in params else x
        for index in range(core.num_layers):
            layer = params[f"layer_{index}"]
            normed = layer_norm(layer["attention_norm"], x)
            x = merge(layer, "attention_gate", x, attention(core, layer, normed, flags[:, row]))
            normed = layer_norm(layer["mlp_norm"], x)
            update = linear(layer["mlp_out"], gelu(linear(layer["mlp_in"], normed)))
            x = merge(layer, "mlp_gate", x, update)
        rows.append(x)
    return np.stack(rows, axis=1)


@pytest.mark.parametrize(
    ("window", "gating"),
    [(1, False), (2, True), (3, False), (NUM_STEPS, True), (NUM_STEPS + 4, False)],
)
def test_equals_a_masked_softmax_over_the_whole_sequence(window, gating):
    """From an empty memory, and from the warm one in the middle of the sequence."""
    core = make_core(window=window, gating=gating)
    inputs, _ = sequence(NUM_STEPS, BATCH_SIZE, INPUT_SIZE)
    flags = np.zeros((NUM_STEPS, BATCH_SIZE), bool)
    flags[[1, 5], 0] = True
    with enable_x64():
        params = random_params(core, INPUT_SIZE)
        expected = whole_sequence(core, params, inputs, flags)
        unroll = jax.jit(core.unroll)
        outputs, final = unroll(params, inputs, core.initial_state(BATCH_SIZE), flags)
        assert_close(outputs, expected, X64)
        cut = 3
        early, warm = unroll(params, inputs[:cut], core.initial_state(BATCH_SIZE), flags[:cut])
        late, last = unroll(params, inputs[cut:], warm, flags[cut:])
        assert_close(jnp.concatenate([early, late]), expected, X64)
        assert_close(last, final, X64)


def test_steps_equal_a_masked_softmax_over_the_whole_sequence():
    core = make_core(window=3, gating=True)
    inputs, flags = sequence(NUM_STEPS, BATCH_SIZE, 4)
    with enable_x64():
        params = random_params(core, 4)
        assert "projection" not in params
        state, outputs, step = core.initial_state(BATCH_SIZE), [], jax.jit(core.step)
        for t in range(NUM_STEPS):
            output, state = step(params, inputs[t], state, flags[t])
            outputs.append(output)
    assert_close(np.stack(outputs), whole_sequence(core, params, inputs, flags), X64)


def test_a_window_over_the_sequence_is_full_attention():
    inputs, _ = sequence(NUM_STEPS, 1, 4)
    flags = np.zeros((NUM_STEPS, 1), bool)
    with enable_x64():
        core = make_core(num_layers=1, window=NUM_STEPS)
        params = random_params(core, 4)
        expected, _ = jax.jit(core.unroll)(params, inputs, core.initial_state(1), flags)
        core = make_core(num_layers=1, window=2 * NUM_STEPS)
        layer = params["layer_0"]
        layer["age_bias"] = np.pad(layer["age_bias"], ((0, 0), (0, NUM_STEPS)), constant_values=100.0)
        outputs, _ = jax.jit(core.unroll)(params, inputs, core.initial_state(1), flags)
    assert_close(outputs, expected, X64)


def test_a_step_writes_the_next_slot_of_a_ring():
    core = make_core(num_layers=1, window=4)
    params = random_params(core, 4)
    step, state, lengths = jax.jit(core.step), core.initial_state(BATCH_SIZE), []
    assert state["length"].dtype == state["position"].dtype == jnp.int32
    inputs, _ = sequence(9, BATCH_SIZE, 4)
    for t in range(9):
        reset = np.array([t == 6, False])
        before, (_, state) = state, step(params, inputs[t], state, reset)
        lengths.append(state["length"].tolist())
        slots = np.where(reset, 0, before["position"])
        np.testing.assert_array_equal(state["position"], (slots + 1) % 4)
        for row, length in enumerate(lengths[-1]):
            for old, new in (
                (before["keys"][0][row], state["keys"][0][row]),
                (before["values"][0][row], state["values"][0][row]),
            ):
                filled = np.any(new != 0, axis=(0, -1))
                assert filled.tolist() == [slot < length for slot in range(4)]
                others = np.arange(4) != slots[row]
                np.testing.assert_array_equal(
                    new[:, others], 0 * old[:, others] if reset[row] else old[:, others]
                )
    assert lengths == [[1, 1], [2, 2], [3, 3], [4, 4], [4, 4], [4, 4], [1, 4], [2, 4], [3, 4]]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_scan_of_steps_writes_its_memory_in_place(batch_size):
    """Nothing of the size of a layer's keys is held beside the state, with resets too."""
    core = make_core(window=512, model_size=64)
    inputs, flags = sequence(NUM_STEPS, batch_size, 4)

    def act(state, params, inputs, flags):
        def body(state, slot):
            outputs, state = core.step(params, slot[0], state, slot[1])
            return state, outputs

        return jax.lax.scan(body, state, (inputs, flags))

    state = core.initial_state(batch_size)
    lowered = jax.jit(act, donate_argnums=0).lower(state, random_params(core, 4), inputs, flags)
    assert lowered.compile().memory_analysis().temp_size_in_bytes < state["keys"][0].nbytes


@pytest.mark.parametrize("part", ["keys", "values"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_step_that_sees_a_broken_slot_is_broken_as_in_unroll(part, number):
    """Until the slot is out of the window, and in its own row only."""
    core = make_core(num_layers=1, window=3)
    params = random_params(core, 4)
    inputs, _ = sequence(3, BATCH_SIZE, 4)
    step, unroll = jax.jit(core.step), jax.jit(core.unroll)
    _, state = step(params, inputs[0], core.initial_state(BATCH_SIZE))
    state = {**state, part: (state[part][0].at[0, 1, 0, 1].set(number),)}
    want, _ = unroll(params, inputs, state)
    outputs = []
    for t in range(3):
        output, state = step(params, inputs[t], state)
        outputs.append(output)
    np.testing.assert_array_equal(jnp.isnan(jnp.stack(outputs)), jnp.isnan(want))
    assert np.isnan(want).all(axis=-1).tolist() == [[True, False], [True, False], [False, False]]


def test_a_new_gate_keeps_the_stream():
    """GTrXL starts near the identity; without the bias of 2, half of the stream is lost."""
    core = make_core(num_layers=1, window=3, gating=True)
    params = core.init(KEY, 4)
    for name in ("attention_gate", "mlp_gate"):
        np.testing.assert_array_equal(params["layer_0"][name]["bias"], 2.0)
    silent = jax.tree.map(lambda leaf: jnp.zeros_like(leaf) if leaf.ndim > 1 else leaf, params)
    inputs = jnp.ones((1, 1, 4))
    outputs, _ = jax.jit(core.unroll)(silent, inputs, core.initial_state(1))
    np.testing.assert_allclose(outputs, sigmoid(np.float64(2)) ** 2, rtol=FP32)
