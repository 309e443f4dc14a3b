"""What stands around the core on every rung: one agent, the same settings."""

from __future__ import annotations

from s5rl.agents import Agent, PPOConfig, make_agent
from s5rl.cores import (
    AttentionCore,
    FeedForwardCore,
    GRUCore,
    LRUCore,
    LSTMCore,
    RecurrentCore,
    ResettableS5Core,
)

WIDTH = 64
WINDOW = 128
"""Of attention: more than an episode of any rung."""

SMALL_CORES: dict[str, RecurrentCore] = {
    "s5": ResettableS5Core(state_size=WIDTH, model_size=WIDTH, num_layers=1),
    "lru": LRUCore(state_size=WIDTH, model_size=WIDTH, num_layers=1),
    "lstm": LSTMCore(WIDTH),
    "gru": GRUCore(WIDTH),
    "attention": AttentionCore(num_layers=1, model_size=WIDTH, window=WINDOW),
    "feed_forward": FeedForwardCore((WIDTH,)),
}
"""The built-in cores in the size in which they are on the card, by the name for `--core`."""

CONFIG = PPOConfig(
    learning_rate=1e-3,
    num_envs=8,
    unroll_length=128,
    torso_sizes=(WIDTH,),
    num_epochs=4,
    num_minibatches=4,
    observe_is_first=True,
)
"""Not tuned for any core; the beginning of an episode is seen, as in POPGym's baselines."""


def make_learner(core: RecurrentCore) -> Agent:
    """Returns the agent that learns with a core, not bound to an environment yet."""
    return make_agent(core=core, algorithm="ppo", config=CONFIG)
