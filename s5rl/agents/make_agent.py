"""The one line in which an agent's memory is chosen."""

from __future__ import annotations

from typing import Any

from s5rl.agents.a2c import A2CAgent, A2CConfig
from s5rl.agents.base import Agent
from s5rl.agents.muesli import MuesliAgent
from s5rl.agents.muesli_config import MuesliConfig
from s5rl.agents.ppo import PPOAgent, PPOConfig
from s5rl.cores import RecurrentCore
from s5rl.cores.checks import check_hashable
from s5rl.networks import Torso
from s5rl.types import EnvironmentSpec
from s5rl.validation import check_choice

ALGORITHMS: dict[str, tuple[type[Any], type[Any]]] = {
    "ppo": (PPOAgent, PPOConfig),
    "a2c": (A2CAgent, A2CConfig),
    "muesli": (MuesliAgent, MuesliConfig),
}
"""Agent and config class of each algorithm."""


def make_agent(
    environment_spec: EnvironmentSpec | None = None,
    *,
    core: RecurrentCore,
    algorithm: str = "ppo",
    config: Any = None,
    torso: Torso | None = None,
) -> Agent:
    """Returns an agent with the given memory.

    Args:
      environment_spec: specs of the environment; None for an unbound agent, which `train` binds.
      core: the memory.
      algorithm: "ppo", "a2c" or "muesli".
      config: settings of the algorithm, an instance of its config class; None for the defaults.
      torso: what stands before the memory, a function of Haiku modules from observations [N, ...] to features
        [N, F]; None for a perceptron over the flat observation.

    Raises:
      TypeError: core or config is of the wrong type.
      UnhashableCoreError: the core is not hashable.
      ValueError: the algorithm is unknown, or no network serves the specs.
    """
    check_choice("algorithm", algorithm, tuple(ALGORITHMS))
    agent_class, config_class = ALGORITHMS[algorithm]
    if not isinstance(core, RecurrentCore):
        raise TypeError(f"core must be a RecurrentCore such as LSTMCore(), got {core!r}.")
    check_hashable(core)
    if config is not None and not isinstance(config, config_class):
        raise TypeError(f"config must be a {config_class.__name__} for {algorithm!r}, got {config!r}.")
    agent = agent_class(core=core, config=config or config_class(), torso=torso)
    return agent if environment_spec is None else agent.bind(environment_spec)
