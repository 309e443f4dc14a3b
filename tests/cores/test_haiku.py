"""Both ways between Haiku and our cores.

The parameters of a module from `to_haiku` are those of the core under the name of the module, each leaf
named by its path: `skip` of `layer_0` is the parameter `layer_0/skip` of the module `ResettableS5Core`.
"""

from __future__ import annotations

import collections
import itertools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cores import CORES, INPUT_SIZE, haiku_lstm, haiku_stack
from numerics import FP32, assert_close, random_params, sequence

from s5rl.cores import FeedForwardCore, GRUCore, HaikuCore, LSTMCore, ResettableS5Core

KEY = jax.random.key(0)
NUM_STEPS, BATCH_SIZE = 2, 2
LSTM = LSTMCore(5)


def pure(function):
    """Transforms a function that draws no keys when it is applied."""
    return hk.without_apply_rng(hk.transform(function))


def as_haiku(name, params):
    """Returns the parameters of a core as those of the module `name`."""
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    return {name: {"/".join(entry.key for entry in path): leaf for path, leaf in leaves}}


def problem(core, batch_size=BATCH_SIZE):
    """Returns parameters, inputs, flags and a warm state."""
    inputs, flags = sequence(NUM_STEPS, BATCH_SIZE, INPUT_SIZE)
    if batch_size is None:
        inputs, flags = inputs[:, 0], flags[:, 0]
    params = random_params(core, INPUT_SIZE)
    inputs = jnp.asarray(inputs, float)
    _, state = core.unroll(params, inputs, core.initial_state(batch_size))
    return params, inputs, flags, state


# Seven compilations each.
UNROLLED_IN_THE_FAST_SUITE = {
    ("feed_forward", BATCH_SIZE),
    ("lstm", None),
    ("lstm", BATCH_SIZE),
    ("gru", BATCH_SIZE),
    ("attention_short_window", None),
    ("s5", None),
    ("s5", BATCH_SIZE),
    ("haiku_stack", BATCH_SIZE),
}


@pytest.mark.parametrize(
    ("name", "batch_size"),
    [
        case if case in UNROLLED_IN_THE_FAST_SUITE else pytest.param(*case, marks=pytest.mark.slow)
        for case in itertools.product(CORES, (None, BATCH_SIZE))
    ],
)
def test_every_way_to_unroll_gives_the_numbers_of_the_core(name, batch_size):
    core = CORES[name]
    params, inputs, flags, state = problem(core, batch_size)

    def unrolls(inputs, flags, state):
        module = core.to_haiku()
        reset_core = hk.ResetCore(module)
        plain, flagged = {}, {}
        for way, unroll in [("static", hk.static_unroll), ("dynamic", hk.dynamic_unroll)]:
            plain[way] = unroll(module, inputs, state)
            flagged[way] = unroll(module, (inputs, flags), state)
            flagged[f"reset_core_{way}"] = unroll(reset_core, (inputs, flags), state)
        plain["own"] = module.unroll(inputs, state)
        flagged["own"] = module.unroll((inputs, flags), state)
        return plain, flagged, module.initial_state(batch_size)

    named = as_haiku(type(core).__name__, params)
    plain, flagged, initial = jax.jit(pure(unrolls).apply)(named, inputs, flags, state)
    assert_close(initial, core.initial_state(batch_size), 0.0)
    for results, should_reset in [(plain, None), (flagged, flags)]:
        expected = core.unroll(params, inputs, state, should_reset)
        for result in results.values():
            assert_close(result, expected, FP32)
    if jax.tree.leaves(state):
        assert not np.allclose(plain["own"][0], flagged["own"][0])


@pytest.mark.parametrize("core", [LSTM, CORES["s5"]], ids=["lstm", "s5"])
def test_maps_over_a_batch(core):
    """Acme's learners unroll [T, ...] under vmap."""
    params, inputs, flags, state = problem(core)
    unroll = pure(lambda x, c, s: core.to_haiku().unroll((x, c), s))
    mapped = jax.vmap(unroll.apply, in_axes=(None, 1, 1, 0), out_axes=(1, 0))
    result = mapped(as_haiku(type(core).__name__, params), inputs, flags, state)
    assert_close(result, core.unroll(params, inputs, state, flags), FP32)


