"""Training: one agent object, two loops, many seeds, the same numbers."""

from __future__ import annotations

import functools

import dm_env
import jax
import numpy as np
import pytest
from agents import OBSERVED, SMALL_CONFIGS, small_agent
from diagnostics import KnownValues

from s5rl.agents import A2CConfig, make_agent
from s5rl.cores import FeedForwardCore, GRUCore, LSTMCore
from s5rl.envs import DmEnvBatch, MemoryChain, as_dm_env
from s5rl.training import compiled_loop, evaluate, rollout, start_actors, train
from s5rl.training.keys import row_keys, run_keys
from s5rl.training.metrics import start_tracker, track_episodes
from s5rl.types import EnvironmentSpec

CORE = GRUCore(8)
ENVIRONMENT = MemoryChain(3)
over_algorithms = pytest.mark.parametrize("algorithm", sorted(SMALL_CONFIGS))


def assert_trees_close(left, right, tolerance):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@over_algorithms
def test_seeds_in_parallel_equal_single_runs(algorithm):
    agent = small_agent(algorithm, CORE)
    # PPO and Muesli take several gradient steps in each: roundings grow.
    num_updates = {"a2c": 20, "ppo": 5, "muesli": 3}[algorithm]
    num_steps = num_updates * agent.config.num_envs * agent.config.unroll_length
    together = train(agent, ENVIRONMENT, num_steps, seed=3, num_seeds=3)
    assert together.num_seeds == 3
    assert together.metrics["loss"].shape == (3, num_updates)
    for index in range(3):
        alone = train(agent, ENVIRONMENT, num_steps, seed=3 + index)
        picked = together.seed(index)
        assert alone.num_seeds is None
        assert_trees_close(picked.state, alone.state, 1e-5)
        assert picked.metrics.keys() == alone.metrics.keys()
        for name, column in alone.metrics.items():
            np.testing.assert_allclose(picked.metrics[name], column, rtol=1e-5, atol=1e-5)
    assert not np.allclose(together.metrics["loss"][0], together.metrics["loss"][1])


@over_algorithms
def test_both_loops_give_the_same_numbers(algorithm):
    agent = small_agent(algorithm, CORE, **OBSERVED)
    compiled = train(agent, ENVIRONMENT, 10 * 8 * 8, seed=5)
    keys = row_keys(run_keys(5).environments, 8)
    hosted = train(agent, [as_dm_env(ENVIRONMENT, key) for key in keys], 10 * 8 * 8, seed=5)
    assert compiled.agent == hosted.agent
    assert_trees_close(compiled.state, hosted.state, 1e-5)
    assert compiled.metrics.keys() == hosted.metrics.keys()
    for name, column in compiled.metrics.items():
        np.testing.assert_allclose(hosted.metrics[name], column, rtol=1e-4, atol=1e-5, err_msg=name)


@over_algorithms
def test_the_same_seed_gives_the_same_result_bit_for_bit(algorithm):
    agent = small_agent(algorithm, CORE)
    first, second = (train(agent, ENVIRONMENT, 5 * 64, seed=2) for _ in range(2))
    for a, b in zip(jax.tree.leaves(first.state), jax.tree.leaves(second.state), strict=True):
        np.testing.assert_array_equal(a, b)
    other = train(agent, ENVIRONMENT, 5 * 64, seed=1)
    assert not np.array_equal(first.metrics["loss"], other.metrics["loss"])


def test_an_environments_keys_do_not_depend_on_how_many_there_are():
    few, many = row_keys(jax.random.key(0), 3), row_keys(jax.random.key(0), 7)
    np.testing.assert_array_equal(jax.random.key_data(few), jax.random.key_data(many)[:3])


def test_actions_are_drawn_with_keys_folded_from_the_count_of_real_steps():
    agent = small_agent("a2c", FeedForwardCore((4,))).bind(EnvironmentSpec.from_environment(ENVIRONMENT))
    keys, num_envs, num_slots = run_keys(0), 6, 12
    params = agent.acting_params(agent.init(keys.init))
    actors = start_actors(agent, ENVIRONMENT, keys, num_envs)
    act_in_slots = jax.jit(functools.partial(rollout, agent, ENVIRONMENT, num_slots=num_slots))
    trajectory, _ = act_in_slots(params, actors)
    timesteps = jax.tree.map(lambda leaf: leaf[:-1], trajectory.timesteps)
    live = ~np.asarray(timesteps.last())
    assert not live.all()
    num_steps = np.cumsum(live, axis=0) - live

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, 0, None))
    @functools.partial(jax.vmap, in_axes=(0, 0, 0))
    def act(timestep, num_steps, row):
        key = jax.random.fold_in(jax.random.fold_in(keys.acting, row), num_steps)
        return agent.act(params, timestep, agent.initial_actor_state(), key)[0].action

    actions = act(timesteps, num_steps, np.arange(num_envs))
    np.testing.assert_array_equal(actions[live], trajectory.actions[live])


def test_chunks_change_nothing_and_are_reported(monkeypatch):
    agent = small_agent("a2c", CORE)
    whole = train(agent, ENVIRONMENT, 7 * 64)
    monkeypatch.setattr(compiled_loop, "SLOTS_BETWEEN_VISITS", 3 * 64)
    calls = []
    chunked = train(
        agent, ENVIRONMENT, 7 * 64, on_chunk=lambda done, columns: calls.append((done, len(columns["loss"])))
    )
    assert calls == [(3, 3), (6, 3), (7, 1)]
    assert_trees_close(whole.state, chunked.state, 1e-6)
    for name in whole.metrics:
        np.testing.assert_allclose(whole.metrics[name], chunked.metrics[name], rtol=1e-5, atol=1e-6)


