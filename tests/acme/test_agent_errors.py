"""What does not fit is refused with a message that names it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import dm_env
import numpy as np
import pytest
from agents import SMALL_CONFIGS, small_agent
from dm_env import specs
from random_lengths import RandomLengths

from s5rl.agents.base import UnboundAgentError
from s5rl.cores import GRUCore
from s5rl.envs import MemoryChain, as_dm_env
from s5rl.training import NonFiniteError
from s5rl.types import EnvironmentSpec

if importlib.util.find_spec("acme") is None:
    pytest.skip("dm-acme is not installed", allow_module_level=True)
import acme
from acme.jax.variable_utils import VariableClient
from acme.utils import loggers

from s5rl.acme.agents import POLICY, AgentActor, AgentLearner, LocalAgent, bind

SILENT = loggers.NoOpLogger()
UNBOUND = small_agent("a2c", GRUCore(4), num_envs=1, unroll_length=4)
AGENT = UNBOUND.bind(EnvironmentSpec.from_environment(RandomLengths()))
FIRST = RandomLengths().reset()


def actor_of(agent=AGENT, **arguments):
    learner = AgentLearner(agent, iter(()), logger=SILENT)
    return AgentActor(agent, VariableClient(learner, POLICY), **arguments)


def local_agent(environment=None, agent=UNBOUND):
    return LocalAgent(agent, acme.make_environment_spec(environment or RandomLengths()), logger=SILENT)


def run_episodes(environment, actor, num_episodes=4, **arguments):
    acme.EnvironmentLoop(environment, actor, logger=SILENT, **arguments).run(num_episodes=num_episodes)


def test_an_agent_of_another_environment():
    with pytest.raises(ValueError, match=r"bound to another environment: it expects .*noise.*, got "):
        local_agent(as_dm_env(MemoryChain(2), 0), AGENT)
    with pytest.raises(ValueError, match=r"does not fit the environment to which the agent is bound.*noise"):
        run_episodes(as_dm_env(MemoryChain(2), 0), local_agent())


def test_an_observation_of_another_shape():
    timestep = dm_env.restart({"noise": np.zeros(3), "count": np.int64(0)})
    with pytest.raises(ValueError, match=r"must fit Array\(shape=\(2,\).*got shape \(3,\)"):
        actor_of().observe_first(timestep)


def test_rewards_that_are_no_scalars():
    spec = acme.make_environment_spec(RandomLengths())
    with pytest.raises(
        ValueError, match=r"environment_spec\.rewards must be the spec of a scalar, got .*\(2,\)"
    ):
        bind(UNBOUND, spec._replace(rewards=specs.Array((2,), float)))
    actor = actor_of()
    actor.observe_first(FIRST)
    action = actor.select_action(FIRST.observation)
    with pytest.raises(ValueError, match="reward of a MID or LAST step must be a scalar"):
        actor.observe(action, dm_env.transition(np.zeros(2), FIRST.observation))


def test_a_config_that_needs_several_environments():
    agent = small_agent("ppo", GRUCore(4))
    assert SMALL_CONFIGS["ppo"].num_minibatches == 2
    with pytest.raises(ValueError, match=r"num_minibatches must divide the number of sequences.*num_envs=1"):
        local_agent(agent=agent)


def test_an_unbound_agent():
    with pytest.raises(UnboundAgentError):
        AgentActor(UNBOUND, None)
    with pytest.raises(UnboundAgentError):
        AgentLearner(UNBOUND, iter(()), logger=SILENT)


def test_seeds_out_of_range():
    with pytest.raises(ValueError, match="seed must be an integer"):
        actor_of(seed=-1)
    with pytest.raises(ValueError, match="seed must be an integer"):
        AgentLearner(AGENT, iter(()), 0.5, logger=SILENT)


def test_names_that_the_learner_does_not_know():
    with pytest.raises(ValueError, match=r"names must all be 'policy', got \['policy', 'critic'\]"):
        local_agent().get_variables([POLICY, "critic"])


def test_an_agent_that_is_never_updated():
    with pytest.raises(
        RuntimeError, match=r"an unroll of 4 slots is complete, but update\(\) was not called"
    ):
        run_episodes(RandomLengths(), local_agent(), 20, should_update=False)


def test_calls_out_of_order():
    actor = actor_of()
    with pytest.raises(RuntimeError, match="select_action must follow observe_first"):
        actor.select_action(FIRST.observation)
    with pytest.raises(RuntimeError, match="observe must follow select_action"):
        actor.observe(np.zeros(2), FIRST)
    with pytest.raises(ValueError, match="observe_first must be given a FIRST step"):
        actor.observe_first(dm_env.transition(0.0, FIRST.observation))
    actor.observe_first(FIRST)
    action = actor.select_action(FIRST.observation)
    with pytest.raises(ValueError, match="observe must be given a MID or LAST step"):
        actor.observe(action, FIRST)
    actor.observe(action, dm_env.termination(0.0, FIRST.observation))
    with pytest.raises(RuntimeError, match="select_action must follow observe_first"):
        actor.select_action(FIRST.observation)


def test_an_action_of_the_episode_before():
    actor = actor_of()
    actor.observe_first(FIRST)
    action = actor.select_action(FIRST.observation)
    with pytest.warns(UserWarning, match="left without a LAST step"):
        actor.observe_first(FIRST)
    with pytest.raises(RuntimeError, match="observe must follow select_action"):
        actor.observe(action, dm_env.transition(0.0, FIRST.observation))


def test_a_first_step_that_is_refused_and_then_mended():
    """Also where its slot completes an unroll, so that there is an update to be done."""
    local = local_agent()
    local.observe_first(FIRST)
    for t in range(3):
        action = local.select_action(FIRST.observation)
        local.observe(action, dm_env.TimeStep(1 + (t == 2), 0.0, 1.0, FIRST.observation))
        local.update()
    wrong = dm_env.restart({"noise": np.zeros(3), "count": np.int64(0)})
    with pytest.raises(ValueError, match="must fit"):
        local.observe_first(wrong)
    local.observe_first(FIRST)
    assert local.num_updates == 1
    local.select_action(FIRST.observation)


def test_observations_and_actions_that_were_not_seen_or_chosen():
    actor = actor_of()
    actor.observe_first(FIRST)
    with pytest.raises(ValueError, match="observation must be that of the time step"):
        actor.select_action({**FIRST.observation, "noise": np.ones(2)})
    action = actor.select_action({**FIRST.observation})
    with pytest.raises(ValueError, match="action must be the one that was selected"):
        actor.observe(action + 0.5, dm_env.transition(0.0, FIRST.observation))
    actor.observe(action.copy(), dm_env.transition(0.0, FIRST.observation))


def test_an_episode_that_was_left():
    trajectories = []
    actor = actor_of(add=trajectories.append)
    actor.observe_first(FIRST)
    actor.observe(actor.select_action(FIRST.observation), dm_env.transition(9.0, FIRST.observation))
    with pytest.warns(UserWarning, match="left without a LAST step: 1 slots are dropped"):
        actor.observe_first(FIRST)
    for _ in range(4):
        actor.observe(actor.select_action(FIRST.observation), dm_env.transition(1.0, FIRST.observation))
    (trajectory,) = trajectories
    assert trajectory.timesteps.reward[:, 0].tolist() == [0.0, 1.0, 1.0, 1.0, 1.0]
    assert trajectory.timesteps.step_type[:, 0].tolist() == [0, 1, 1, 1, 1]


def test_numbers_that_are_not_finite():
    actor, wrong = actor_of(), {**FIRST.observation, "noise": np.full(2, np.nan)}
    actor.observe_first(FIRST)
    actor.observe(actor.select_action(FIRST.observation), dm_env.transition(0.0, wrong))
    with pytest.raises(NonFiniteError, match=r"an observation or a reward that is NaN, after 1 steps"):
        actor.select_action(wrong)

    class TooMuch(dm_env.Environment):
        """Rewards whose squares overflow."""

        def reset(self):
            return FIRST

        def step(self, action):
            return dm_env.transition(1e30, FIRST.observation)

        observation_spec, action_spec = RandomLengths.observation_spec, RandomLengths.action_spec

    local = local_agent(TooMuch())
    before = local.get_variables([POLICY])
    with pytest.raises(NonFiniteError, match=r" is (inf|nan) in update 1\."):
        run_episodes(TooMuch(), local)
    np.testing.assert_equal(local.get_variables([POLICY]), before)


def test_no_further_trajectory():
    with pytest.raises(RuntimeError, match="trajectories ended after 0 updates"):
        AgentLearner(AGENT, iter(()), logger=SILENT).run(num_steps=1)


def test_states_of_another_agent():
    saved = local_agent(agent=small_agent("a2c", GRUCore(5), num_envs=1, unroll_length=4)).save()
    local = local_agent()
    with pytest.raises(
        ValueError, match=r"state\.agent_state must be that of an equal agent: .* is float32\["
    ):
        local.restore(saved)
    with pytest.raises(ValueError, match=r"state\.memory must be that of an equal agent"):
        actor_of().restore(saved.actor)
    actor = actor_of(add=[].append)
    actor.observe_first(FIRST)
    for _ in range(3):
        actor.observe(actor.select_action(FIRST.observation), dm_env.transition(1.0, FIRST.observation))
    shorter = small_agent("a2c", GRUCore(4), num_envs=1, unroll_length=3)
    with pytest.raises(ValueError, match=r"it has 3 slots, but config\.unroll_length is 3"):
        actor_of(shorter.bind(EnvironmentSpec.from_environment(RandomLengths()))).restore(actor.save())


def test_shims_that_are_not_in_place():
    done = subprocess.run(
        [sys.executable, "-c", "import s5rl.acme.agents"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "ImportError: Call s5rl.acme.compat.install() before" in done.stderr
