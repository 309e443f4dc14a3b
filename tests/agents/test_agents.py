"""Laws of every agent around every core: acting and learning agree, dead slots count for nothing."""

from __future__ import annotations

import dataclasses
import pickle

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents import ENVIRONMENT, OBSERVED, SMALL_CONFIGS, SPEC, second_window, small_agent
from cores import CORES
from dm_env import specs

from s5rl.agents import A2CConfig, PPOConfig, UnboundAgentError, make_agent
from s5rl.agents.make_agent import ALGORITHMS
from s5rl.cores import LSTMCore, ResettableS5Core
from s5rl.envs import JaxEnvironment, MemoryChain, advance_stream
from s5rl.losses import live_slots
from s5rl.networks import flatten_observation
from s5rl.training import start_actors
from s5rl.training.keys import run_keys
from s5rl.types import ActorState, EnvironmentSpec, Trajectory, restart

CORE = LSTMCore(8)

over_algorithms = pytest.mark.parametrize("algorithm", sorted(SMALL_CONFIGS))
# The network is the same in every algorithm: all cores with one of them, one core with each.
CASES = {f"a2c-{name}": ("a2c", core, OBSERVED) for name, core in CORES.items()}
CASES |= {f"{name}-one_core": (name, CORE, OBSERVED) for name in SMALL_CONFIGS}
CASES |= {f"{name}-nothing_but_the_observation": (name, CORE, {}) for name in SMALL_CONFIGS}


def test_the_list_is_complete():
    assert set(SMALL_CONFIGS) == set(ALGORITHMS)


