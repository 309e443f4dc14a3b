"""What the environments of POPGym draw when an episode begins, and at each step, has popgym's distribution.

Each statistic is a test of a hypothesis that holds where the port is right. With the seeds fixed here the
outcome is always the same; the threshold of 1e-4 says how unlikely so bad a fit would be by chance.
"""

from __future__ import annotations

import functools
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mazelib import Maze
from mazelib.generate.HuntAndKill import HuntAndKill
from mazelib.generate.Prims import Prims
from popgym_oracle import make
from scipy import stats

from s5rl.envs.popgym import ENVIRONMENTS, deck, draws
from s5rl.envs.popgym.battleship import place_ships
from s5rl.envs.popgym.maze import sample_maze
from s5rl.envs.popgym.mine_sweeper import place_mines

P_VALUE = 1e-4


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def assert_uniform(values, num_values):
    counts = np.bincount(np.asarray(values).reshape(-1), minlength=num_values)
    assert len(counts) == num_values
    assert stats.chisquare(counts).pvalue > P_VALUE, counts


def assert_same_distribution(mine, theirs):
    """Compares two samples of integers, rare values pooled."""
    values, index = np.unique(np.concatenate([mine, theirs]), return_inverse=True)
    table = np.stack([np.bincount(part, minlength=len(values)) for part in np.split(index, [len(mine)])])
    order = np.argsort(-table.sum(0))
    table = table[:, order]
    num_common = max(1, int(np.sum(table.sum(0) >= 20)))
    pooled = np.column_stack([table[:, :num_common], table[:, num_common:].sum(1)])
    pooled = pooled[:, pooled.sum(0) > 0]
    if pooled.shape[1] > 1:
        assert stats.chi2_contingency(pooled).pvalue > P_VALUE, pooled


@functools.cache
def dealt_decks():
    """Returns the cards as a game deals them, one a step, for 20000 decks of RepeatFirstEasy."""

    def play(key):
        environment = ENVIRONMENTS["RepeatFirstEasy"]
        state, _ = environment.reset(key)
        state, _ = jax.lax.scan(environment.step, state, np.zeros(51, np.int32))
        return state.deck

    return np.asarray(jax.jit(jax.vmap(play))(keys(20_000)))


@functools.cache
def shuffled_decks():
    return np.asarray(jax.jit(jax.vmap(lambda key: deck.shuffled(key, 1)))(keys(20_000)))


@pytest.mark.parametrize("decks", [dealt_decks, shuffled_decks], ids=["dealt", "shuffled"])
def test_every_order_of_cards_is_as_likely(decks):
    sample = decks()
    np.testing.assert_array_equal(np.sort(sample, axis=1), np.broadcast_to(np.arange(52), sample.shape))
    for position in (0, 1, 25, 50, 51):
        assert_uniform(sample[:, position], 52)
    for first, second in [(51, 50), (51, 0), (1, 0), (30, 29)]:
        # The second card among the 51 that the first one leaves.
        pair = sample[:, first].astype(int), sample[:, second].astype(int)
        assert_uniform((pair[1] - pair[0]) % 52 - 1, 51)
    assert_uniform(np.argmax(sample == 0, axis=1), 52)