def test_gradients_reach_the_parameters():
    params, inputs, flags, state = problem(LSTM)
    unroll = pure(lambda: hk.dynamic_unroll(LSTM.to_haiku(), (inputs, flags), state)[0])
    actual = jax.grad(lambda p: jnp.sum(unroll.apply(p)))(as_haiku("LSTMCore", params))
    expected = jax.grad(lambda p: jnp.sum(LSTM.unroll(p, inputs, state, flags)[0]))(params)
    assert_close(actual, as_haiku("LSTMCore", expected), FP32)


@pytest.mark.parametrize("core", [LSTM, CORES["s5"]], ids=["lstm", "s5"])
def test_parameters_are_made_once_and_shared(core):
    """Whichever call comes first makes them; another key makes others."""

    def both(step_first):
        module = core.to_haiku()
        state = module.initial_state(None)
        calls = [lambda: module(jnp.ones(INPUT_SIZE), state)[0]] * 2
        calls.insert(1 if step_first else 0, lambda: module.unroll(jnp.ones((1, INPUT_SIZE)), state)[0][0])
        return [call() for call in calls]

    transformed = pure(both)
    params = transformed.init(KEY, True)
    fresh = as_haiku(type(core).__name__, core.init(KEY, INPUT_SIZE))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, fresh)
    assert_close(transformed.init(KEY, False), params, 0.0)
    first, *others = transformed.apply(params, True)
    for other in others:
        assert_close(other, first, FP32)
    changed = transformed.init(jax.random.key(1), True)
    assert any(not np.allclose(a, b) for a, b in zip(*map(jax.tree.leaves, (params, changed)), strict=True))


def test_all_parameters_come_from_one_draw():
    """The leaves of an S5 layer depend on each other."""
    core = CORES["s5"]
    params = pure(lambda x: core.to_haiku()(x, core.initial_state())).init(KEY, jnp.ones(INPUT_SIZE))
    own = core.init(next(hk.PRNGSequence(KEY)), INPUT_SIZE)
    assert_close(params, as_haiku("ResettableS5Core", own), FP32)


def test_the_initial_state_has_no_parameters():
    initial = pure(lambda: LSTM.to_haiku().initial_state(None))
    assert initial.init(KEY) == {}
    assert_close(initial.apply({}), LSTM.initial_state(), 0.0)


def test_two_modules_have_their_own_names_and_parameters():
    def two(inputs):
        for core in (LSTM, LSTM, GRUCore(4)):
            module = core.to_haiku()
            inputs, _ = module(inputs, module.initial_state(None))
        named = GRUCore(4).to_haiku(name="memory")
        return named(inputs, named.initial_state(None))

    params = pure(two).init(KEY, jnp.ones(INPUT_SIZE))
    assert set(params) == {"LSTMCore", "LSTMCore_1", "GRUCore", "memory"}
    assert params["LSTMCore"]["input_weights"].shape == (INPUT_SIZE, 20)
    assert params["LSTMCore_1"]["input_weights"].shape == (5, 20)


def test_is_a_layer_of_a_deep_rnn():
    s5 = ResettableS5Core(4, 3, 1)

    def network(inputs):
        module = hk.DeepRNN([hk.Linear(3), jax.nn.relu, LSTM.to_haiku(), s5.to_haiku()])
        assert isinstance(s5.to_haiku(name="other"), hk.RNNCore)
        return hk.dynamic_unroll(module, inputs, module.initial_state(BATCH_SIZE))

    inputs, _ = sequence(NUM_STEPS, BATCH_SIZE, INPUT_SIZE)
    transformed = pure(network)
    params = transformed.init(KEY, inputs)
    outputs, state = jax.jit(transformed.apply)(params, inputs)
    hidden = jax.nn.relu(inputs @ params["linear"]["w"] + params["linear"]["b"])
    hidden, lstm_state = LSTM.unroll(params["LSTMCore"], hidden, LSTM.initial_state(BATCH_SIZE))
    nested = s5.init(KEY, 5)
    leaves, structure = jax.tree_util.tree_flatten_with_path(nested)
    named = ["/".join(entry.key for entry in path) for path, _ in leaves]
    s5_params = jax.tree.unflatten(structure, [params["ResettableS5Core"][name] for name in named])
    expected, s5_state = s5.unroll(s5_params, hidden, s5.initial_state(BATCH_SIZE))
    assert_close((outputs, state), (expected, (lstm_state, s5_state)), FP32)