@pytest.mark.parametrize(("algorithm", "core", "settings"), CASES.values(), ids=CASES)
def test_acting_and_learning_agree_over_episode_boundaries(algorithm, core, settings):
    agent = small_agent(algorithm, core, **settings).bind(SPEC)
    state, trajectory, before, after = second_window(agent)
    assert not trajectory.timesteps.first()[0].all()
    assert trajectory.timesteps.first()[1:].any()

    memory, policies, values = before.memory, [], []

    @jax.jit
    def step(params, timestep, memory):
        seen = agent.inputs.of_timestep(timestep, memory.previous_action)
        return agent.network.step(params, seen, memory.core_state)

    params = agent.acting_params(state)
    for t in range(7):
        timestep = jax.tree.map(lambda x, t=t: x[t], trajectory.timesteps)
        output, core_state = step(params, timestep, memory)
        memory = ActorState(core_state, agent.inputs.remembered(trajectory.actions[t]))
        policies.append(output.policy)
        values.append(output.value)
    seen = agent.inputs.of_trajectory(trajectory)
    learned, _ = jax.jit(agent.network.unroll)(state.params, seen, trajectory.initial_state.core_state)
    np.testing.assert_allclose(learned.policy[:-1], jnp.stack(policies), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(learned.value[:-1], jnp.stack(values), rtol=1e-5, atol=1e-5)
    # What the next window starts from is what acting left behind.
    for left, right in zip(jax.tree.leaves(memory), jax.tree.leaves(after.memory), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)
    # The ratio by which a policy's gradient is weighted is 1 while nothing has been learned.
    extras, live = trajectory.extras, live_slots(trajectory.timesteps) > 0
    log_prob = agent.network.head.log_prob(learned.policy[:-1], extras["raw_action"])
    np.testing.assert_allclose(jnp.exp(log_prob - extras["log_prob"])[live], 1.0, rtol=1e-5)


@over_algorithms
def test_acting_sees_bit_for_bit_what_learning_sees(algorithm):
    """What `act` shows to the torso, recorded while nothing is compiled, beside what is learned from."""
    shown = []

    def torso(inputs):
        shown.append(inputs)
        return flatten_observation(agent.inputs.observation_spec, inputs)

    agent = dataclasses.replace(small_agent(algorithm, CORE, **OBSERVED), torso=torso, environment_spec=SPEC)
    advance = jax.jit(jax.vmap(lambda stream, action: advance_stream(ENVIRONMENT, stream, action)))
    params = agent.acting_params(agent.init(jax.random.key(0)))
    actors = start_actors(agent, ENVIRONMENT, run_keys(0), num_envs=3)
    streams, memory = actors.streams, actors.memory
    shown.clear()
    timesteps, actions, memories = [], [], []
    for t in range(15):
        memories.append(memory)
        timesteps.append(streams.timestep)
        output, memory = agent.act(params, streams.timestep, memory, jax.random.key(t))
        actions.append(output.action)
        streams = advance(streams, output.action)
    acted = jax.tree.map(lambda *leaves: jnp.stack(leaves), *shown)
    assert len(np.unique(acted[1])) == 2  # both actions were taken, so that a shift by one would show
    for start, stop in ((0, 8), (7, 15)):
        window = jax.tree.map(lambda *leaves: jnp.stack(leaves), *timesteps[start:stop])
        trajectory = Trajectory(window, jnp.stack(actions[start : stop - 1]), (), memories[start])
        learned = agent.inputs.of_trajectory(trajectory).observation
        for left, right in zip(acted, learned, strict=True):
            np.testing.assert_array_equal(left[start:stop], right)


@over_algorithms
def test_learning_reads_the_previous_actions_but_none_of_an_older_episode(algorithm):
    agent = small_agent(algorithm, CORE, **OBSERVED).bind(SPEC)
    state, trajectory, *_ = second_window(agent)
    # All rows are in step: the first one is moved on until it begins with an episode.
    timesteps = jax.tree.map(
        lambda leaf: leaf.at[:, 0].set(jnp.roll(leaf[:, 0], -3, axis=0)), trajectory.timesteps
    )
    first = timesteps.first()[0]
    assert 0 < first.sum() < len(first)
    update = jax.jit(agent.update)

    def gradient_norm(change):
        before, key = trajectory.initial_state, jax.random.key(0)
        carried = before._replace(
            previous_action=jnp.where(change, 1 - before.previous_action, before.previous_action)
        )
        changed = trajectory._replace(timesteps=timesteps, initial_state=carried)
        return update(state, changed, key)[1]["gradient_norm"]

    nothing = gradient_norm(jnp.zeros_like(first))
    assert gradient_norm(first) == nothing
    assert gradient_norm(~first) != nothing


@over_algorithms
def test_dead_slots_have_no_effect_on_learning(algorithm):
    agent = small_agent(algorithm, CORE, **OBSERVED).bind(SPEC)
    state, trajectory, *_ = second_window(agent)
    dead = np.asarray(trajectory.timesteps.last()[:-1])
    assert dead.any()

    def spoil(leaf, value):
        flags = dead.reshape(dead.shape + (1,) * (leaf.ndim - 2))
        return jnp.where(flags, jnp.asarray(value, leaf.dtype), leaf)

    spoilt = trajectory._replace(
        actions=jax.tree.map(lambda leaf: spoil(leaf, 1), trajectory.actions),
        extras=jax.tree.map(lambda leaf: spoil(leaf, 1), trajectory.extras),
    )
    assert not np.array_equal(spoilt.actions, trajectory.actions)
    update = jax.jit(agent.update)
    key = jax.random.key(0)
    expected, got = update(state, trajectory, key), update(state, spoilt, key)
    for left, right in zip(jax.tree.leaves(expected), jax.tree.leaves(got), strict=True):
        np.testing.assert_array_equal(left, right)


@over_algorithms
def test_act_with_and_without_a_batch_and_with_any_kind_of_key(algorithm):
    agent = small_agent(algorithm, CORE, **OBSERVED).bind(SPEC)
    params = agent.acting_params(jax.jit(agent.init)(jax.random.key(0)))
    one = restart(jnp.ones((1, 3)))
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf] * 4), one)
    keys = jax.random.split(jax.random.key(1), 4)
    rows, _ = agent.act(params, batch, agent.initial_actor_state(4), keys)
    split, memory = agent.act(params, batch, agent.initial_actor_state(4), jax.random.key(1))
    np.testing.assert_array_equal(rows.action, split.action)
    assert jax.tree.leaves(memory)[0].shape[0] == 4
    for key in (jax.random.key(7), jax.random.PRNGKey(7)):
        single, _ = agent.act(params, one, agent.initial_actor_state(), key)
        assert single.action.shape == ()
    with pytest.raises(ValueError, match="key must be one random key, or one for each row"):
        agent.act(params, batch, agent.initial_actor_state(4), keys[:3])
    greedy = [
        agent.act(params, batch, agent.initial_actor_state(4), k, evaluation=True)[0].action for k in keys
    ]
    assert all(np.array_equal(greedy[0], other) for other in greedy)


