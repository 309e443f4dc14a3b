"""What every agent takes and refuses; its laws are in test_agent_laws."""

from __future__ import annotations

import dataclasses
import pickle
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents import OBSERVED, SMALL_CONFIGS, SPEC, amid_episodes, small_agent, subject_of
from dm_env import specs

from s5rl.agents import A2CConfig, PPOConfig, UnboundAgentError, make_agent
from s5rl.agents.make_agent import ALGORITHMS
from s5rl.conformance import AGENT_LAWS, check_law
from s5rl.cores import LSTMCore, ResettableS5Core, UnhashableCoreError
from s5rl.envs import JaxEnvironment, MemoryChain
from s5rl.types import EnvironmentSpec, next_timestep, restart

CORE = LSTMCore(8)

over_algorithms = pytest.mark.parametrize("algorithm", sorted(SMALL_CONFIGS))


def test_the_list_is_complete():
    assert set(SMALL_CONFIGS) == set(ALGORITHMS)


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


@final
@dataclasses.dataclass(frozen=True, eq=False)
class Acts(JaxEnvironment):
    """Episodes of 3 steps, with any kind of action."""

    spec: specs.Array

    def reset(self, key):
        return jnp.int32(0), restart(jnp.zeros(2))

    def step(self, state, action):
        time = state + 1
        observation = jnp.stack([time / 3, jnp.sum(action).astype(float)])
        return time, next_timestep(jnp.mean(observation), observation, terminated=time == 3)

    def observation_spec(self):
        return specs.Array((2,), np.float32)

    def action_spec(self):
        return self.spec


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
    subject = subject_of(algorithm, CORE, **OBSERVED, environment=Acts(action_spec))
    for law in AGENT_LAWS:
        report = check_law(law, subject, law.cases)
        assert report.verdict == "holds", report
    trajectory = amid_episodes(subject)
    for action in trajectory.actions.reshape(-1, *action_spec.shape):
        action_spec.validate(action)
    learned, metrics = subject.update(subject.state, trajectory, jax.random.key(0))
    assert all(np.isfinite(value) for value in metrics.values())
    # Torso, core, policy and value: all of them learn.
    for part in subject.state.params:
        before, after = jax.tree.leaves(subject.state.params[part]), jax.tree.leaves(learned.params[part])
        assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True)), part


def test_an_unbound_agent_says_so():
    key = jax.random.key(0)
    subject = subject_of("ppo", CORE)
    state, trajectory = subject.state, amid_episodes(subject)
    agent = make_agent(core=CORE)
    for call in (
        lambda: agent.init(key),
        lambda: agent.acting_params(state),
        lambda: agent.act(state.params, restart(jnp.zeros((1, 3))), agent.initial_actor_state(), key),
        lambda: agent.log_probs(state.params, trajectory),
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
        make_agent(EnvironmentSpec.from_environment(Acts(specs.Array((2,), np.float32))), core=CORE)


def test_agents_are_values():
    assert make_agent(SPEC, core=LSTMCore(8)) == make_agent(core=LSTMCore(8)).bind(SPEC)
    assert hash(make_agent(SPEC, core=LSTMCore(8))) == hash(make_agent(SPEC, core=LSTMCore(8)))
    assert make_agent(SPEC, core=LSTMCore(8)) != make_agent(SPEC, core=LSTMCore(9))
    used = make_agent(SPEC, core=LSTMCore(8))
    jax.eval_shape(used.init, jax.random.key(0))
    assert pickle.loads(pickle.dumps(used)) == used
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_agent(core=CORE).core = LSTMCore(9)


class Unhashable(LSTMCore):
    __hash__ = None


def test_make_agent_checks_its_arguments():
    with pytest.raises(ValueError, match=r"algorithm must be one of 'ppo', 'a2c', 'muesli', got 'sac'"):
        make_agent(core=CORE, algorithm="sac")
    with pytest.raises(TypeError, match="core must be a RecurrentCore"):
        make_agent(core="lstm")
    with pytest.raises(UnhashableCoreError, match="Unhashable is not hashable, but cores are values"):
        make_agent(core=Unhashable(8))
    with pytest.raises(TypeError, match="config must be a PPOConfig for 'ppo'"):
        make_agent(core=CORE, config={"learning_rate": 1.0})
    with pytest.raises(TypeError, match="config must be a PPOConfig for 'ppo', got A2CConfig"):
        make_agent(core=CORE, config=A2CConfig())


@pytest.mark.parametrize("config_class", [config_class for _, config_class in ALGORITHMS.values()])
def test_the_settings_of_every_algorithm_are_checked(config_class):
    for name, value in [
        ("discount", 1.5),
        ("learning_rate", 0.0),
        ("num_envs", 0),
        ("unroll_length", 2.5),
        ("activation", "swish"),
        ("learning_rate", float("nan")),
        ("discount", "a"),
        ("value_cost", -1.0),
        ("torso_sizes", [8]),
        ("torso_sizes", ()),
        ("policy_sizes", (0,)),
        ("observe_previous_action", 1),
        ("observe_previous_reward", None),
        ("observe_is_first", "yes"),
    ]:
        with pytest.raises(ValueError, match=name):
            config_class(**{name: value})
    with pytest.raises(ValueError, match="entropy_cost"):
        PPOConfig(entropy_cost=-1.0)
    with pytest.raises(ValueError, match="max_gradient_norm"):
        A2CConfig(max_gradient_norm=0.0)
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
