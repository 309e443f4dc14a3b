"""Muesli: the loss is that of a plain loop over slots, the target network follows, the replay replays."""

from __future__ import annotations

import dataclasses
import functools
import sys

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents import OBSERVED, SPEC, amid_episodes, small_agent, subject_of, take_rows

from s5rl.agents import MuesliConfig
from s5rl.agents.muesli_replay import add_to_replay, init_replay, mix_with_replay
from s5rl.agents.muesli_targets import make_targets
from s5rl.cores import FeedForwardCore, LSTMCore
from s5rl.losses import SecondMoment

SMALL = FeedForwardCore((4,))  # where memory does not matter, for the sake of compilation
LAST = int(dm_env.StepType.LAST)
KEY = jax.random.key(0)
LENGTH = 3
"""Actions that the model follows."""


def muesli(core=SMALL, **settings):
    return small_agent("muesli", core, **OBSERVED, **settings).bind(SPEC)


@functools.cache
def window():
    """An agent with an LSTM, parameters, others that act, and what was done amid episodes by a third one."""
    agent = muesli(LSTMCore(8), model_unroll_length=LENGTH, bootstrap="value", num_envs=4, unroll_length=8)
    trajectory = amid_episodes(subject_of("muesli", LSTMCore(8), **OBSERVED))
    # Far enough from each other and from the uniform policy for ratios, distances and clips to matter.
    params, target_params = (
        jax.tree.map(lambda leaf: 3.0 * leaf, agent.init(jax.random.key(seed)).params) for seed in (3, 4)
    )
    return agent, params, target_params, trajectory


def softmax(logits):
    exps = np.exp(logits - logits.max())
    return exps / exps.sum()


@functools.cache
def predictions():
    """What both networks say of each time step, and of each sequence of actions from there, as numbers."""
    agent, params, target_params, trajectory = window()
    network, seen = agent.network, agent.inputs.of_trajectory(trajectory)
    initial = trajectory.initial_state.core_state

    @jax.jit
    def follow(params, memory, raw_actions):
        state, outputs = network.start_model(params, memory), []
        for raw_action in raw_actions:
            output, state = network.step_model(params, state, raw_action)
            outputs.append(output)
        return outputs

    unroll = jax.jit(network.unroll)
    online, prior = (unroll(p, seen, initial)[0] for p in (params, target_params))
    return online, prior, follow


def decode(logits):
    config = window()[0].config
    support = np.linspace(-config.max_value, config.max_value, config.num_bins)
    mean = (softmax(np.asarray(logits, np.float64)) * support).sum()
    # The inverse of h, by bisection.
    low, high = -1e4, 1e4
    for _ in range(200):
        middle = (low + high) / 2
        h = np.sign(middle) * (np.sqrt(abs(middle) + 1) - 1) + 1e-3 * middle
        low, high = (middle, high) if h < mean else (low, middle)
    return low


def cross_entropy(logits, scalar):
    config = window()[0].config
    h = np.sign(scalar) * (np.sqrt(abs(scalar) + 1) - 1) + 1e-3 * scalar
    place = (np.clip(h, -config.max_value, config.max_value) + config.max_value) / (
        2 * config.max_value / (config.num_bins - 1)
    )
    labels = np.maximum(0.0, 1.0 - np.abs(np.arange(config.num_bins) - place))
    return -(labels * np.log(softmax(np.asarray(logits, np.float64)))).sum()


