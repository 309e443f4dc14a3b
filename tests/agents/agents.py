"""The one list of all agents: each algorithm, small, around any core."""

from __future__ import annotations

import dataclasses
from typing import Any

import haiku as hk
import jax

from s5rl.agents import A2CConfig, Agent, MuesliConfig, PPOConfig, make_agent
from s5rl.conformance import WINDOWS, AgentSubject
from s5rl.cores import (
    AttentionCore,
    FeedForwardCore,
    GRUCore,
    HaikuCore,
    LRUCore,
    LSTMCore,
    RecurrentCore,
    ResettableS5Core,
)
from s5rl.envs import JaxEnvironment, MemoryChain
from s5rl.types import EnvironmentSpec, Trajectory


def haiku_lstm():
    return hk.LSTM(16)


# One core of each class, large enough to learn small tasks.
LEARNING_CORES = {
    "feed_forward": FeedForwardCore((16,)),
    "lstm": LSTMCore(16),
    "gru": GRUCore(16),
    "attention": AttentionCore(num_layers=1, num_heads=2, model_size=16, window=8, mlp_ratio=2),
    "s5": ResettableS5Core(state_size=16, model_size=16, num_layers=1),
    "lru": LRUCore(state_size=16, model_size=16, num_layers=1),
    "haiku": HaikuCore(haiku_lstm),
}
SMALL_CONFIGS = {
    "a2c": A2CConfig(learning_rate=3e-3, num_envs=8, unroll_length=8, torso_sizes=(16,)),
    "ppo": PPOConfig(
        learning_rate=3e-3,
        num_envs=8,
        unroll_length=16,
        torso_sizes=(16,),
        num_epochs=2,
        num_minibatches=2,
    ),
    "muesli": MuesliConfig(
        learning_rate=3e-3,
        num_envs=8,
        unroll_length=16,
        torso_sizes=(16,),
        num_minibatches=2,
        model_unroll_length=2,
        model_size=16,
        num_bins=41,
        max_value=2.0,
    ),
}


ENVIRONMENT = MemoryChain(3)
SPEC = EnvironmentSpec.from_environment(ENVIRONMENT)

# Everything that an agent can see beside the observation.
OBSERVED = {"observe_previous_action": True, "observe_previous_reward": True, "observe_is_first": True}


def small_agent(algorithm: str, core: RecurrentCore, **settings: Any) -> Agent:
    config = dataclasses.replace(SMALL_CONFIGS[algorithm], **settings)
    return make_agent(core=core, algorithm=algorithm, config=config)


def subject_of(
    algorithm: str, core: RecurrentCore, environment: JaxEnvironment = ENVIRONMENT, **settings: Any
) -> AgentSubject:
    """An agent that has acted in a few rows, its functions compiled once for all that is tried on it."""
    agent = small_agent(algorithm, core, **{"num_envs": 4, "unroll_length": 8, **settings})
    return AgentSubject(agent, environment)


def amid_episodes(subject: AgentSubject) -> Trajectory:
    """A trajectory whose rows start inside episodes, each at another place, and cross several."""
    return subject.acted(WINDOWS[-1]).trajectory


def take_rows(sequences, rows):
    """Any sequences of all: leaves [L, N, ...] and the memory [N, ...]."""
    by_time = jax.tree.map(lambda leaf: leaf[:, rows], sequences._replace(core_state=()))
    return by_time._replace(core_state=jax.tree.map(lambda leaf: leaf[rows], sequences.core_state))
