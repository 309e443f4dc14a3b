"""PPO: the loss is the paper's, an update goes over every sequence and stops in time."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents import OBSERVED, SPEC, amid_episodes, small_agent, subject_of

from s5rl.agents import PPOConfig
from s5rl.agents.sequences import minibatch_places, take_minibatch
from s5rl.cores import FeedForwardCore, LSTMCore

CORE = LSTMCore(8)
SMALL = FeedForwardCore((4,))  # where memory does not matter, for the sake of compilation
KEY = jax.random.key(0)


def ppo(core=CORE, **settings):
    return small_agent("ppo", core, **OBSERVED, **settings).bind(SPEC)


@functools.cache
def window(core=CORE):
    """What the settings of an algorithm do not change: fresh parameters, and what they did."""
    subject = subject_of("ppo", core, **OBSERVED)
    return subject.state, amid_episodes(subject)


@functools.cache
def sequences_of_window():
    return jax.jit(ppo()._sequences)(window()[0].params, window()[1])


def assert_equal_trees(left, right):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(a, b)


def assert_close_trees(left, right):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value_clip", [None, 0.05])
@pytest.mark.parametrize("normalize_advantages", [False, True])
def test_the_loss_is_that_of_a_numpy_loop(value_clip, normalize_advantages):
    agent = ppo(
        value_clip=value_clip, normalize_advantages=normalize_advantages, entropy_cost=0.1, value_cost=0.7
    )
    state, trajectory = window()
    sequences = sequences_of_window()
    params = jax.tree.map(lambda leaf: 4.0 * leaf, state.params)  # far enough for both clips
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


def test_an_epoch_holds_every_sequence_once():
    epochs = [minibatch_places(jax.random.key(seed), 12, 3) for seed in range(5)]
    for places in epochs:
        assert places.shape == (3, 4)
        np.testing.assert_array_equal(np.sort(places, axis=0), np.arange(3)[:, None].repeat(4, axis=1))
        assert len({tuple(column) for column in np.asarray(places).T}) > 1  # each group has its own order
    assert len({places.tobytes() for places in map(np.asarray, epochs)}) == 5


def test_a_sequence_is_in_each_minibatch_equally_often():
    places = np.stack([minibatch_places(jax.random.key(seed), 6, 3) for seed in range(600)])
    for place in range(3):
        np.testing.assert_allclose((places == place).mean(axis=0), 1 / 3, atol=0.08)


def test_a_minibatch_holds_whole_sequences_with_their_own_memory():
    sequences = sequences_of_window()
    picked = take_minibatch(sequences, jnp.asarray([1, 0]))
    for field in ("seen", "live", "raw_action", "log_prob", "value", "advantage"):
        for whole, part in zip(
            jax.tree.leaves(getattr(sequences, field)), jax.tree.leaves(getattr(picked, field)), strict=True
        ):
            np.testing.assert_array_equal(part, np.asarray(whole)[:, [1, 2]])
    for whole, part in zip(
        jax.tree.leaves(sequences.core_state), jax.tree.leaves(picked.core_state), strict=True
    ):
        np.testing.assert_array_equal(part, np.asarray(whole)[[1, 2]])


def test_a_large_kl_stops_the_epochs():
    state, trajectory = window(SMALL)

    def update(**settings):
        return jax.jit(ppo(SMALL, **settings).update)(state, trajectory, KEY)

    after_one, metrics = update(num_epochs=1)
    assert metrics["epochs"] == 1
    assert metrics["approximate_kl"] > 1e-9
    stopped, metrics = update(num_epochs=4, max_kl=1e-9)
    assert metrics["epochs"] == 1
    assert_close_trees(after_one, stopped)
    after_four, metrics = update(num_epochs=4)
    assert metrics["epochs"] == 4
    never, metrics = update(num_epochs=4, max_kl=1e9)
    assert metrics["epochs"] == 4
    assert_close_trees(after_four, never)


def test_seeds_in_parallel_stop_each_on_its_own():
    state, trajectory = window(SMALL)
    # The second one has no rewards: its policy moves otherwise.
    timesteps = trajectory.timesteps
    unpaid = trajectory._replace(timesteps=timesteps._replace(reward=0.0 * timesteps.reward))
    settings = {"num_epochs": 4, "normalize_advantages": False}
    first_epoch = jax.jit(ppo(SMALL, **{**settings, "num_epochs": 1}).update)
    limits = [float(first_epoch(state, each, KEY)[1]["approximate_kl"]) for each in (trajectory, unpaid)]
    assert limits[0] != limits[1]
    agent = ppo(SMALL, **settings, max_kl=sum(limits) / 2)
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), trajectory, unpaid)
    together = jax.jit(jax.vmap(agent.update, in_axes=(None, 0, None)))(state, both, KEY)
    assert 1 in together[1]["epochs"]
    assert together[1]["epochs"][0] != together[1]["epochs"][1]
    update = jax.jit(agent.update)
    for index, alone in enumerate((trajectory, unpaid)):
        picked = jax.tree.map(lambda leaf, index=index: leaf[index], together)
        assert_close_trees(picked, update(state, alone, KEY))


def test_the_learning_rate_falls_to_zero_over_its_own_horizon():
    agent = ppo(SMALL, annealing_updates=2)
    _, trajectory = window(SMALL)
    update = jax.jit(agent.update)
    first, _ = update(agent.init(KEY), trajectory, KEY)
    second, _ = update(first, trajectory, KEY)
    third, _ = update(second, trajectory, KEY)
    with pytest.raises(AssertionError):
        assert_equal_trees(first.params, second.params)
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
        ("sequence_length", 0),
        ("sequence_length", 48),
        ("refresh_states", 1),
    ]:
        with pytest.raises(ValueError, match=name):
            PPOConfig(**{name: value})
    with pytest.raises(
        ValueError, match="got num_minibatches=4, and 10 sequences of 128 slots in num_envs=10"
    ):
        PPOConfig(num_envs=10, num_minibatches=4)
    with pytest.raises(
        ValueError, match="got num_minibatches=3, and 20 sequences of 64 slots in num_envs=10"
    ):
        PPOConfig(num_envs=10, num_minibatches=3, sequence_length=64)
    for sequence_length in (None, 128):
        with pytest.raises(ValueError, match="refresh_states needs a sequence_length below unroll_length"):
            PPOConfig(refresh_states=True, sequence_length=sequence_length)
    state, trajectory = window(SMALL)
    with pytest.raises(ValueError, match="a trajectory of 4 sequences and num_minibatches=8"):
        ppo(SMALL, num_minibatches=8).update(state, trajectory, KEY)
    with pytest.raises(ValueError, match="whole sequences, got 8 slots and sequence_length=5"):
        ppo(SMALL, unroll_length=10, sequence_length=5).update(state, trajectory, KEY)


def test_table_4():
    config = PPOConfig.popgym()
    assert (config.learning_rate, config.num_envs, config.unroll_length) == (5e-5, 64, 1024)
    assert (config.num_epochs, config.num_minibatches) == (30, 8)
    assert (config.discount, config.gae_lambda, config.policy_clip) == (0.99, 1.0, 0.2)
    assert (config.entropy_cost, config.value_cost, config.max_gradient_norm) == (0.0, 1.0, 0.5)
    assert config.annealing_updates is None
    assert config.activation == "leaky_relu"
    assert (config.torso_sizes, config.policy_sizes, config.value_sizes) == (
        (128, 256),
        (128, 128),
        (128, 128),
    )
    assert config.observe_previous_action
    assert config.observe_is_first
