"""s5rl's agents under Acme's own loop do what they do in s5rl's, to the last bit."""

from __future__ import annotations

import copy
import importlib.util
import itertools
import pickle

import jax
import numpy as np
import pytest
from agents import LEARNING_CORES, OBSERVED, SMALL_CONFIGS, small_agent
from cores import CORES
from random_lengths import RandomLengths, Tape

from s5rl.envs import DmEnvBatch, make_bsuite
from s5rl.training import evaluate
from s5rl.training.host_loop import HostLoop
from s5rl.training.layout import make_layout
from s5rl.types import EnvironmentSpec

if importlib.util.find_spec("acme") is None:
    pytest.skip("dm-acme is not installed", allow_module_level=True)
import acme
from acme.jax.variable_utils import VariableClient
from acme.utils import counting, loggers, observers

from s5rl.acme.agents import POLICY, AgentActor, AgentLearner, LocalAgent

SEED = 7
UNROLL_LENGTH = 6
ONE_ENVIRONMENT = {"num_envs": 1, "unroll_length": UNROLL_LENGTH}
SETTINGS = {
    "a2c": ONE_ENVIRONMENT,
    "ppo": {**ONE_ENVIRONMENT, "sequence_length": 3},
    "muesli": {**ONE_ENVIRONMENT, "num_minibatches": 1, "replay_fraction": 0.5, "replay_capacity": 4},
}


def agent_for(environment, algorithm="a2c", core=LEARNING_CORES["gru"], **settings):
    agent = small_agent(algorithm, core, **{**OBSERVED, **SETTINGS[algorithm], **settings})
    return agent.bind(EnvironmentSpec.from_environment(environment))


def local_agent(environment, agent, **arguments):
    arguments = {"logger": loggers.NoOpLogger(), **arguments}
    return LocalAgent(agent, acme.make_environment_spec(environment), SEED, **arguments)


def run_episodes(environment, actor, num_episodes):
    logger = loggers.InMemoryLogger()
    acme.EnvironmentLoop(environment, actor, logger=logger).run(num_episodes=num_episodes)
    return [float(row["episode_return"]) for row in logger.data]


def actor_of(agent, seed=SEED, **arguments):
    """Returns an actor with the parameters with which a run begins."""
    learner = AgentLearner(agent, iter(()), seed, logger=loggers.NoOpLogger())
    return AgentActor(agent, VariableClient(learner, POLICY), seed, **arguments)