def test_a_tuple_of_three_is_refused():
    module = pure(lambda x: LSTM.to_haiku()((x, True, x), LSTM.initial_state()))
    with pytest.raises(ValueError, match=r"inputs must be .* the pair \(inputs, should_reset\), got 3"):
        module.init(KEY, jnp.ones(INPUT_SIZE))


@pytest.mark.parametrize(
    "make_core",
    [haiku_lstm, lambda: hk.GRU(4), lambda: hk.VanillaRNN(4), haiku_stack],
    ids=["LSTM", "GRU", "VanillaRNN", "DeepRNN"],
)
def test_a_haiku_core_equals_haiku(make_core):
    core = HaikuCore(make_core)
    params, inputs, flags, state = problem(core)
    plain = pure(lambda x, s: hk.dynamic_unroll(make_core(), x, s))
    reset = pure(lambda x, c, s: hk.dynamic_unroll(hk.ResetCore(make_core()), (x, c), s))
    assert_close(core.unroll(params, inputs, state), plain.apply(params, inputs, state), FP32)
    assert_close(core.unroll(params, inputs, state, flags), reset.apply(params, inputs, flags, state), FP32)
    assert core.output_size == core.unroll(params, inputs, state)[0].shape[-1]
    initial = pure(lambda: make_core().initial_state(BATCH_SIZE)).apply({})
    assert_close(core.initial_state(BATCH_SIZE), initial, 0.0)
    assert_close(core.initial_state(), jax.tree.map(lambda leaf: leaf[0], initial), 0.0)
    assert_close(core.initial_state(0), jax.tree.map(lambda leaf: leaf[:0], initial), 0.0)


def test_there_and_back_again():
    core = HaikuCore(lambda: LSTM.to_haiku())
    params, inputs, flags, state = problem(LSTM)
    named = as_haiku("LSTMCore", params)
    assert jax.tree.map(jnp.shape, core.init(KEY, INPUT_SIZE)) == jax.tree.map(jnp.shape, named)
    assert core.output_size == LSTM.output_size
    assert_close(core.initial_state(BATCH_SIZE), LSTM.initial_state(BATCH_SIZE), 0.0)
    assert_close(core.unroll(named, inputs, state, flags), LSTM.unroll(params, inputs, state, flags), FP32)


def test_a_state_of_another_class_with_the_same_fields_is_taken():
    """Replay servers give NamedTuples back as classes of their own."""
    core = HaikuCore(haiku_lstm)
    params, inputs, flags, state = problem(core)
    other = collections.namedtuple("LSTMState", state._fields)(*state)
    assert_close(core.unroll(params, inputs, other, flags), core.unroll(params, inputs, state, flags), 0.0)
    swapped = collections.namedtuple("LSTMState", ["cell", "hidden"])(*state)
    with pytest.raises(ValueError, match="state is not one of this HaikuCore"):
        core.step(params, inputs[0], swapped)


class Custom(hk.RNNCore):
    """An `hk.RNNCore` made of two functions."""

    def __init__(self, initial_state=lambda batch_size: (), call=lambda inputs, state: (inputs, state)):
        super().__init__(name="custom")
        self._initial_state, self._call = initial_state, call

    def __call__(self, inputs, state):
        return self._call(inputs, state)

    def initial_state(self, batch_size):
        return self._initial_state(batch_size)


def trainable(batch_size):
    start = hk.get_parameter("start", [3], init=jnp.zeros)
    return jnp.broadcast_to(start, (batch_size, 3))