def test_an_equal_agent_is_not_compiled_again():
    def run():
        config = A2CConfig(num_envs=2, unroll_length=4, torso_sizes=(4,))
        agent = make_agent(core=LSTMCore(5), algorithm="a2c", config=config)
        return train(agent, MemoryChain(2), 8)

    run()
    size = compiled_loop._run_chunk._cache_size()
    run()
    assert compiled_loop._run_chunk._cache_size() == size


def test_steps_are_real_environment_steps():
    # Episodes of 4 transitions and a dead slot: 10 slots hold two episodes, 8 steps, in each environment.
    config = A2CConfig(num_envs=2, unroll_length=10, torso_sizes=(4,))
    agent = make_agent(core=CORE, algorithm="a2c", config=config)
    metrics = train(agent, ENVIRONMENT, 41).metrics
    np.testing.assert_array_equal(metrics["step"], [16, 32, 48])
    np.testing.assert_array_equal(metrics["steps"], [16, 16, 16])
    np.testing.assert_array_equal(metrics["episodes"], [4, 4, 4])
    np.testing.assert_array_equal(metrics["episode_length"], [4, 4, 4])
    assert (np.abs(metrics["episode_return"]) <= 1).all()


def test_episodes_are_tracked_over_trajectories():
    first, mid, last = (int(t) for t in (dm_env.StepType.FIRST, dm_env.StepType.MID, dm_env.StepType.LAST))
    types = np.asarray([first, mid, mid, last, first, mid, last, first], np.int32)
    rewards = np.asarray([0, 1, 2, 4, 0, 8, 16, 0], np.float32)
    timesteps = dm_env.TimeStep(types[:, None], rewards[:, None], np.ones((8, 1), np.float32), ())
    tracker, seen = start_tracker(1), []
    for begin, end in [(0, 2), (2, 5), (5, 7)]:  # slots; each window holds one time step more
        window = jax.tree.map(lambda x, b=begin, e=end: x[b : e + 1], timesteps)
        tracker, metrics = track_episodes(tracker, window)
        seen.append({name: float(value) for name, value in metrics.items()})
    assert [row["steps"] for row in seen] == [2, 2, 1]
    assert [row["episodes"] for row in seen] == [0, 1, 1]
    assert np.isnan(seen[0]["episode_return"])
    assert [row["episode_return"] for row in seen[1:]] == [7, 24]
    assert [row["episode_length"] for row in seen[1:]] == [3, 2]


def test_evaluation_runs_whole_episodes_with_a_fresh_memory():
    environment = ENVIRONMENT
    agent = make_agent(EnvironmentSpec.from_environment(environment), core=CORE)
    params = agent.acting_params(agent.init(jax.random.key(0)))
    for target in (environment, as_dm_env(environment, 0), [as_dm_env(environment, i) for i in range(3)]):
        evaluation = evaluate(agent, params, target, num_episodes=7)
        np.testing.assert_array_equal(np.abs(evaluation.episode_returns), np.ones(7))
        np.testing.assert_array_equal(evaluation.episode_lengths, np.full(7, 4))
    with pytest.raises(RuntimeError, match="max_episode_length=3"):
        evaluate(agent, params, environment, 2, max_episode_length=3)
    with pytest.raises(RuntimeError, match="max_episode_length=3"):
        evaluate(agent, params, as_dm_env(environment, 0), 2, max_episode_length=3)


def test_evaluation_agrees_between_loops():
    agent = small_agent("a2c", CORE, **OBSERVED).bind(EnvironmentSpec.from_environment(ENVIRONMENT))
    params = agent.acting_params(agent.init(jax.random.key(1)))
    keys = row_keys(run_keys(4).environments, 6)
    compiled = evaluate(agent, params, ENVIRONMENT, 6, seed=4)
    hosted = evaluate(agent, params, [as_dm_env(ENVIRONMENT, key) for key in keys], 6, seed=4)
    np.testing.assert_array_equal(compiled.episode_returns, hosted.episode_returns)


def test_bad_arguments_are_named():
    agent = small_agent("a2c", FeedForwardCore((4,)))
    hosts = [as_dm_env(ENVIRONMENT, i) for i in range(2)]
    with pytest.raises(ValueError, match="num_steps must be an integer of at least 1, got 0"):
        train(agent, ENVIRONMENT, 0)
    with pytest.raises(ValueError, match="num_seeds must be an integer of at least 1, got 0"):
        train(agent, ENVIRONMENT, 1, num_seeds=0)
    with pytest.raises(ValueError, match="num_seeds must be 1 on host environments, got 2"):
        train(agent, hosts, 1, num_seeds=2)
    with pytest.raises(ValueError, match="num_envs must be None or 2, the number of those given, got 3"):
        train(agent, DmEnvBatch(hosts), 1, num_envs=3)
    with pytest.raises(TypeError, match="environment must be a JaxEnvironment"):
        train(agent, "memory_chain", 1)
    with pytest.raises(ValueError, match="bound to another environment"):
        train(agent.bind(EnvironmentSpec.from_environment(KnownValues())), ENVIRONMENT, 1)
    for seed in (-1, 2**32, 1.5, None, True):
        with pytest.raises(ValueError, match="seed must be an integer from 0"):
            train(agent, ENVIRONMENT, 1, seed=seed)
    with pytest.raises(ValueError, match="seed must be an integer from 0"):
        train(agent, ENVIRONMENT, 1, seed=2**32 - 1, num_seeds=2)
    with pytest.raises(ValueError, match="num_episodes"):
        evaluate(agent, {}, ENVIRONMENT, 0)
    result = train(agent, ENVIRONMENT, 1)
    with pytest.raises(ValueError, match="index must be"):
        result.seed(0)
