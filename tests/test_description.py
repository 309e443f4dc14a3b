"""What can be imported again is described and made again; everything else is refused by name."""

from __future__ import annotations

import dataclasses
import json

import haiku as hk
import numpy as np
import pytest
from agents import SMALL_CONFIGS, SPEC, small_agent
from cores import CORES
from dm_env import specs
from environments import ENVIRONMENTS

from s5rl.agents import A2CConfig, PPOConfig, make_agent
from s5rl.cores import HaikuCore, LSTMCore
from s5rl.description import DescriptionError, describe, differences, rebuild
from s5rl.envs.popgym import ENVIRONMENTS as POPGYM
from s5rl.networks import flatten_observation
from s5rl.references import LoadError, NoReferenceError, reference_to, resolve
from s5rl.types import EnvironmentSpec


def through_json(value):
    return json.loads(json.dumps(describe(value, "it")))


@pytest.mark.parametrize("core", CORES.values(), ids=CORES)
def test_every_core_is_made_again(core):
    assert rebuild(through_json(core)) == core


@pytest.mark.parametrize("environment", [*ENVIRONMENTS, *POPGYM.values()], ids=str)
def test_every_environment_and_its_specs_are_made_again(environment):
    assert rebuild(through_json(environment)) == environment
    spec = EnvironmentSpec.from_environment(environment)
    assert rebuild(through_json(spec)) == spec


@pytest.mark.parametrize("algorithm", sorted(SMALL_CONFIGS))
def test_every_agent_is_made_again(algorithm):
    agent = small_agent(algorithm, LSTMCore(4)).bind(SPEC)
    assert rebuild(through_json(agent)) == agent
    other = rebuild(through_json(agent), core=LSTMCore(5))
    assert other == dataclasses.replace(agent, core=LSTMCore(5))


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        0.1,
        float("inf"),
        "text",
        (1, (2.5, None)),
        [1, 2],
        {"a": 1, 2: (3,)},
        flatten_observation,
        np.dtype("float32"),
        specs.DiscreteArray(3),
        PPOConfig.popgym(),
        A2CConfig(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_of_value_is_made_again(value):
    made = rebuild(through_json(value))
    assert made == value
    assert type(made) is type(value)


def test_arrays_are_made_again():
    for array in (np.float32(0.1), np.arange(4, dtype=np.int8).reshape(2, 2), np.asarray([np.inf, 1.0])):
        made = rebuild(through_json(array))
        np.testing.assert_array_equal(made, array)
        assert made.dtype == array.dtype


def test_what_cannot_be_imported_again_is_named():
    def local():
        return hk.LSTM(3)

    for make_core, reason in [
        (lambda: hk.LSTM(3), "is a lambda: define it at the top of a module"),
        (local, "is defined inside a function"),
    ]:
        with pytest.raises(DescriptionError, match=rf"agent\.core\.make_core cannot be stored .*{reason}"):
            describe(make_agent(core=HaikuCore(make_core)), "agent")
    with pytest.raises(DescriptionError, match=r"it\['a'\]\[1\] cannot be stored"):
        describe({"a": (1, object())}, "it")


def test_differences_are_named():
    before, now = PPOConfig(), PPOConfig(learning_rate=1e-3, torso_sizes=(8,))
    assert differences(describe(before, "c"), describe(now, "c"), "config") == [
        "config.learning_rate: 0.0003 in the folder, 0.001 now",
        "config.torso_sizes: [256, 256] in the folder, [8] now",
    ]
    assert differences(describe(before, "c"), describe(before, "c"), "config") == []
    assert differences(describe(before, "c"), describe(A2CConfig(), "c"), "config") == [
        "config: s5rl.agents.ppo:PPOConfig in the folder, s5rl.agents.a2c:A2CConfig now"
    ]


def test_what_is_gone_is_named():
    stored = through_json(LSTMCore(3))
    stored["fields"]["size"] = 3
    with pytest.raises(LoadError, match="LSTMCore no longer takes what was stored of it"):
        rebuild(stored)
    with pytest.raises(LoadError, match="did you mean LSTMCore"):
        rebuild({"type": "s5rl.cores:LSTMCor", "fields": {}})


def test_references(tmp_path, monkeypatch):
    assert reference_to(LSTMCore) == "s5rl.cores.gated:LSTMCore"
    assert resolve("s5rl.agents.ppo:PPOConfig.popgym")() == PPOConfig.popgym()
    # A file that no folder of sys.path holds is named by its path, and found by it in another process.
    (tmp_path / "my_functions.py").write_text("def make(): return 3\n")
    monkeypatch.chdir(tmp_path.parent)
    path = f"{tmp_path / 'my_functions.py'}:make"
    make = resolve(path)
    assert reference_to(make) == path
    assert resolve(path) is make
    monkeypatch.setattr("my_functions.make", lambda: 4)
    with pytest.raises(NoReferenceError, match="holds something else under the name make"):
        reference_to(make)