def remembering_initial_state(batch_size):
    hk.get_state("calls", [], init=jnp.zeros)
    return jnp.zeros((batch_size, 3))


def remembering(inputs, state):
    calls = hk.get_state("calls", [], init=jnp.zeros)
    hk.set_state("calls", calls + 1)
    return hk.Linear(3)(inputs), state


def noisy(inputs, state):
    return hk.dropout(hk.next_rng_key(), 0.5, hk.Linear(3)(inputs)), state


def narrowing(inputs, state):
    return hk.Linear(3)(inputs), state.astype(jnp.bfloat16)


def zeros(dtype):
    return lambda batch_size: (jnp.zeros((batch_size, 3), dtype),)


REFUSED = {
    "trainable initial state": (
        lambda: Custom(trainable),
        ValueError,
        r"trainable initial state \(parameters \['custom'\]\)",
    ),
    "state in initial_state": (
        lambda: Custom(remembering_initial_state),
        ValueError,
        r"keeps Haiku state \(\['custom'\]\)",
    ),
    "state in the call": (
        lambda: Custom(call=remembering),
        ValueError,
        r"keeps Haiku state \(\['custom'\]\)",
    ),
    "dropout": (lambda: Custom(call=noisy), ValueError, "draws random keys when it is applied"),
    "random initial state": (
        lambda: Custom(lambda n: jax.random.normal(hk.next_rng_key(), (n, 3))),
        ValueError,
        "draws random keys when it is applied",
    ),
    "list": (
        lambda: Custom(lambda n: [jnp.zeros((n, 3))]),
        TypeError,
        "state holds a list; states are tuples or dicts",
    ),
    "list inside": (lambda: Custom(lambda n: {"a": (0, [jnp.zeros((n, 3))])}), TypeError, "holds a list"),
    "bfloat16": (
        lambda: Custom(zeros(jnp.bfloat16)),
        TypeError,
        "state holds bfloat16; expected float32, int32 or bool",
    ),
    "complex64": (
        lambda: Custom(zeros(jnp.complex64)),
        TypeError,
        "state holds complex64; expected float32, int32 or bool",
    ),
    "changing dtype": (
        lambda: Custom(lambda n: jnp.zeros((n, 3)), narrowing),
        ValueError,
        r"state must keep .* dtypes over a step, got bfloat16\[1, 3\] from float32\[1, 3\]",
    ),
    "two outputs": (
        lambda: Custom(call=lambda x, s: ((x, x), s)),
        ValueError,
        r"output must be one array \[B, F\], got \(",
    ),
    "output without a batch": (
        lambda: Custom(call=lambda x, s: (x[0], s)),
        ValueError,
        r"output must be one array \[B, F\], got float32\[3\]",
    ),
    "convolution": (
        lambda: hk.Conv1DLSTM((4,), 2, 3),
        ValueError,
        r"output must be one array \[B, F\], got float32\[1, 4, 2\]",
    ),
    "identity": (lambda: hk.IdentityCore(), ValueError, "3 features for inputs of 3 and 1 for inputs of 1"),
    "another module": (lambda: hk.Linear(3), TypeError, r"make_core must return an hk\.RNNCore, got Linear"),
    "nothing": (lambda: None, TypeError, r"make_core must return an hk\.RNNCore, got NoneType"),
    "one of our cores": (lambda: LSTM, TypeError, r"make_core must return an hk\.RNNCore, got LSTMCore"),
}


@pytest.mark.parametrize(("make_core", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_pure_core_is_refused(make_core, error, message):
    core = HaikuCore(make_core)
    with pytest.raises(error, match=message):
        core.init(KEY, INPUT_SIZE)
    with pytest.raises(error, match=message):
        jax.jit(lambda: core.init(KEY, INPUT_SIZE))()


@pytest.mark.parametrize("given", [None, 3, LSTM, FeedForwardCore()])
def test_make_core_must_be_a_function(given):
    with pytest.raises(TypeError, match=r"make_core must be a function that returns an hk\.RNNCore, got "):
        HaikuCore(given)