class _Fixed(JaxEnvironment):
    """An environment that is nothing but its action spec, so that every kind of action is taken."""

    def __init__(self, action_spec):
        self._action_spec = action_spec

    def reset(self, key):
        return (), restart(jnp.zeros(2))

    def step(self, state, action):
        raise NotImplementedError

    def observation_spec(self):
        return specs.Array((2,), np.float32)

    def action_spec(self):
        return self._action_spec


@over_algorithms
@pytest.mark.parametrize(
    "action_spec",
    [
        specs.BoundedArray((), np.int32, 2, 4),
        specs.BoundedArray((2,), np.int32, [0, 1], [3, 2]),
        specs.BoundedArray((3,), np.float32, -2.0, 0.5),
    ],
    ids=["discrete from 2", "multi-discrete", "continuous"],
)
def test_every_kind_of_action_is_acted_and_learned(algorithm, action_spec):
    spec = EnvironmentSpec.from_environment(_Fixed(action_spec))
    agent = small_agent(algorithm, CORE, **OBSERVED).bind(spec)
    state = jax.jit(agent.init)(jax.random.key(0))
    num_slots, num_envs = 5, 4
    random = np.random.default_rng(0)
    types = np.full((num_slots + 1, num_envs), int(dm_env.StepType.MID), np.int32)
    timesteps = dm_env.TimeStep(
        jnp.asarray(types),
        jnp.asarray(random.normal(size=types.shape), float),
        jnp.ones(types.shape),
        jnp.asarray(random.normal(size=(*types.shape, 2)), float),
    )
    params, memory = agent.acting_params(state), agent.initial_actor_state(num_envs)
    act, outputs = jax.jit(agent.act), []
    for t in range(num_slots):
        timestep = jax.tree.map(lambda x, t=t: x[t], timesteps)
        output, memory = act(params, timestep, memory, jax.random.key(t))
        for action in np.asarray(output.action):
            action_spec.validate(action)
        outputs.append(output)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *outputs)
    trajectory = Trajectory(timesteps, stacked.action, stacked.extras, agent.initial_actor_state(num_envs))
    learned, metrics = jax.jit(agent.update)(state, trajectory, jax.random.key(0))
    assert all(np.isfinite(value) for value in metrics.values())
    # Torso, core, policy and value: all of them learn.
    for part in state.params:
        before, after = jax.tree.leaves(state.params[part]), jax.tree.leaves(learned.params[part])
        assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True)), part


def test_an_unbound_agent_says_so():
    key = jax.random.key(0)
    state, trajectory, *_ = second_window(make_agent(SPEC, core=CORE))
    agent = make_agent(core=CORE)
    for call in (
        lambda: agent.init(key),
        lambda: agent.acting_params(state),
        lambda: agent.act(state.params, restart(jnp.zeros((1, 3))), agent.initial_actor_state(), key),
        lambda: agent.update(state, trajectory, key),
    ):
        with pytest.raises(UnboundAgentError, match=r"agent\.bind\(EnvironmentSpec"):
            call()
    # Without an action spec there is no previous action.
    make_agent(core=CORE, config=PPOConfig(observe_is_first=True)).initial_actor_state()
    with pytest.raises(UnboundAgentError):
        make_agent(core=CORE, config=PPOConfig(observe_previous_action=True)).initial_actor_state()


