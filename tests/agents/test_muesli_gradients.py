"""Muesli's targets, losses and gradients where actions are drawn, and where they are multi-discrete.

Against a plain evaluation: targets by recursion in float64, the loss gathered slot by slot. The streams begin
dead, end at LAST, and hold terminated and truncated episodes, one of them of a single step.
"""

from __future__ import annotations

import functools

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from s5rl.agents import MuesliConfig, make_agent
from s5rl.agents.muesli_targets import make_targets
from s5rl.cores import LSTMCore
from s5rl.losses import SecondMoment
from s5rl.types import ActorState, EnvironmentSpec, Trajectory

F, M, L = range(3)
STEP_TYPES = np.array(
    [[F, M, M, L, F, M, M, M, M, M], [M, L, F, L, F, M, M, L, F, M], [L, F, M, M, M, L, F, M, M, L]]
).T
TERMINATED = [(1, 1), (5, 2), (0, 2)]
T, B = STEP_TYPES.shape[0] - 1, STEP_TYPES.shape[1]
LIVE = [(t, b) for t in range(T) for b in range(B) if STEP_TYPES[t, b] != L]
ACTIONS = {
    "continuous": specs.BoundedArray((2,), np.float32, -1.0, 1.0),
    "multi-discrete": specs.BoundedArray((2,), np.int32, [0, 1], [2, 2]),
}
CONFIG = MuesliConfig(
    num_envs=B,
    unroll_length=T,
    torso_sizes=(5,),
    model_size=4,
    num_bins=11,
    max_value=3.0,
    model_unroll_length=3,
    num_samples=5,
    observe_previous_action=True,
    observe_previous_reward=True,
    cmpo_cost=0.7,
    model_cost=1.3,
    reward_cost=0.6,
    value_cost=0.8,
    cmpo_clip=0.5,
)
MOMENT = SecondMoment(jnp.float32(0.03), jnp.float32(0.9))
SUPPORT = np.linspace(-3.0, 3.0, 11)


def decode(logits):
    logits = np.asarray(logits, np.float64)
    probabilities = np.exp(logits - logits.max(axis=-1, keepdims=True))
    mean = (probabilities * SUPPORT).sum(axis=-1) / probabilities.sum(axis=-1)
    root = (-1 + np.sqrt(1 + 4e-3 * (1 + 1e-3 + abs(mean)))) / 2e-3  # sqrt(|x| + 1)
    return np.sign(mean) * (root**2 - 1)


def cross_entropies(logits, scalars):
    h = np.sign(scalars) * (np.sqrt(np.abs(scalars) + 1) - 1) + 1e-3 * np.asarray(scalars)
    places = (np.clip(h, -3, 3) + 3) / 0.6
    labels = np.maximum(0.0, 1.0 - np.abs(np.arange(11) - places[..., None]))
    return -(labels * jax.nn.log_softmax(logits)).sum(axis=-1)


@functools.cache
def case(kind):
    """The agent, its and the prior's parameters, and a trajectory on which a third network acted."""
    spec = EnvironmentSpec(specs.Array((3,), np.float32), ACTIONS[kind])
    agent = make_agent(spec, core=LSTMCore(6), algorithm="muesli", config=CONFIG)
    params, prior, behaviour = (
        jax.tree.map(lambda leaf: 2.5 * leaf, agent.init(jax.random.key(seed)).params) for seed in (1, 2, 3)
    )
    random = np.random.default_rng(0)
    discounts = np.ones(STEP_TYPES.shape)
    discounts[tuple(np.transpose(TERMINATED))] = 0.0
    rewards = np.where(STEP_TYPES == F, 0.0, random.normal(size=STEP_TYPES.shape))
    observations = random.normal(size=(*STEP_TYPES.shape, 3))
    timesteps = dm_env.TimeStep(
        jnp.asarray(STEP_TYPES, jnp.int32),
        *(jnp.asarray(x, float) for x in (rewards, discounts, observations)),
    )
    core_state = jax.tree.map(
        lambda leaf: jnp.asarray(0.3 * random.normal(size=leaf.shape), float), agent.core.initial_state(B)
    )
    start = memory = ActorState(core_state, agent.inputs.initial_action(B))
    act, outputs = jax.jit(agent.act), []
    for t in range(T):
        timestep = jax.tree.map(lambda leaf, t=t: leaf[t], timesteps)
        output, memory = act(behaviour, timestep, memory, jax.random.key(t))
        outputs.append(output)
    action, extras = jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)
    return agent, params, prior, Trajectory(timesteps, action, extras, start)


