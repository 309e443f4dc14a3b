"""What `acme_impala.py` and `acme_r2d2.py` share: the environment, the memories, and running the agent."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from s5rl.acme import compat

compat.install()  # before anything of Acme is imported

import acme
import numpy as np
from acme import specs, wrappers
from acme.utils import loggers

from s5rl import AttentionCore, FeedForwardCore, GRUCore, LSTMCore, RecurrentCore, ResettableS5Core
from s5rl.acme.is_first import IsFirstWrapper
from s5rl.acme.time_limit import TimeLimit
from s5rl.envs import make_bsuite

CORES: dict[str, RecurrentCore] = {
    "lstm": LSTMCore(32),
    "gru": GRUCore(32),
    "attention": AttentionCore(num_layers=1, num_heads=2, model_size=32, window=16),
    "s5": ResettableS5Core(state_size=32, model_size=32, num_layers=1),
    "feed_forward": FeedForwardCore((32,)),
}
BSUITE_ID = "memory_len/10"
EPISODE_LENGTH = 13
"""Steps of an episode of memory_len/10: a cue, eleven more observations, and the question."""
NUM_PARTS = 6
"""Of the episodes, for which means are printed."""

MakeAgent = Callable[[specs.EnvironmentSpec, RecurrentCore, int], Any]
"""From the spec of the environment, a memory and a seed to an agent of Acme."""


def train(make_agent: MakeAgent, core: RecurrentCore, episodes: int, seed: int = 0) -> np.ndarray:
    """Returns the returns [episodes] of an agent while it learns: 1 or -1 each."""
    environment = IsFirstWrapper(wrappers.SinglePrecisionWrapper(make_bsuite(BSUITE_ID, seed=seed)))
    agent = make_agent(specs.make_environment_spec(environment), core, seed)
    # Without the limit an agent whose replay gives nothing would wait in silence.
    loop = acme.EnvironmentLoop(environment, TimeLimit(agent), logger=loggers.NoOpLogger())
    return np.array([float(loop.run_episode()["episode_return"]) for _ in range(episodes)])


def main(make_agent: MakeAgent, episodes: int, description: str, arguments: Sequence[str] | None) -> None:
    """Trains with what the command line asks for, and prints mean returns."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--core", choices=CORES, default="s5")
    parser.add_argument("--episodes", type=int, default=episodes)
    parser.add_argument("--seed", type=int, default=0)
    settings = parser.parse_args(arguments)
    if settings.episodes < NUM_PARTS:
        parser.error(f"--episodes must be at least {NUM_PARTS}, got {settings.episodes}.")
    if settings.seed < 0:
        parser.error(f"--seed must be at least 0, got {settings.seed}.")
    returns = train(make_agent, CORES[settings.core], settings.episodes, settings.seed)
    print(f"{settings.core} on {BSUITE_ID}: mean return in each sixth of {settings.episodes} episodes")
    print(" ".join(f"{part.mean():.2f}" for part in np.array_split(returns, NUM_PARTS)))
