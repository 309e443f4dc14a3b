"""PPO: ratios start at 1, the loss is the paper's, an update goes over every sequence and stops in time."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents import OBSERVED, SPEC, second_window, small_agent
from cores import CORES

from s5rl.agents import PPOConfig, make_agent
from s5rl.agents.ppo import minibatch_rows
from s5rl.cores import FeedForwardCore, LSTMCore

CORE = LSTMCore(8)
KEY = jax.random.key(0)


def ppo(core=CORE, **settings):
    return small_agent("ppo", core, **settings).bind(SPEC)


def assert_equal_trees(left, right):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("core", CORES.values(), ids=CORES)
def test_before_the_first_gradient_step_every_ratio_is_one(core):
    # The clip fraction counts the ratios that are further from 1 than policy_clip; nothing is learned between
    # the minibatches.
    agent = ppo(core, policy_clip=1e-5, num_epochs=1, learning_rate=1e-12, **OBSERVED)
    state, trajectory, *_ = second_window(agent)
    assert not trajectory.timesteps.first()[0].all()
    assert trajectory.timesteps.first()[1:].any()
    update = jax.jit(agent.update)
    assert update(state, trajectory, KEY)[1]["clip_fraction"] == 0.0

    # The law finds a memory or an input that is not the actor's.
    before = trajectory.initial_state
    wrong_memory = before._replace(core_state=jax.tree.map(lambda leaf: leaf + 1, before.core_state))
    wrong_input = before._replace(previous_action=1 - before.previous_action)
    faults = [wrong_input] if isinstance(core, FeedForwardCore) else [wrong_input, wrong_memory]
    for fault in faults:
        metrics = update(state, trajectory._replace(initial_state=fault), KEY)[1]
        assert metrics["clip_fraction"] > 0.0


@pytest.mark.parametrize("value_clip", [None, 0.05])
@pytest.mark.parametrize("normalize_advantages", [False, True])
def test_the_loss_is_that_of_a_numpy_loop(value_clip, normalize_advantages):
    agent = ppo(
        value_clip=value_clip, normalize_advantages=normalize_advantages, entropy_cost=0.1, value_cost=0.7
    )
    state, trajectory, *_ = second_window(agent)
    sequences = agent._sequences(state.params, trajectory)
    params = jax.tree.map(lambda leaf: 1.5 * leaf, state.params)  # far enough for both clips
    loss, metrics = agent._loss(params, sequences)

    output, _ = agent.network.unroll(params, sequences.seen, sequences.core_state)
    logits = np.asarray(output.policy, np.float64)
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    live = np.argwhere(~np.asarray(trajectory.timesteps.last()[:-1]))
    advantages = np.asarray([sequences.advantage[t, b] for t, b in live], np.float64)
    returns = advantages + np.asarray([sequences.value[t, b] for t, b in live], np.float64)
    if normalize_advantages:
        advantages = (advantages - advantages.mean()) / advantages.std()
    policy_losses, value_losses, entropies, clipped = [], [], [], []
    for (t, b), advantage, target in zip(live, advantages, returns, strict=True):
        taken = trajectory.extras["raw_action"][t, b, 0]
        ratio = np.exp(log_probs[t, b, taken] - float(trajectory.extras["log_prob"][t, b]))
        policy_losses.append(-min(ratio * advantage, min(max(ratio, 0.8), 1.2) * advantage))
        clipped.append(abs(ratio - 1) > 0.2)
        value, old = float(output.value[t, b]), float(sequences.value[t, b])
        errors = [(value - target) ** 2]
        if value_clip is not None:
            errors.append((old + min(max(value - old, -value_clip), value_clip) - target) ** 2)
        value_losses.append(max(errors))
        entropies.append(-(np.exp(log_probs[t, b]) * log_probs[t, b]).sum())
    expected = np.mean(policy_losses) + 0.7 * np.mean(value_losses) - 0.1 * np.mean(entropies)
    assert any(clipped)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["policy_loss"], np.mean(policy_losses), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["value_loss"], np.mean(value_losses), rtol=1e-5)
    np.testing.assert_allclose(metrics["entropy"], np.mean(entropies), rtol=1e-5)
    np.testing.assert_allclose(metrics["clip_fraction"], np.mean(clipped), rtol=1e-5)


@pytest.mark.parametrize("nonsense", [np.nan, np.inf, -1e9, 1e9])
def test_whatever_stands_in_dead_slots_no_gradient_comes_of_it(nonsense):
    agent = ppo()
    state, trajectory, *_ = second_window(agent)
    dead = trajectory.timesteps.last()[:-1]
    assert dead.any()
    extras = {
        "raw_action": jnp.where(dead[..., None], 1 - trajectory.extras["raw_action"], trajectory.extras["raw_action"]),
        "log_prob": jnp.where(dead, nonsense, trajectory.extras["log_prob"]),
    }
    update = jax.jit(agent.update)
    assert_equal_trees(
        update(state, trajectory, KEY), update(state, trajectory._replace(extras=extras), KEY)
    )


def test_an_epoch_holds_every_sequence_once():
    epochs = [minibatch_rows(jax.random.key(seed), 12, 3) for seed in range(5)]
    for rows in epochs:
        assert rows.shape == (3, 4)
        np.testing.assert_array_equal(np.sort(rows.reshape(-1)), np.arange(12))
    assert len({rows.tobytes() for rows in map(np.asarray, epochs)}) == 5


def test_a_minibatch_holds_whole_sequences_with_their_own_memory():
    agent = ppo(**OBSERVED)
    state, trajectory, *_ = second_window(agent)
    sequences = agent._sequences(state.params, trajectory)
    picked = sequences.rows(jnp.asarray([2, 0]))
    for field in ("seen", "live", "raw_action", "log_prob", "value", "advantage"):
        for whole, part in zip(
            jax.tree.leaves(getattr(sequences, field)), jax.tree.leaves(getattr(picked, field)), strict=True
        ):
            np.testing.assert_array_equal(part, np.asarray(whole)[:, [2, 0]])
    for whole, part in zip(
        jax.tree.leaves(sequences.core_state), jax.tree.leaves(picked.core_state), strict=True
    ):
        np.testing.assert_array_equal(part, np.asarray(whole)[[2, 0]])


def test_a_large_kl_stops_the_epochs():
    one, many = ppo(num_epochs=1), ppo(num_epochs=4)
    state, trajectory, *_ = second_window(one)

    def update(agent, **settings):
        agent = dataclasses.replace(agent, config=dataclasses.replace(agent.config, **settings))
        return jax.jit(agent.update)(state, trajectory, KEY)

    after_one, metrics = update(one)
    assert metrics["epochs"] == 1
    assert metrics["approximate_kl"] > 1e-9
    stopped, metrics = update(many, max_kl=1e-9)
    assert metrics["epochs"] == 1
    for a, b in zip(jax.tree.leaves(after_one), jax.tree.leaves(stopped), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    never, metrics = update(many, max_kl=1e9)
    assert metrics["epochs"] == 4
    after_four, metrics = update(many)
    assert metrics["epochs"] == 4
    for a, b in zip(jax.tree.leaves(after_four), jax.tree.leaves(never), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_seeds_in_parallel_stop_each_on_its_own():
    agent = ppo(num_epochs=4, num_minibatches=2)
    state, trajectory, *_ = second_window(agent)
    _, metrics = jax.jit(agent.update)(state, trajectory, KEY)
    agent = ppo(num_epochs=4, num_minibatches=2, max_kl=float(metrics["approximate_kl"]))
    # The second of them learns from flat rewards, hence from small advantages that are not normalised.
    agent = dataclasses.replace(agent, config=dataclasses.replace(agent.config, normalize_advantages=False))
    flat = trajectory._replace(timesteps=trajectory.timesteps._replace(reward=0 * trajectory.timesteps.reward))
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), trajectory, flat)
    together, metrics = jax.jit(jax.vmap(agent.update, in_axes=(None, 0, None)))(state, both, KEY)
    for index, window in enumerate((trajectory, flat)):
        alone, expected = jax.jit(agent.update)(state, window, KEY)
        assert metrics["epochs"][index] == expected["epochs"]
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[index], b, rtol=1e-4, atol=1e-5)


def test_the_learning_rate_falls_to_zero_over_its_own_horizon():
    agent = ppo(annealing_updates=2)
    state, trajectory, *_ = second_window(agent)
    update = jax.jit(agent.update)
    first, _ = update(state, trajectory, KEY)
    second, _ = update(first, trajectory, KEY)
    third, _ = update(second, trajectory, KEY)
    assert not np.array_equal(first.params["value"]["mlp/~/linear_0"]["w"], second.params["value"]["mlp/~/linear_0"]["w"])
    assert_equal_trees(second.params, third.params)
    rates = [float(agent._learning_rate(step)) for step in range(9)]
    np.testing.assert_allclose(rates, 3e-3 * np.clip(1 - np.arange(9) / 8, 0, 1), rtol=1e-5, atol=1e-9)


def test_bad_settings_are_named():
    for name, value in [
        ("num_epochs", 0),
        ("num_minibatches", 0),
        ("gae_lambda", 1.5),
        ("policy_clip", 0.0),
        ("value_clip", -1.0),
        ("normalize_advantages", 1),
        ("max_kl", 0.0),
        ("annealing_updates", 0),
        ("annealing_updates", 2.5),
    ]:
        with pytest.raises(ValueError, match=name):
            PPOConfig(**{name: value})
    with pytest.raises(ValueError, match="multiple of num_minibatches, got num_envs=10 and num_minibatches=4"):
        PPOConfig(num_envs=10, num_minibatches=4)
    agent = make_agent(SPEC, core=CORE, config=PPOConfig(num_minibatches=4))
    state, trajectory, *_ = second_window(agent, num_envs=6)
    with pytest.raises(ValueError, match="a trajectory of 6 environments and num_minibatches=4"):
        agent.update(state, trajectory, KEY)


def test_table_4():
    config = PPOConfig.popgym()
    assert (config.learning_rate, config.num_envs, config.unroll_length) == (5e-5, 64, 1024)
    assert (config.num_epochs, config.num_minibatches) == (30, 8)
    assert (config.discount, config.gae_lambda, config.policy_clip) == (0.99, 1.0, 0.2)
    assert (config.entropy_cost, config.value_cost, config.max_gradient_norm) == (0.0, 1.0, 0.5)
    assert config.annealing_updates is None
    assert config.activation == "leaky_relu"
    assert (config.torso_sizes, config.policy_sizes, config.value_sizes) == ((128, 256), (128, 128), (128, 128))
    assert config.observe_previous_action
    assert config.observe_is_first