def assert_equal_trees(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def assert_same_start(left: Tape, right: Tape, num_steps: int):
    """Asserts that so many first steps agree; either may go on."""
    for name in ("actions", "timesteps"):
        one, other = (getattr(tape, name)[:num_steps] for tape in (left, right))
        assert len(one) == len(other) == num_steps
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("core", CORES)
def test_most_probable_actions_give_the_returns_of_evaluate(core):
    agent = agent_for(RandomLengths(), core=CORES[core])
    returns = run_episodes(RandomLengths(), actor_of(agent, evaluation=True), 6)
    params = agent.acting_params(AgentLearner(agent, iter(()), SEED, logger=loggers.NoOpLogger()).agent_state)
    assert returns == evaluate(agent, params, RandomLengths(), 6, SEED).episode_returns.tolist()
    assert len(set(returns)) > 3  # the actions show in them


@pytest.mark.parametrize("core", ["attention_short_window", "s5"])
def test_frozen_parameters_give_the_actions_and_returns_of_the_host_loop(core):
    num_slots = 40
    hosted, looped = Tape(RandomLengths()), Tape(RandomLengths())
    agent = agent_for(hosted, core=CORES[core], unroll_length=num_slots)
    HostLoop(agent, DmEnvBatch([hosted]), SEED, make_layout(None, 1, 1)).advance(
        1
    )  # acts with the first parameters throughout
    num_episodes = len(hosted.returns)
    assert run_episodes(looped, actor_of(agent), num_episodes) == hosted.returns
    assert_same_start(looped, hosted, len(looped.actions))
    assert num_episodes > 5
    assert run_episodes(RandomLengths(), actor_of(agent, seed=SEED + 1), num_episodes) != hosted.returns


def assert_learns_as_the_host_loop(make_environment, agent, num_episodes):
    looped, hosted = Tape(make_environment()), Tape(make_environment())
    logger = loggers.InMemoryLogger()
    local = local_agent(looped, agent, logger=logger)
    returns = run_episodes(looped, local, num_episodes)
    loop = HostLoop(local.agent, DmEnvBatch([hosted]), SEED, make_layout(None, 1, 1))
    columns = loop.advance(local.num_updates)
    assert_equal_trees(local.agent_state, loop.agent_state)
    assert returns[: len(hosted.returns)] == hosted.returns
    assert_same_start(looped, hosted, len(hosted.actions))
    for name in logger.data[0].keys() - {"steps"}:
        np.testing.assert_array_equal([row[name] for row in logger.data], columns[name])
    return looped


PAIRS = [*(("a2c", core) for core in LEARNING_CORES), ("ppo", "gru"), ("muesli", "gru")]
FAST = {("a2c", "s5"), ("ppo", "gru"), ("muesli", "gru")}


@pytest.mark.parametrize(
    ("algorithm", "core"),
    [pytest.param(*pair, marks=() if pair in FAST else pytest.mark.slow) for pair in PAIRS],
)
def test_learns_as_the_host_loop_bit_for_bit(algorithm, core):
    agent = agent_for(RandomLengths(), algorithm, LEARNING_CORES[core])
    tape = assert_learns_as_the_host_loop(RandomLengths, agent, num_episodes=25)
    # Unrolls begin at all three kinds of steps: the update before each is in time for its first action.
    assert {int(timestep.step_type) for timestep in tape.timesteps[UNROLL_LENGTH::UNROLL_LENGTH]} == {0, 1, 2}


def test_learns_on_bsuite_as_the_host_loop():
    agent = agent_for(make_bsuite("memory_len/0"))
    assert_learns_as_the_host_loop(lambda: make_bsuite("memory_len/0"), agent, num_episodes=20)


def test_acmes_counters_loggers_and_observers_see_the_run():
    class Largest(observers.EnvLoopObserver):
        """The largest action of the episode."""

        def observe_first(self, env, timestep):
            self.largest = -np.inf

        def observe(self, env, timestep, action):
            self.largest = max(self.largest, float(action.max()))

        def get_metrics(self):
            return {"largest_action": self.largest}

    environment = Tape(RandomLengths())
    counter, log, learner_log = counting.Counter(), loggers.InMemoryLogger(), loggers.InMemoryLogger()
    learner_counter = counting.Counter(counter, "learner", time_delta=0.0)
    local = local_agent(environment, agent_for(environment), counter=learner_counter, logger=learner_log)
    acting_counter = counting.Counter(counter, "actor", time_delta=0.0)
    loop = acme.EnvironmentLoop(
        environment,
        local,
        counter=acting_counter,
        logger=log,
        observers=[Largest(), observers.ActionNormObserver()],
    )
    loop.run(num_episodes=10)
    assert [row["actor_episodes"] for row in log.data] == list(range(1, 11))
    assert log.data[-1]["actor_steps"] == len(environment.actions)
    assert max(row["largest_action"] for row in log.data) == max(map(np.max, environment.actions))
    assert local.num_updates > 3
    assert [row["learner_steps"] for row in learner_log.data] == list(range(1, local.num_updates + 1))
    assert counter.get_counts()["learner_steps"] == local.num_updates
    assert all(np.isfinite(row["loss"]) for row in learner_log.data)


@pytest.mark.parametrize("algorithm", SMALL_CONFIGS)
def test_goes_on_from_what_was_saved(algorithm):
    environment = RandomLengths()
    agent = agent_for(environment, algorithm)
    local = local_agent(environment, agent)
    run_episodes(environment, local, 6)
    saved, other_environment = pickle.dumps(local.save()), copy.deepcopy(environment)
    returns = run_episodes(environment, local, 8)

    other = local_agent(other_environment, agent)
    run_episodes(RandomLengths(seed=1), other, 3)  # what it did before is forgotten
    other.restore(pickle.loads(saved))
    assert run_episodes(other_environment, other, 8) == returns
    assert_equal_trees(other.agent_state, local.agent_state)
    assert other.num_updates == local.num_updates > 4


class Relay(acme.core.Actor):
    """Two equal agents, of which the other one takes over after every call, with what the first has saved."""

    def __init__(self, agents):
        self.acting, self._resting = agents

    def select_action(self, observation):
        return self.acting.select_action(observation)

    def observe_first(self, timestep):
        self.acting.observe_first(timestep)
        self._hand_over()

    def observe(self, action, next_timestep):
        self.acting.observe(action, next_timestep)
        self._hand_over()

    def update(self, wait=False):
        self.acting.update(wait)
        self._hand_over()

    def _hand_over(self):
        self._resting.restore(pickle.loads(pickle.dumps(self.acting.save())))
        self.acting, self._resting = self._resting, self.acting


def test_can_be_saved_after_every_call():
    environment = RandomLengths()
    agent = agent_for(environment)
    local = local_agent(environment, agent)
    returns = run_episodes(environment, local, 12)
    relay = Relay([local_agent(environment, agent) for _ in range(2)])
    assert run_episodes(RandomLengths(), relay, 12) == returns
    assert_equal_trees(relay.acting.agent_state, local.agent_state)
    assert local.num_updates > 4


def test_an_actor_and_a_learner_of_their_own_share_parameters_by_name():
    environment = RandomLengths()
    agent = agent_for(environment)
    trajectories = []
    learner = AgentLearner(
        agent, (trajectories.pop(0) for _ in itertools.count()), SEED, logger=loggers.NoOpLogger()
    )
    actor = AgentActor(agent, VariableClient(learner, POLICY), SEED, add=trajectories.append)
    acme.EnvironmentLoop(environment, actor, logger=loggers.NoOpLogger(), should_update=False).run(
        num_steps=30
    )
    assert len(trajectories) >= 5
    assert trajectories[0].actions.shape[:2] == (UNROLL_LENGTH, 1)
    assert_equal_trees(
        trajectories[1].timesteps.observation["count"][0], trajectories[0].timesteps.observation["count"][-1]
    )
    before = learner.get_variables([POLICY])
    learner.run(num_steps=3)
    after = learner.get_variables([POLICY])
    assert learner.num_updates == 3
    assert not np.array_equal(jax.tree.leaves(before)[0], jax.tree.leaves(after)[0])
    twin = AgentLearner(agent, iter(()), SEED, logger=loggers.NoOpLogger())
    twin.restore(learner.save())
    assert_equal_trees(twin.get_variables([POLICY]), after)


@pytest.mark.skipif(importlib.util.find_spec("sonnet") is None, reason="Acme's savers need Sonnet")
@pytest.mark.parametrize("algorithm", SMALL_CONFIGS)
def test_acmes_own_savers_keep_it(algorithm, tmp_path):
    from acme.jax import savers
    from acme.tf.savers import Checkpointer

    environment = RandomLengths()
    agent = agent_for(environment, algorithm)
    local, other, third = (local_agent(environment, agent) for _ in range(3))
    run_episodes(environment, local, 6)
    savers.save_to_path(str(tmp_path / "state"), local.save())
    other.restore(savers.restore_from_path(str(tmp_path / "state")))
    assert_equal_trees(other.save(), local.save())

    folder = {"directory": str(tmp_path), "add_uid": False, "time_delta_minutes": 0}
    Checkpointer({"agent": local}, **folder).save(force=True)
    Checkpointer({"agent": third}, **folder)  # restores
    assert_equal_trees(third.save(), local.save())