def test_both_decks_of_a_count_are_shuffled_on_their_own():
    environment = ENVIRONMENTS["CountRecallHard"]
    states, _ = jax.jit(jax.vmap(environment.reset))(keys(20_000))
    first, second = np.asarray(states.value_deck[:, -1]), np.asarray(states.query_deck[:, -1])
    assert_uniform(first // 4 % 13 * 13 + second // 4 % 13, 169)


def test_every_choice_of_mines_is_as_likely():
    mines = np.asarray(jax.vmap(lambda key: place_mines(key, 6, 3))(keys(20_000)))
    assert (mines.sum(1) == 3).all()
    codes = mines @ (2 ** np.arange(6))
    assert_uniform(np.unique(codes, return_inverse=True)[1], 20)


@pytest.mark.parametrize("board_size", [8, 12])
def test_ships_lie_as_popgym_lays_them(board_size):
    theirs = make("BattleshipEasy" if board_size == 8 else "BattleshipHard")
    boards = []
    for seed in range(4_000):
        theirs.reset(seed=seed)
        boards.append(theirs.board.copy())
    boards = np.array(boards, bool)
    mine = np.asarray(jax.jit(jax.vmap(lambda key: place_ships(key, board_size)))(keys(20_000)))
    assert (mine.sum((1, 2)) == 12).all()
    # The share of boards with a ship in a cell: differences in units of their standard deviation.
    share, expected = mine.mean(0), boards.mean(0)
    deviation = np.sqrt(expected * (1 - expected) * (1 / len(boards) + 1 / len(mine)))
    assert np.abs((share - expected) / deviation).max() < 4.5
    for statistic in (_pairs_along_a_row, _cells_at_the_border, _longest_run):
        assert_same_distribution(statistic(mine), statistic(boards))


def _pairs_along_a_row(boards):
    return (boards[:, :, 1:] & boards[:, :, :-1]).sum((1, 2))


def _cells_at_the_border(boards):
    return boards.sum((1, 2)) - boards[:, 1:-1, 1:-1].sum((1, 2))


def _longest_run(boards):
    """The most cells of ships in one row."""
    return boards.sum(2).max(1)


@functools.cache
def mazes(size):
    """Returns mazes with their starts and goals, of mazelib and ours."""
    random.seed(size)
    np.random.seed(size)
    theirs = []
    for _ in range(1_500):
        maze = Maze()
        maze.generator = HuntAndKill(size, size)
        maze.generate()
        maze.generate_entrances(start_outer=True)
        theirs.append((maze.grid, maze.start, maze.end))
    mine = jax.jit(jax.vmap(lambda key: sample_maze(key, size)))(keys(6_000))
    return [np.array(part) for part in zip(*theirs, strict=True)], [np.asarray(part) for part in mine]


@pytest.mark.parametrize("size", [5, 9])
def test_mazes_are_carved_as_mazelib_carves_them(size):
    (their_grids, *their_ends), (grids, *ends) = mazes(size)
    # A tree over all rooms: complete and without a circle. Some in 10000 miss a room, as popgym's do.
    num_free = (grids == 0).sum((1, 2))
    assert (num_free == 2 * size**2 - 1).mean() > 0.999
    assert (num_free % 2 == 1).all()
    share, expected = (grids == 0).mean(0), (their_grids == 0).mean(0)
    deviation = np.sqrt(expected * (1 - expected) * (1 / len(grids) + 1 / len(their_grids)))
    np.testing.assert_allclose(share[deviation == 0], expected[deviation == 0], atol=1e-3)
    assert np.abs((share - expected)[deviation > 0] / deviation[deviation > 0]).max() < 4.5
    for statistic in (_dead_ends, _crossings, _corridors):
        assert_same_distribution(statistic(grids), statistic(their_grids))
    side = 2 * size + 1
    for mine, theirs in zip(ends, their_ends, strict=True):
        assert_same_distribution(mine @ [side, 1], theirs @ [side, 1])
    sides = [(e[0][:, 0] == 0) + 2 * (e[1][:, 1] == 0) for e in (ends, their_ends)]
    assert_same_distribution(*sides)
    ways = [
        _ways(*sample) for sample in ((grids[:1500], *(e[:1500] for e in ends)), (their_grids, *their_ends))
    ]
    assert stats.ks_2samp(*ways).pvalue > P_VALUE


def _doors(grids):
    """Returns for each room the number of rooms next to it that can be reached directly."""
    free = grids == 0
    up, down = free[:, :-1:2, 1::2], free[:, 2::2, 1::2]
    left, right = free[:, 1::2, :-1:2], free[:, 1::2, 2::2]
    return up.astype(int) + down + left + right


def _dead_ends(grids):
    return (_doors(grids) == 1).sum((1, 2))


def _crossings(grids):
    return (_doors(grids) > 2).sum((1, 2))


def _corridors(grids):
    """Rooms that lie along a row between two others."""
    free = grids == 0
    return (free[:, 1::2, :-1:2] & free[:, 1::2, 2::2]).sum((1, 2))


def _ways(grids, starts, goals):
    """Returns the length of the way from each start to its goal, by flooding all mazes at once."""
    index = np.arange(len(grids))
    free = np.pad(grids == 0, ((0, 0), (1, 1), (1, 1)))
    flood = np.zeros_like(free)
    flood[index, starts[:, 0] + 1, starts[:, 1] + 1] = True
    free[index, goals[:, 0] + 1, goals[:, 1] + 1] = True
    lengths = np.zeros(len(grids), int)
    for step in range(1, grids[0].size):
        spread = flood.copy()
        for axis, shift in [(1, 1), (1, -1), (2, 1), (2, -1)]:
            spread |= np.roll(flood, shift, axis)
        flood |= spread & free
        reached = flood[index, goals[:, 0] + 1, goals[:, 1] + 1]
        lengths[reached & (lengths == 0)] = step
    assert (lengths > 0).all()
    return lengths


def test_physics_begin_where_popgym_begins_them():
    pole = ENVIRONMENTS["PositionOnlyCartPoleEasy"]
    states = np.asarray(jax.vmap(pole.sample_state)(keys(4_000)).physics)
    for quantity in states.T:
        assert stats.kstest(quantity, stats.uniform(-0.05, 0.1).cdf).pvalue > P_VALUE
    pendulum = ENVIRONMENTS["PositionOnlyPendulumEasy"]
    states = np.asarray(jax.vmap(pendulum.sample_state)(keys(4_000)).physics)
    for quantity, limit in zip(states.T, (np.pi, 1.0), strict=True):
        assert stats.kstest(quantity, stats.uniform(-limit, 2 * limit).cdf).pvalue > P_VALUE


def test_draws_of_a_step_are_uniform_normal_and_independent():
    times = jnp.arange(4_000)
    uniform = np.asarray(jax.vmap(lambda t: draws.uniform(jax.random.key(0), t, (2,)))(times))
    normal = np.asarray(jax.vmap(lambda t: draws.normal(jax.random.key(0), t, (2,)))(times))
    for sample, distribution in ((uniform, stats.uniform), (normal, stats.norm)):
        for column in sample.T:
            assert stats.kstest(column, distribution.cdf).pvalue > P_VALUE
        assert abs(np.corrcoef(sample.T)[0, 1]) < 0.06
        assert abs(np.corrcoef(sample[1:, 0], sample[:-1, 0])[0, 1]) < 0.06


@pytest.mark.parametrize(
    ("name", "sigma"), [(f"NoisyPositionOnlyCartPole{d}", s) for d, s in [("Easy", 0.1), ("Hard", 0.3)]]
)
def test_noise_has_its_width(name, sigma):
    environment = ENVIRONMENTS[name]
    states, timesteps = jax.vmap(environment.reset)(keys(4_000))
    noise = np.asarray(timesteps.observation[:, 0] - states.inner.physics[:, 0])  # far from the bounds of x
    assert stats.kstest(noise, stats.norm(0, sigma).cdf).pvalue > P_VALUE


def test_arms_are_uniform_and_pay_as_often_as_they_say():
    environment = ENVIRONMENTS["MultiarmedBanditEasy"]
    states, _ = jax.vmap(environment.reset)(keys(4_000))
    assert stats.kstest(np.asarray(states.bandits).reshape(-1), stats.uniform.cdf).pvalue > P_VALUE
    _, timesteps = jax.vmap(environment.step, in_axes=(0, None))(states, 3)
    chances, paid = np.asarray(states.bandits)[:, 3], np.asarray(timesteps.observation)
    deviation = np.sqrt((chances * (1 - chances)).sum())
    assert abs(paid.sum() - chances.sum()) / deviation < 4
    assert np.corrcoef(chances, paid)[0, 1] > 0.5


def test_a_wrong_distribution_is_noticed():
    """The comparisons above fail where what is drawn is off."""
    theirs = mazes(5)[0][0]
    others = np.array([Prims(5, 5).generate() for _ in range(1_500)])
    for statistic in (_dead_ends, _crossings):
        with pytest.raises(AssertionError):
            assert_same_distribution(statistic(others), statistic(theirs))
    upright = np.asarray(jax.jit(jax.vmap(lambda key: place_ships(key, 8)))(keys(4_000)))
    lying = np.where(_pairs_along_a_row(upright)[:, None, None] < 4, np.swapaxes(upright, 1, 2), upright)
    with pytest.raises(AssertionError):
        assert_same_distribution(_pairs_along_a_row(lying), _pairs_along_a_row(upright))
    never_first = np.random.default_rng(0).integers(1, 52, 20_000)
    with pytest.raises(AssertionError):
        assert_uniform(never_first, 52)