@functools.cache
def plain_loop():
    """The loss and its parts, slot by slot in numpy."""
    agent, params, target_params, trajectory = window()
    config, (online, prior, follow) = agent.config, predictions()
    step_type, reward, discount = (np.asarray(x, np.float64) for x in trajectory.timesteps[:3])
    raw_action = np.asarray(trajectory.extras["raw_action"])
    behaviour = np.asarray(trajectory.extras["log_prob"], np.float64)
    num_slots, num_rows = behaviour.shape
    values = np.vectorize(decode, signature="(n)->()")(prior.value_logits)
    priors = np.apply_along_axis(softmax, -1, np.asarray(prior.policy, np.float64))
    policies = np.apply_along_axis(softmax, -1, np.asarray(online.policy, np.float64))
    live = [(t, b) for b in range(num_rows) for t in range(num_slots) if step_type[t, b] != LAST]

    q = np.zeros((num_slots + 1, num_rows, 2))
    for t, b, a in np.ndindex(q.shape):
        (output,) = follow(target_params, prior.memory[t, b], [jnp.array([a])])
        q[t, b, a] = decode(output.reward_logits) + config.discount * decode(output.value_logits)

    returns = {}
    for t, b in sorted(live, reverse=True):
        following = values[t + 1, b]
        if (t + 1, b) in returns:
            a = raw_action[t + 1, b, 0]
            ratio = priors[t + 1, b, a] / np.exp(behaviour[t + 1, b])
            trace = config.retrace_lambda * min(1.0, ratio)
            following += trace * (returns[t + 1, b] - q[t + 1, b, a])
        returns[t, b] = reward[t + 1, b] + config.discount * discount[t + 1, b] * following
    sigma = np.sqrt(np.mean([(returns[s] - values[s]) ** 2 for s in live]))

    cmpo = priors * np.exp(np.clip((q - values[..., None]) / sigma, -config.cmpo_clip, config.cmpo_clip))
    cmpo /= cmpo.sum(axis=-1, keepdims=True)

    def target(t, b):
        if (t, b) in returns:
            return returns[t, b]
        return values[t, b] * (discount[t, b] if step_type[t, b] == LAST else 1.0)

    policy_losses, cmpo_losses, root_losses = [], [], []
    rewards, model_values, model_policies = ([[] for _ in range(LENGTH)] for _ in range(3))
    for t, b in live:
        a = raw_action[t, b, 0]
        ratio = policies[t, b, a] / np.exp(behaviour[t, b])
        advantage = (returns[t, b] - values[t, b]) / sigma
        policy_losses.append(-min(1.0, ratio) * np.log(policies[t, b, a]) * advantage)
        cmpo_losses.append((cmpo[t, b] * np.log(cmpo[t, b] / policies[t, b])).sum())
        root_losses.append(cross_entropy(online.value_logits[t, b], returns[t, b]))
        for k in range(LENGTH):
            if (t + k, b) not in returns:
                break
            actions = [jnp.asarray(raw_action[t + j, b]) for j in range(k + 1)]
            output, state = follow(params, online.memory[t, b], actions)[-1], (t + k + 1, b)
            rewards[k].append(cross_entropy(output.reward_logits, reward[state]))
            model_values[k].append(cross_entropy(output.value_logits, target(*state)))
            if step_type[state] != LAST:
                policy = softmax(np.asarray(output.policy, np.float64))
                model_policies[k].append((cmpo[state] * np.log(cmpo[state] / policy)).sum())
    assert all(len(losses) > 0 for losses in model_policies)
    assert len(rewards[2]) < len(rewards[1]) < len(rewards[0])  # ends of episodes are masked
    means = [[np.mean(x) for x in losses] for losses in (rewards, model_values, model_policies)]
    return {
        "policy_loss": np.mean(policy_losses),
        "cmpo_loss": np.mean(cmpo_losses),
        "reward_loss": np.mean(means[0]),
        "value_loss": np.mean([np.mean(root_losses), *means[1]]),
        "model_policy_loss": np.mean(means[2]),
        "advantage_scale": sigma,
    }


def loss_and_scale(agent, params, target_params, trajectory):
    sequences = agent._sequences(trajectory)
    targets, _ = make_targets(agent.config, agent.network, target_params, SecondMoment.zero(), sequences, KEY)
    loss, metrics = agent._loss(params, targets, sequences)
    return loss, {**metrics, "advantage_scale": targets.scale}


@pytest.mark.parametrize("costs", [(1.0, 1.0, 1.0, 0.25), (0.5, 3.0, 0.7, 2.0)])
def test_the_loss_is_that_of_a_plain_loop(costs):
    agent, params, target_params, trajectory = window()
    names = ("cmpo_cost", "model_cost", "reward_cost", "value_cost")
    config = dataclasses.replace(agent.config, **dict(zip(names, costs, strict=True)))
    agent = dataclasses.replace(agent, config=config)
    loss, metrics = jax.jit(functools.partial(loss_and_scale, agent))(params, target_params, trajectory)
    expected = plain_loop()
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=2e-4, err_msg=name)
    parts = [expected[name] for name in ("cmpo_loss", "model_policy_loss", "reward_loss", "value_loss")]
    np.testing.assert_allclose(loss, expected["policy_loss"] + np.dot(costs, parts), rtol=2e-4)


