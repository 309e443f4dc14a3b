"""The one list of all agents: each algorithm, small, around any core."""

from __future__ import annotations

import dataclasses
from typing import Any

import haiku as hk
import jax

from s5rl.agents import A2CConfig, Agent, PPOConfig, make_agent
from s5rl.cores import (
    AttentionCore,
    FeedForwardCore,
    GRUCore,
    HaikuCore,
    LSTMCore,
    RecurrentCore,
    ResettableS5Core,
)
from s5rl.envs import MemoryChain
from s5rl.training import rollout, start_actors
from s5rl.training.keys import run_keys
from s5rl.types import EnvironmentSpec


def haiku_lstm():
    return hk.LSTM(16)


# One core of each class, large enough to learn small tasks.
LEARNING_CORES = {
    "feed_forward": FeedForwardCore((16,)),
    "lstm": LSTMCore(16),
    "gru": GRUCore(16),
    "attention": AttentionCore(num_layers=1, num_heads=2, model_size=16, window=8, mlp_ratio=2),
    "s5": ResettableS5Core(state_size=16, model_size=16, num_layers=1),
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
}


ENVIRONMENT = MemoryChain(3)
SPEC = EnvironmentSpec.from_environment(ENVIRONMENT)

# Everything that an agent can see beside the observation.
OBSERVED = {"observe_previous_action": True, "observe_previous_reward": True, "observe_is_first": True}


def small_agent(algorithm: str, core: RecurrentCore, **settings: Any) -> Agent:
    config = dataclasses.replace(SMALL_CONFIGS[algorithm], **settings)
    return make_agent(core=core, algorithm=algorithm, config=config)


def second_window(agent, num_slots=7, num_envs=4):
    """A trajectory that starts inside episodes (of 4 steps and a dead slot) and crosses several."""
    keys = run_keys(0)
    state = jax.jit(agent.init)(keys.init)
    actors = jax.jit(lambda: start_actors(agent, ENVIRONMENT, keys, num_envs))()

    @jax.jit
    def roll(params, actors):
        return rollout(agent, ENVIRONMENT, params, actors, num_slots)

    _, actors = roll(agent.acting_params(state), actors)
    trajectory, after = roll(agent.acting_params(state), actors)
    return state, trajectory, actors, after