def test_binding_is_checked():
    agent = make_agent(SPEC, core=CORE)
    assert agent.bind(EnvironmentSpec.from_environment(MemoryChain(9))) is agent
    with pytest.raises(ValueError, match="bound to another environment"):
        agent.bind(EnvironmentSpec.from_environment(MemoryChain(3, num_bits=2)))
    with pytest.raises(ValueError, match="action_spec"):
        make_agent(EnvironmentSpec.from_environment(_Fixed(specs.Array((2,), np.float32))), core=CORE)


def test_agents_are_values():
    assert make_agent(SPEC, core=LSTMCore(8)) == make_agent(core=LSTMCore(8)).bind(SPEC)
    assert hash(make_agent(SPEC, core=LSTMCore(8))) == hash(make_agent(SPEC, core=LSTMCore(8)))
    assert make_agent(SPEC, core=LSTMCore(8)) != make_agent(SPEC, core=LSTMCore(9))
    used = make_agent(SPEC, core=LSTMCore(8))
    jax.eval_shape(used.init, jax.random.key(0))
    assert pickle.loads(pickle.dumps(used)) == used
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_agent(core=CORE).core = LSTMCore(9)


def test_make_agent_checks_its_arguments():
    with pytest.raises(ValueError, match=r"algorithm must be one of 'ppo', 'a2c', got 'sac'"):
        make_agent(core=CORE, algorithm="sac")
    with pytest.raises(TypeError, match="core must be a RecurrentCore"):
        make_agent(core="lstm")
    with pytest.raises(TypeError, match="config must be a PPOConfig for 'ppo'"):
        make_agent(core=CORE, config={"learning_rate": 1.0})
    with pytest.raises(TypeError, match="config must be a PPOConfig for 'ppo', got A2CConfig"):
        make_agent(core=CORE, config=A2CConfig())


@pytest.mark.parametrize("config_class", [config_class for _, config_class in ALGORITHMS.values()])
def test_the_settings_of_every_actor_critic_are_checked(config_class):
    for name, value in [
        ("discount", 1.5),
        ("learning_rate", 0.0),
        ("num_envs", 0),
        ("unroll_length", 2.5),
        ("activation", "swish"),
        ("max_gradient_norm", 0.0),
        ("learning_rate", float("nan")),
        ("discount", "a"),
        ("entropy_cost", -1.0),
        ("torso_sizes", [8]),
        ("torso_sizes", ()),
        ("policy_sizes", (0,)),
        ("observe_previous_action", 1),
        ("observe_previous_reward", None),
        ("observe_is_first", "yes"),
    ]:
        with pytest.raises(ValueError, match=name):
            config_class(**{name: value})
    with pytest.raises(ValueError, match="td_lambda"):
        A2CConfig(td_lambda=-0.1)


def test_a_torso_of_haiku_modules_takes_the_place_of_the_default():
    import haiku as hk

    def torso(observation):
        return hk.Linear(5, name="mine")(hk.Flatten()(observation))

    agent = make_agent(SPEC, core=ResettableS5Core(4, 4, 1), torso=torso)
    params = agent.init(jax.random.key(0)).params
    assert params["torso"]["mine"]["w"].shape == (3, 5)
    with pytest.raises(ValueError, match="torso must return features"):
        make_agent(SPEC, core=CORE, torso=lambda observation: observation)


def test_table_3():
    config = A2CConfig.bsuite()
    assert (config.learning_rate, config.entropy_cost, config.torso_sizes) == (3e-4, 0.0, (256, 256))
    assert (config.discount, config.td_lambda, config.num_envs) == (0.99, 0.9, 1)
    assert (config.unroll_length, config.activation) == (32, "relu")