def test_the_mean_of_action_values_may_stand_for_the_value():
    agent, _, target_params, trajectory = window()
    config = dataclasses.replace(agent.config, bootstrap="action_values", retrace_lambda=0.0)
    sequences = agent._sequences(trajectory)
    targets, _ = make_targets(config, agent.network, target_params, SecondMoment.zero(), sequences, KEY)
    _, prior, follow = predictions()
    t, b = 2, 1
    assert trajectory.timesteps.step_type[t, b] != LAST
    assert trajectory.timesteps.step_type[t + 1, b] != LAST
    outputs = [follow(target_params, prior.memory[t + 1, b], [jnp.array([a])])[0] for a in range(2)]
    q = [decode(o.reward_logits) + config.discount * decode(o.value_logits) for o in outputs]
    mean = np.dot(softmax(np.asarray(prior.policy[t + 1, b], np.float64)), q)
    expected = float(trajectory.timesteps.reward[t + 1, b]) + config.discount * mean
    np.testing.assert_allclose(targets.value[t, b], expected, rtol=1e-3)


@functools.cache
def learned(**settings):
    agent = muesli(num_envs=4, unroll_length=8, **settings)
    state = agent.init(KEY)
    after, metrics = jax.jit(agent.update)(state, window()[3]._replace(initial_state=memory_of(agent)), KEY)
    return agent, state, after, metrics


def memory_of(agent):
    return agent.initial_actor_state(4)


def test_the_target_network_follows_acts_and_is_the_prior():
    agent, before, after, _ = learned(num_minibatches=1, num_epochs=1, target_update_rate=0.25)
    for old, new, target in zip(
        *map(jax.tree.leaves, (before.params, after.params, after.carry.target_params)), strict=True
    ):
        np.testing.assert_allclose(target, 0.75 * old + 0.25 * new, rtol=1e-5, atol=1e-7)
    acting = jax.tree.leaves(agent.acting_params(after))
    for leaf, target in zip(acting, jax.tree.leaves(after.carry.target_params), strict=True):
        np.testing.assert_array_equal(leaf, target)  # a memoryless core has nothing to prepare


def test_no_element_of_an_update_is_larger_than_allowed():
    _, before, after, _ = learned(num_minibatches=1, num_epochs=1, learning_rate=0.01, max_update=0.5)
    changes = [
        jnp.abs(a - b).max()
        for a, b in zip(*map(jax.tree.leaves, (before.params, after.params)), strict=True)
    ]
    np.testing.assert_allclose(
        max(changes), 0.005, rtol=1e-3
    )  # Adam's first steps are 1 where there is a gradient


def test_an_update_takes_a_step_for_each_minibatch_of_each_epoch():
    _, _, after, _ = learned(num_minibatches=2, num_epochs=3)
    np.testing.assert_allclose(after.carry.error_moment.decay_product, 0.99**6, rtol=1e-5)


def test_the_learning_rate_falls_to_zero():
    _, _, after_one, _ = learned(num_minibatches=1, num_epochs=2, annealing_updates=1)
    _, _, kept, _ = learned(num_minibatches=1, num_epochs=2)
    count = next(leaf for leaf in jax.tree.leaves(after_one.opt_state) if leaf.dtype == jnp.int32)
    assert count == 2
    agent = muesli(num_envs=4, unroll_length=8, num_minibatches=1, num_epochs=2, annealing_updates=1)
    trajectory = window()[3]._replace(initial_state=memory_of(agent))
    after_two, _ = jax.jit(agent.update)(after_one, trajectory, KEY)
    jax.tree.map(np.testing.assert_array_equal, after_two.params, after_one.params)
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(kept.params), jax.tree.leaves(after_one.params), strict=True)
    )


REPLAY = {"replay_fraction": 0.5, "replay_capacity": 8, "num_minibatches": 2}


