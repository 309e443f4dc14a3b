"""What the environments of POPGym promise beside dynamics: specs, types, states from outside, pictures."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs
from environments import assert_equal, random_actions
from gymnasium import spaces
from popgym_oracle import make

from s5rl.compat import enable_x64
from s5rl.envs import make_environment
from s5rl.envs.popgym import (
    ENVIRONMENTS,
    Battleship,
    CartPole,
    Concentration,
    CountRecall,
    LabyrinthEscape,
    MineSweeper,
    MultiarmedBandit,
    Noisy,
    RepeatFirst,
    RepeatPrevious,
    make_popgym,
)

on_all = pytest.mark.parametrize("name", ENVIRONMENTS)
EASY = [name for name in ENVIRONMENTS if name.endswith("Easy")]


def is_same_space(spec, space) -> bool:
    match space:
        case spaces.Tuple(spaces=parts):
            return all(map(is_same_space, spec, parts)) and len(spec) == len(parts)
        case spaces.Discrete(n=n):
            return isinstance(spec, specs.DiscreteArray) and spec.num_values == n
        case spaces.MultiDiscrete(nvec=nvec):
            bounds = np.broadcast_to(spec.minimum, spec.shape), np.broadcast_to(spec.maximum, spec.shape)
            return np.array_equal(bounds, (0 * nvec, nvec - 1)) and spec.dtype == np.int32
        case spaces.Box(low=low, high=high):
            bounded = isinstance(spec, specs.BoundedArray)
            bounds = (spec.minimum, spec.maximum) if bounded else (-np.inf, np.inf)
            return spec.dtype == np.float32 and spec.shape == space.shape and _equal(bounds, (low, high))


def _equal(bounds, expected) -> bool:
    return all(np.all(bound == np.asarray(e)) for bound, e in zip(bounds, expected, strict=True))


@on_all
def test_specs_are_those_of_popgym(name):
    theirs = make(name)
    assert is_same_space(ENVIRONMENTS[name].observation_spec(), theirs.observation_space)
    assert is_same_space(ENVIRONMENTS[name].action_spec(), theirs.action_space)


@on_all
@pytest.mark.parametrize("is_x64", [False, True])
def test_types_fit_the_specs_and_stay(name, is_x64):
    environment = ENVIRONMENTS[name]

    def types(tree):
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)

    action = random_actions(environment.action_spec(), 0)
    if is_x64:
        with enable_x64():
            state, first = jax.eval_shape(environment.reset, jax.random.key(0))
            after, second = jax.eval_shape(environment.step, state, action)
    else:
        state, first = jax.eval_shape(environment.reset, jax.random.key(0))
        after, second = jax.eval_shape(environment.step, state, action)
    assert types((state, first)) == types((after, second))
    spec = environment.observation_spec()
    assert types(spec) == types(first.observation)


@pytest.mark.parametrize("name", EASY)
def test_a_state_goes_out_to_numpy_and_back(name):
    environment = ENVIRONMENTS[name]
    state, _ = environment.reset(jax.random.key(3))
    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    if not isinstance(environment, Noisy):
        fields = {
            name: value if name == "key" else np.asarray(value).tolist() for name, value in fields.items()
        }
    assert_equal(environment.state_from(**fields), state)


@pytest.mark.parametrize("name", EASY)
def test_render_shows_the_state(name):
    environment = ENVIRONMENTS[name]
    state, _ = environment.reset(jax.random.key(0))
    before = environment.render(jax.device_get(state))
    assert before == environment.render(state)
    step = jax.jit(environment.step)
    pictures = {before}
    for seed in range(12):
        state, _ = step(state, random_actions(environment.action_spec(), seed))
        pictures.add(environment.render(state))
    assert len(pictures) > 2


@pytest.mark.parametrize(
    ("environment", "fields", "error", "message"),
    [
        (Battleship(), {"board": 0}, TypeError, r"\['board', 'guesses', 'hits', 'time'\], got \['board'\]"),
        (CartPole(), {"physics": np.zeros(4), "time": 0, "speed": 1}, TypeError, "got .*'speed'"),
        (
            CartPole(),
            {"physics": np.zeros(3), "time": 0},
            ValueError,
            r"physics must have shape \(4,\), got \(3,\)",
        ),
        (CartPole(), {"physics": np.zeros(4), "time": 0.5}, TypeError, "time must be int32, got float64"),
        (CartPole(), {"physics": ["a"] * 4, "time": 0}, TypeError, "physics must be float32, got"),
        (
            RepeatFirst(),
            {"deck": np.arange(52) + 70_000, "is_decided": True, "time": 0},
            ValueError,
            "deck must hold values of int16, got 70000 to 70051",
        ),
        (Noisy(CartPole(), 0.1), {"inner": 3}, TypeError, "inner must be a CartPoleState, got 3"),
    ],
)
def test_a_state_from_wrong_fields_is_refused(environment, fields, error, message):
    with pytest.raises(error, match=message):
        environment.state_from(**fields)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RepeatFirst(0), "num_decks must be an integer of at least 1, got 0"),
        (lambda: RepeatPrevious(1, 52), "k must be below the number of cards, 52, got 52"),
        (lambda: RepeatPrevious(1, -1), "k must be an integer of at least 1, got -1"),
        (lambda: CountRecall(1, "numbers"), "kind must be one of 'colours', 'suits', 'ranks', got 'numbers'"),
        (lambda: Concentration(1, "suits"), "kind must be one of 'colours', 'ranks', got 'suits'"),
        (lambda: Battleship(-8), "board_size must be an integer of at least 1, got -8"),
        (lambda: Battleship(5), "board_size must be at least 6, got 5"),
        (lambda: MineSweeper(4, 14), "num_mines must leave at least 3 of 16 cells clear, got 14"),
        (lambda: MultiarmedBandit(0), "num_bandits must be an integer of at least 1, got 0"),
        (lambda: CartPole(0), "episode_length must be an integer of at least 1, got 0"),
        (lambda: CartPole(observed="all"), "observed must be one of 'position', 'velocity', got 'all'"),
        (lambda: Noisy(CartPole(), 0.0), "sigma must be a number above 0, got 0.0"),
        (
            lambda: Noisy(CartPole(observed="velocity"), 0.1),
            "environment must have a bounded float32 observation",
        ),
        (lambda: LabyrinthEscape(2), "size must be at least 3, got 2"),
        (
            lambda: make_popgym("RepeatPreviousHrd"),
            r"POPGym 'RepeatPreviousHrd'; the nearest are \['RepeatPreviousHard'",
        ),
        (
            lambda: make_environment("popgym/CartPoleEasy"),
            r"'CartPoleEasy'; the nearest are .*'StatelessCartPoleEasy'",
        ),
        (
            lambda: make_environment("popgim/BattleshipEasy"),
            r"'popgim/BattleshipEasy'; .*'popgym/BattleshipEasy'",
        ),
    ],
)
def test_bad_settings_and_names_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_names():
    assert make_environment("popgym/StatelessCartPoleHard") == ENVIRONMENTS["PositionOnlyCartPoleHard"]
    assert (
        make_environment("popgym/NoisyStatelessPendulumEasy") == ENVIRONMENTS["NoisyPositionOnlyPendulumEasy"]
    )
    assert make_environment("popgym/VelocityOnlyCartpoleEasy") == ENVIRONMENTS["VelocityOnlyCartPoleEasy"]
    assert make_environment("popgym/RepeatPreviousHard", paper_compatible=True).max_episode_length == 156
    with pytest.raises(TypeError, match="paper_compatible"):
        make_environment("popgym/RepeatFirstHard", paper_compatible=True)


def test_the_papers_variant_asks_one_card_further_back_for_a_whole_deck():
    environment = RepeatPrevious(1, 4, paper_compatible=True)
    deck = np.random.default_rng(0).permutation(52)
    dealt = deck[::-1] % 4
    state = environment.state_from(deck=deck, is_decided=True, time=0)
    right = np.array([dealt[max(t - 4, 0)] for t in range(52)], np.int32)
    _, timesteps = jax.lax.scan(environment.step, state, right)
    np.testing.assert_array_equal(timesteps.last(), np.arange(52) == 51)
    np.testing.assert_allclose(timesteps.reward, [0.0] * 4 + [1 / 48] * 48, rtol=1e-6)
    np.testing.assert_array_equal(timesteps.observation, [*dealt[1:], dealt[-1]])
    np.testing.assert_array_equal(timesteps.discount, [1.0] * 51 + [0.0])


def test_returns_leave_the_unit_interval_where_popgyms_do():
    environment = Battleship(8)
    board = np.zeros((8, 8), bool)
    board[:4, :3] = True
    state = environment.state_from(board=board, guesses=0 * board, hits=0, time=0)
    _, water = jax.lax.scan(environment.step, state, np.full((64, 2), 7))
    assert float(jnp.sum(water.reward)) == pytest.approx(-(8**2) / (8**2 - 12))
    # The last cell of a ship is hit by the very last shot: terminated, not cut off.
    shots = np.concatenate([np.full((52, 2), 7), np.argwhere(board)])
    _, late = jax.lax.scan(environment.step, state, shots)
    np.testing.assert_array_equal(late.last(), np.arange(64) == 63)
    assert late.discount[-1] == 0
