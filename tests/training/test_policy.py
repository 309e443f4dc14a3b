"""A saved policy acts as the agent does, in this process and in another one, with s5rl and without."""

from __future__ import annotations

import subprocess
import sys

import dm_env
import jax
import numpy as np
import pytest
from agents import OBSERVED, SMALL_CONFIGS, small_agent
from dm_env import specs
from environments import random_actions

from s5rl.cores import GRUCore, ResettableS5Core
from s5rl.envs import MemoryChain, as_dm_env, make_environment
from s5rl.references import LoadError
from s5rl.training import CheckpointError, evaluate, export_policy, load_policy, train
from s5rl.types import restart, transition

TIMEOUT = 120
ENVIRONMENT = make_environment("popgym/RepeatPreviousEasy")
CORE = ResettableS5Core(state_size=4, model_size=4, num_layers=1)


@pytest.fixture(scope="module", params=sorted(SMALL_CONFIGS))
def saved(request, tmp_path_factory):
    """A folder with a run of two seeds, and its result."""
    folder = tmp_path_factory.mktemp(request.param)
    agent = small_agent(request.param, CORE, **OBSERVED)
    return folder, train(agent, ENVIRONMENT, 256, seed=3, num_seeds=2, directory=folder, progress=False)


def play(policy, num_steps=120):
    """Time steps with a LAST and a FIRST among them, actions, and the return of the first episode."""
    environment, state = as_dm_env(ENVIRONMENT, 1), policy.initial_state()
    timesteps, actions = [environment.reset()], []
    for _ in range(num_steps):
        action, state = policy.step(timesteps[-1], state)
        actions.append(int(action))
        timesteps.append(environment.step(action))
    assert any(timestep.last() for timestep in timesteps[1:])
    return timesteps, actions


def test_a_policy_acts_as_the_agent_does(saved):
    folder, result = saved
    policy = load_policy(folder, seed=4)
    assert policy.agent == result.agent
    for loaded, learned in zip(
        jax.tree.leaves(policy.params),
        jax.tree.leaves(result.agent.acting_params(result.seed(1).state)),
        strict=True,
    ):
        np.testing.assert_array_equal(loaded, learned)
    timesteps, _ = play(policy)
    first_end = [timestep.last() for timestep in timesteps].index(True)
    evaluation = evaluate(policy.agent, policy.params, as_dm_env(ENVIRONMENT, 1), 1)
    assert evaluation.episode_lengths[0] == first_end
    np.testing.assert_allclose(
        evaluation.episode_returns[0], sum(t.reward for t in timesteps[1 : first_end + 1]), rtol=1e-5
    )


def test_with_a_key_actions_are_drawn_and_a_batch_is_its_rows(saved):
    policy = load_policy(saved[0], seed=3)
    observation = ENVIRONMENT.observation_spec().generate_value()
    drawn = {
        int(policy.step(restart(observation), policy.initial_state(), jax.random.key(seed)).action)
        for seed in range(40)
    }
    assert len(drawn) > 1
    batch = jax.tree.map(lambda leaf: np.stack([leaf] * 3), transition(1.0, observation))
    action, state = policy.step(batch, policy.initial_state(3))
    assert action.shape == (3,)
    assert all(leaf.shape[0] == 3 for leaf in jax.tree.leaves(state))
    single = policy.step(transition(1.0, observation), policy.initial_state())
    np.testing.assert_array_equal(action, [single.action] * 3)


def test_seed_checkpoint_and_core_are_checked(saved):
    folder, _ = saved
    for seed in (None, 2):
        with pytest.raises(ValueError, match=f"seed must be one of the run's 3, 4, got {seed}"):
            load_policy(folder, seed=seed)
    with pytest.raises(CheckpointError, match=r"belongs to another agent or environment: .* expected"):
        load_policy(folder, seed=3, core=GRUCore(4))
    given = load_policy(folder, seed=3, core=CORE)
    assert given.agent == load_policy(folder, seed=3).agent


def test_a_core_that_is_gone_is_given(saved, tmp_path):
    folder, _ = saved
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "run.json").unlink()
    text = (folder / "run.json").read_text()
    (tmp_path / "run.json").write_text(text.replace("s5rl.cores.s5:ResettableS5Core", "gone:Core"))
    with pytest.raises(
        LoadError, match=r"importing 'gone' failed(.|\n)*load_policy\(directory, core=\.\.\.\)"
    ):
        load_policy(tmp_path, seed=3)
    assert load_policy(tmp_path, seed=3, core=CORE).agent.core == CORE