class Plain:
    """Targets by recursion."""

    def __init__(self, kind, candidates):
        agent, _, prior_params, self.trajectory = case(kind)
        network, head = agent.network, agent.network.head
        sequences = agent._sequences(self.trajectory)
        prior, _ = jax.jit(network.unroll)(prior_params, sequences.seen, sequences.core_state)
        raw, self.candidates = np.asarray(sequences.raw_action), candidates

        @jax.jit
        def follow(memory, raw_action):
            return network.step_model(prior_params, network.start_model(prior_params, memory), raw_action)[0]

        def action_values(memory, raw_action):
            output = follow(memory, raw_action)
            return decode(output.reward_logits) + CONFIG.discount * decode(output.value_logits)

        log_prob = jax.jit(head.log_prob)
        self.values = decode(prior.value_logits)
        q = np.stack([action_values(prior.memory, each) for each in candidates])
        log_priors = np.stack([np.asarray(log_prob(prior.policy, each), np.float64) for each in candidates])
        taken = action_values(prior.memory[:-1], raw)
        ratios = np.exp(np.asarray(log_prob(prior.policy[:-1], raw) - sequences.log_prob, np.float64))
        is_exact = kind == "multi-discrete"
        means = (np.exp(log_priors) * q).sum(axis=0) if is_exact else q.mean(axis=0)
        reward, discount = (np.asarray(x, np.float64) for x in self.trajectory.timesteps[1:3])
        self.reward, self.discount = reward, discount
        self.returns = {}
        for t, b in sorted(LIVE, reverse=True):
            following = means[t + 1, b]
            if (t + 1, b) in self.returns:
                trace = CONFIG.retrace_lambda * min(1.0, ratios[t + 1, b])
                following += trace * (self.returns[t + 1, b] - taken[t + 1, b])
            self.returns[t, b] = reward[t + 1, b] + CONFIG.discount * discount[t + 1, b] * following
        square = np.mean([(self.returns[slot] - self.values[slot]) ** 2 for slot in LIVE])
        self.scale = np.sqrt((0.99 * 0.03 + 0.01 * square) / (1 - 0.99 * 0.9))
        exps = np.exp(np.clip((q - self.values) / self.scale, -CONFIG.cmpo_clip, CONFIG.cmpo_clip))
        if is_exact:
            self.weights = np.exp(log_priors) * exps
            self.weights /= self.weights.sum(axis=0)
        else:
            self.weights = np.stack([each / (1 + exps.sum(axis=0) - each) for each in exps])
        self.is_exact = is_exact

    def target(self, t, b):
        if (t, b) in self.returns:
            return self.returns[t, b]
        is_last = STEP_TYPES[t, b] == L
        return self.values[t, b] * (self.discount[t, b] if is_last else 1.0)

    def distances(self, head, policies, slots):
        t, b = map(np.array, zip(*slots, strict=True))
        weights = self.weights[:, t, b]
        logs = jnp.stack([head.log_prob(policies, jnp.asarray(each[t, b])) for each in self.candidates])
        entropies = (weights * np.log(weights)).sum(axis=0) if self.is_exact else 0.0
        return entropies - (weights * logs).sum(axis=0)

    def loss(self, agent, params):
        network, sequences = agent.network, agent._sequences(self.trajectory)
        head, raw, reward = network.head, sequences.raw_action, self.reward
        online, _ = network.unroll(params, sequences.seen, sequences.core_state)
        t, b = map(np.array, zip(*LIVE, strict=True))
        log_prob = head.log_prob(online.policy[t, b], raw[t, b])
        advantages = np.array([(self.returns[slot] - self.values[slot]) / self.scale for slot in LIVE])
        weights = jax.lax.stop_gradient(jnp.minimum(1.0, jnp.exp(log_prob - sequences.log_prob[t, b])))
        policy = -(weights * log_prob * advantages).mean()
        cmpo = self.distances(head, online.policy[t, b], LIVE).mean()
        targets = np.array([self.returns[slot] for slot in LIVE])
        rewards, values, policies = [], [cross_entropies(online.value_logits[t, b], targets).mean()], []
        for k in range(1, CONFIG.model_unroll_length + 1):
            slots = [s for s in LIVE if s[0] + k <= T and all((s[0] + j, s[1]) in LIVE for j in range(k))]
            t, b = map(np.array, zip(*slots, strict=True))
            state = network.start_model(params, online.memory[t, b])
            for j in range(k):
                output, state = network.step_model(params, state, raw[t + j, b])
            rewards.append(cross_entropies(output.reward_logits, reward[t + k, b]).mean())
            targets = np.array([self.target(t + k, b) for t, b in slots])
            values.append(cross_entropies(output.value_logits, targets).mean())
            played = np.array([i for i, (t, b) in enumerate(slots) if STEP_TYPES[t + k, b] != L])
            ahead = [(slots[i][0] + k, slots[i][1]) for i in played]
            policies.append(self.distances(head, output.policy[played], ahead).mean())
        parts = [sum(each) / len(each) for each in (policies, rewards, values)]
        return policy + 0.7 * cmpo + 1.3 * parts[0] + 0.6 * parts[1] + 0.8 * parts[2]


@pytest.mark.parametrize("kind", ACTIONS)
def test_targets_losses_and_gradients(kind):
    agent, params, prior_params, trajectory = case(kind)
    sequences = agent._sequences(trajectory)
    targets, _ = jax.jit(
        lambda: make_targets(CONFIG, agent.network, prior_params, MOMENT, sequences, jax.random.key(5))
    )()
    plain = Plain(kind, np.asarray(targets.cmpo.raw_action))
    np.testing.assert_allclose(targets.scale, plain.scale, rtol=1e-4)
    np.testing.assert_allclose(targets.cmpo.weights, plain.weights, atol=2e-4)
    for slot, expected in plain.returns.items():
        np.testing.assert_allclose(targets.value[slot], expected, rtol=1e-3, atol=1e-4)
    (loss, _), gradients = jax.jit(jax.value_and_grad(agent._loss, has_aux=True))(params, targets, sequences)
    want, want_gradients = jax.jit(jax.value_and_grad(functools.partial(plain.loss, agent)))(params)
    np.testing.assert_allclose(loss, want, rtol=1e-4)
    for got, wanted in zip(*map(jax.tree.leaves, (gradients, want_gradients)), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-3 * np.abs(wanted).max() + 1e-9)


def test_the_drawn_actions_differ_and_all_listed_ones_are_there():
    for kind, count in [("continuous", 5), ("multi-discrete", 6)]:
        agent, _, prior_params, trajectory = case(kind)
        sequences = agent._sequences(trajectory)
        targets, _ = make_targets(CONFIG, agent.network, prior_params, MOMENT, sequences, jax.random.key(5))
        raw = np.asarray(targets.cmpo.raw_action)
        assert raw.shape == (count, T + 1, B, 2)
        assert len(np.unique(raw[:, 0, 0], axis=0)) == count
