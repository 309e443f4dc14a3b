"""LSTM and GRU against those of Haiku, with the same weights."""

from __future__ import annotations

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numerics import X64, assert_close, noise, random_params, sequence

from s5rl.compat import enable_x64
from s5rl.cores import GRUCore, LSTMCore

INPUT_SIZE, HIDDEN_SIZE, BATCH_SIZE, NUM_STEPS = 3, 5, 2, 6


def lstm_weights(params):
    """Haiku has one matrix, inputs above hidden state; the gates are i, g, f, o."""
    weights = jnp.concatenate([params["input_weights"], params["hidden_weights"]])
    return {"lstm/linear": {"w": weights, "b": params["bias"]}}


def gru_weights(params):
    """Haiku has the same three arrays; the gates are z, r, a."""
    w_i, w_h, b = params["input_weights"], params["hidden_weights"], params["bias"]
    return {"gru": {"w_i": w_i, "w_h": w_h, "b": b}}


def lstm_state(state):
    return hk.LSTMState(state["hidden"], state["cell"])


def gru_state(state):
    return state[0]


CASES = {
    "lstm": (LSTMCore(HIDDEN_SIZE), lambda: hk.LSTM(HIDDEN_SIZE), lstm_weights, lstm_state),
    "gru": (GRUCore(HIDDEN_SIZE), lambda: hk.GRU(HIDDEN_SIZE), gru_weights, gru_state),
}


@pytest.fixture(params=CASES, name="case")
def _case(request):
    core, make_module, weights, module_state = CASES[request.param]
    with enable_x64():
        params = random_params(core, INPUT_SIZE)
        state = noise(core.initial_state(BATCH_SIZE), seed=1)
        yield core, make_module, weights, module_state, params, state


def test_a_step_equals_haiku(case):
    core, make_module, weights, module_state, params, state = case
    inputs = sequence(1, BATCH_SIZE, INPUT_SIZE)[0][0]
    step = hk.without_apply_rng(hk.transform(lambda x, s: make_module()(x, s)))
    expected, expected_state = jax.jit(step.apply)(weights(params), inputs, module_state(state))
    outputs, next_state = jax.jit(core.step)(params, inputs, state)
    assert_close(outputs, expected, X64)
    assert_close(module_state(next_state), expected_state, X64)


def test_an_unroll_and_its_gradients_equal_haiku(case):
    core, make_module, weights, module_state, params, state = case
    inputs, _ = sequence(NUM_STEPS, BATCH_SIZE, INPUT_SIZE)
    unroll = hk.without_apply_rng(hk.transform(lambda x, s: hk.dynamic_unroll(make_module(), x, s)))
    slopes, _ = sequence(NUM_STEPS, BATCH_SIZE, HIDDEN_SIZE, seed=1)

    def ours(params, inputs, state):
        outputs, final_state = core.unroll(params, inputs, state)
        return jnp.sum(outputs * slopes), (outputs, module_state(final_state))

    def theirs(params, inputs, state):
        outputs, final_state = unroll.apply(weights(params), inputs, module_state(state))
        return jnp.sum(outputs * slopes), (outputs, final_state)

    actual, expected = (
        jax.jit(jax.grad(f, argnums=(0, 1, 2), has_aux=True))(params, inputs, state) for f in (ours, theirs)
    )
    assert_close(actual, expected, X64)


def test_initial_states_equal_haiku(case):
    core, make_module, _, module_state, _, _ = case
    for batch_size in (None, BATCH_SIZE):
        initial = hk.transform(lambda size=batch_size: make_module().initial_state(size))
        assert_close(module_state(core.initial_state(batch_size)), initial.apply({}, None), 0.0)


def test_fresh_parameters_have_the_shapes_of_haiku(case):
    core, make_module, weights, module_state, _, state = case
    inputs = jnp.zeros((BATCH_SIZE, INPUT_SIZE))
    step = hk.transform(lambda: make_module()(inputs, module_state(state)))
    fresh = core.init(jax.random.key(0), INPUT_SIZE)
    expected = step.init(jax.random.key(0))
    assert jax.tree.map(jnp.shape, weights(fresh)) == jax.tree.map(jnp.shape, expected)
    assert not np.any(fresh["bias"])
    # LeCun over all summands of a gate, those of the inputs and those of the hidden state.
    large = type(core)(64).init(jax.random.key(0), 192)
    for name in ("input_weights", "hidden_weights"):
        assert np.std(large[name]) == pytest.approx(1 / 16, rel=0.05)


def test_the_forget_gate_starts_open():
    """With all weights 0 the cell decays by sigmoid(1), and the output is half of its tanh."""
    core = LSTMCore(1)
    params = jax.tree.map(jnp.zeros_like, core.init(jax.random.key(0), 1))
    state = {"hidden": jnp.zeros(1), "cell": jnp.full(1, 3.0)}
    outputs, next_state = core.step(params, jnp.ones(1), state)
    cell = 3 / (1 + np.exp(-1))
    np.testing.assert_allclose(next_state["cell"], cell, rtol=1e-6)
    np.testing.assert_allclose(outputs, np.tanh(cell) / 2, rtol=1e-6)


def scans(jaxpr):
    """All scans of a program, those inside others and inside functions among them."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            yield equation
        for inner in (getattr(value, "jaxpr", value) for value in equation.params.values()):
            if hasattr(inner, "eqns"):
                yield from scans(inner)


@pytest.mark.parametrize(("name", "products"), [("lstm", 1), ("gru", 2)])
def test_an_unroll_multiplies_the_inputs_before_its_scan(name, products):
    """What is left in the scan is what waits for the hidden state."""
    core = CASES[name][0]
    params = random_params(core, INPUT_SIZE)
    inputs = np.zeros((NUM_STEPS, BATCH_SIZE, INPUT_SIZE), np.float32)
    (scan,) = scans(jax.make_jaxpr(core.unroll)(params, inputs, core.initial_state(BATCH_SIZE)).jaxpr)
    assert str(scan.params["jaxpr"].jaxpr).count("dot_general") == products


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_no_scan_adds_up_gradients_of_weights(name):
    """Over devices, what a scan adds up would be sent at every time step."""
    core = CASES[name][0]
    params = core.init(jax.random.key(0), INPUT_SIZE)
    inputs = np.zeros((NUM_STEPS, BATCH_SIZE, INPUT_SIZE), np.float32)

    def loss(params):
        return core.unroll(params, inputs, core.initial_state(BATCH_SIZE))[0].sum()

    program = jax.make_jaxpr(jax.grad(loss))(params).jaxpr
    assert len(list(scans(program))) == 2
    for scan in scans(program):
        step = scan.params["jaxpr"].jaxpr
        pairs = zip(scan.outvars, step.outvars, strict=True)
        carried = [var.aval.shape for var, of_step in pairs if var.aval.shape == of_step.aval.shape]
        assert carried
        assert all(shape[:1] == (BATCH_SIZE,) for shape in carried)