ELSEWHERE = """
import sys
import dm_env, numpy as np
from s5rl import load_policy
policy = load_policy({folder!r}, seed=4)
state, data = policy.initial_state(), np.load({data!r})
for t in range(len(data["step_type"])):
    first = data["step_type"][t] == 0
    timestep = dm_env.TimeStep(
        dm_env.StepType(int(data["step_type"][t])),
        None if first else float(data["reward"][t]),
        None if first else float(data["discount"][t]),
        data["observation"][t],
    )
    action, state = policy.step(timestep, state)
    print(int(action))
"""
WITHOUT_S5RL = """
import sys
import jax, jax.export, numpy as np
from pathlib import Path
exported = jax.export.deserialize(bytearray(Path({artifact!r}).read_bytes()))
data = np.load({data!r})
state = tuple(np.zeros(leaf.shape, leaf.dtype) for leaf in exported.in_avals[4:])
for t in range(len(data["step_type"])):
    timestep = (data[name][t] for name in ("step_type", "reward", "discount", "observation"))
    action, state = exported.call(*timestep, state)
    print(int(action))
assert "s5rl" not in sys.modules
"""


def test_other_processes_act_alike(saved, tmp_path):
    folder, _ = saved
    policy = load_policy(folder, seed=4)
    timesteps, actions = play(policy, 70)
    timesteps = timesteps[:-1]
    np.savez(
        tmp_path / "data.npz",
        step_type=np.asarray([t.step_type for t in timesteps], np.int32),
        reward=np.asarray([t.reward or 0.0 for t in timesteps], np.float32),
        discount=np.asarray([1.0 if t.discount is None else t.discount for t in timesteps], np.float32),
        observation=np.stack([t.observation for t in timesteps]),
    )
    exported = export_policy(policy, tmp_path / "policy.bin")
    assert {"cpu", "cuda"} <= set(exported.platforms)
    places = {key: str(tmp_path / name) for key, name in [("data", "data.npz"), ("artifact", "policy.bin")]}
    for script in (ELSEWHERE, WITHOUT_S5RL):
        result = subprocess.run(
            [sys.executable, "-c", script.format(folder=str(folder), **places)],
            timeout=TIMEOUT,
            check=False,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        assert [int(line) for line in result.stdout.split()] == actions


def test_a_batch_and_nested_specs_are_exported(tmp_path):
    from environments import RandomWalk

    walk = RandomWalk()

    class Pushed(dm_env.Environment):  # the walk with a single action, which the agents take
        def __init__(self):
            self._walk = as_dm_env(walk, 0)

        def reset(self):
            return self._walk.reset()

        def step(self, action):
            return self._walk.step({"push": action, "stay": np.int32(0)})

        def observation_spec(self):
            return self._walk.observation_spec()

        def action_spec(self):
            return self._walk.action_spec()["push"]

    train(
        small_agent("a2c", GRUCore(3), num_envs=1, **OBSERVED),
        Pushed(),
        8,
        directory=tmp_path / "run",
        progress=False,
    )
    policy = load_policy(tmp_path / "run")
    exported = export_policy(policy, tmp_path / "new" / "policy.bin", batch_size=2)
    observation = {
        name: np.stack([random_actions(specs.BoundedArray(s.shape, s.dtype, 0, 1), i) for i in range(2)])
        for name, s in policy.environment_spec.observation.items()
    }
    num_leaves = len(jax.tree.leaves(policy.initial_state(2)))
    zeros = tuple(np.zeros(leaf.shape, leaf.dtype) for leaf in exported.in_avals[-num_leaves:])
    step_type, ones = np.zeros(2, np.int32), np.ones(2, np.float32)
    action, _ = exported.call(step_type, 0 * ones, ones, observation, zeros)
    expected = policy.step(
        dm_env.TimeStep(step_type, 0 * ones, ones, observation), policy.initial_state(2)
    ).action
    np.testing.assert_allclose(action, expected, rtol=1e-5)
    with pytest.raises(ValueError, match="batch_size"):
        export_policy(policy, tmp_path / "no.bin", batch_size=0)


def test_one_seed_needs_no_name(tmp_path):
    agent = small_agent("a2c", GRUCore(3))
    result = train(agent, MemoryChain(2), 64, seed=9, directory=tmp_path, progress=False)
    policy = load_policy(tmp_path)
    assert policy.agent == result.agent
    assert load_policy(tmp_path, seed=9).agent == result.agent
