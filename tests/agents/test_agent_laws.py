"""Every law of an agent, for every algorithm around every core."""

from __future__ import annotations

import functools

import jax
import pytest
from agents import OBSERVED, SMALL_CONFIGS, amid_episodes, subject_of
from cores import CORES

from s5rl.conformance import AGENT_LAWS, check_law
from s5rl.cores import FeedForwardCore

# An update of PPO that learns nothing, and counts in its metrics the ratios that are not 1.
COUNT_RATIOS = {"learning_rate": 1e-30, "policy_clip": 1e-5}
# With some cores, one of each kind, its trajectories are cut into sequences.
CUT = {"sequence_length": 4, "refresh_states": True}
CUT_CORES = ("lstm", "attention_short_window", "s5", "haiku_starts_at_one")
# PPO with every core; the other algorithms act with the same code, and are tried with one core of each class.
ONE_OF_EACH_CLASS = {type(core): name for name, core in reversed(CORES.items())}.values()
CASES = {
    f"{algorithm}-{name}": (algorithm, core, OBSERVED)
    for algorithm in SMALL_CONFIGS
    for name, core in CORES.items()
    if algorithm == "ppo" or name in ONE_OF_EACH_CLASS
}
CASES |= {
    f"{algorithm}-nothing_but_the_observation": (algorithm, CORES["lstm"], {}) for algorithm in SMALL_CONFIGS
}


@functools.cache
def subject_of_case(name):
    algorithm, core, observed = CASES[name]
    settings = COUNT_RATIOS if algorithm == "ppo" else {}
    if name in [f"ppo-{core_name}" for core_name in CUT_CORES]:
        settings = settings | CUT
    return subject_of(algorithm, core, **observed, **settings)


@pytest.mark.parametrize("law", AGENT_LAWS, ids=lambda law: f"law_{law.number}")
@pytest.mark.parametrize("name", CASES)
def test_law_holds(name, law):
    report = check_law(law, subject_of_case(name), law.cases)
    assert report.verdict == "holds", report


@pytest.mark.parametrize("name", CORES)
def test_until_something_is_learned_every_ratio_of_ppo_is_one(name):
    subject = subject_of_case(f"ppo-{name}")
    trajectory = amid_episodes(subject)

    def clip_fraction(trajectory):
        return subject.update(subject.state, trajectory, jax.random.key(0))[1]["clip_fraction"]

    assert clip_fraction(trajectory) == 0.0
    # A memory or an input that is not the actor's would be found.
    before = trajectory.initial_state
    wrong_memory = before._replace(core_state=jax.tree.map(lambda leaf: leaf + 1, before.core_state))
    wrong_input = before._replace(previous_action=1 - before.previous_action)
    for fault in [wrong_input] if isinstance(CORES[name], FeedForwardCore) else [wrong_input, wrong_memory]:
        assert clip_fraction(trajectory._replace(initial_state=fault)) > 0.0