def test_a_minibatch_holds_replayed_rows_behind_its_own():
    agent = muesli(LSTMCore(8), num_envs=4, unroll_length=8, **REPLAY)
    assert agent.config.num_replayed(2) == 2
    trajectory = window()[3]
    sequences = agent._sequences(trajectory)
    replay = init_replay(agent.config, agent, agent.init(KEY).params)
    for shift in (0.0, 10.0):  # two updates' rows, told apart by their log-probabilities
        replay = add_to_replay(agent.config, replay, sequences._replace(log_prob=sequences.log_prob - shift))
    minibatch = take_rows(sequences, jnp.array([1, 3]))
    seen_before, seen_now = set(), set()
    for seed in range(20):
        mixed = mix_with_replay(agent.config, replay, minibatch, jax.random.key(seed))
        own, replayed = take_rows(mixed, jnp.arange(2)), take_rows(mixed, jnp.arange(2, 4))
        jax.tree.map(np.testing.assert_array_equal, own, minibatch)
        for row in range(2):
            is_old = np.asarray(replayed.log_prob[:, row]).min() > -5
            original = replayed._replace(log_prob=replayed.log_prob + (0.0 if is_old else 10.0))
            matches = [
                index
                for index in range(4)
                if all(
                    np.allclose(a, b, atol=1e-4)
                    for a, b in zip(
                        jax.tree.leaves(take_rows(original, jnp.array([row]))),
                        jax.tree.leaves(take_rows(sequences, jnp.array([index]))),
                        strict=True,
                    )
                )
            ]
            assert matches
            (seen_before if is_old else seen_now).update(matches)
    assert seen_before == seen_now == {0, 1, 2, 3}
    # The share is that of the rows there are, which may be others than the config's.
    every_row = mix_with_replay(agent.config, replay, sequences, KEY)
    assert every_row.log_prob.shape[1] == 4 + 4


def test_replay_is_off_by_default_and_learns_where_it_is_on():
    _, before, _, _ = learned()
    assert before.carry.replay == ()
    agent, before, after, metrics = learned(**REPLAY)
    assert all(np.isfinite(value) for value in metrics.values())
    sizes = [np.shape(leaf) for leaf in jax.tree.leaves(before.carry.replay)]
    assert sizes == [np.shape(leaf) for leaf in jax.tree.leaves(after.carry.replay)]
    # Of the same state, with the rows of the first update in the replay and without them.
    trajectory = window()[3]._replace(initial_state=memory_of(agent))
    timesteps = trajectory.timesteps
    other = trajectory._replace(timesteps=timesteps._replace(reward=timesteps.reward + 1.0))
    emptied = after._replace(carry=after.carry._replace(replay=before.carry.replay))
    update = jax.jit(agent.update)
    with_past, without = (update(state, other, KEY)[1]["reward_loss"] for state in (after, emptied))
    assert abs(with_past - without) > 1e-3


def test_replay_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "flashbax", None)
    with pytest.raises(ImportError, match=r"pip install 's5rl\[replay\]'"):
        muesli(**REPLAY)


def test_settings_are_checked():
    for name, value in [
        ("num_epochs", 0),
        ("target_update_rate", 1.5),
        ("moment_decay", 1.0),
        ("cmpo_clip", 0.0),
        ("num_samples", 0),
        ("model_unroll_length", 0),
        ("model_cost", -1.0),
        ("bootstrap", "none"),
        ("max_update", 0.0),
        ("annealing_updates", 0),
        ("replay_fraction", 1.0),
        ("replay_capacity", 0),
    ]:
        with pytest.raises(ValueError, match=name):
            MuesliConfig(**{name: value})
    with pytest.raises(ValueError, match=r"num_minibatches must divide num_envs, got num_minibatches=3"):
        MuesliConfig(num_envs=16, num_minibatches=3)
    with pytest.raises(ValueError, match="replay_capacity must hold the 16 rows"):
        MuesliConfig(num_envs=16, replay_fraction=0.5, replay_capacity=15)
    with pytest.raises(ValueError, match=r"replay_fraction=0\.01 is too small"):
        MuesliConfig(replay_fraction=0.01)


def test_projected_dm_control_is_table_5():
    config = MuesliConfig.projected_dm_control()
    assert (config.learning_rate, config.value_cost, config.model_cost) == (3e-4, 1.0, 3.0)
    assert (config.model_unroll_length, config.discount, config.replay_fraction) == (1, 0.995, 0.0)
    assert (config.num_envs, config.unroll_length, config.torso_sizes) == (1024, 1001, (512, 512))
