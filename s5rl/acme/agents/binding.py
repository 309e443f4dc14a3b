"""From Acme's description of an environment to an agent that fits it."""

from __future__ import annotations

import dataclasses
from typing import Any

from s5rl.acme.agents.library import specs
from s5rl.agents import Agent
from s5rl.types import EnvironmentSpec


def bind(agent: Agent, environment_spec: specs.EnvironmentSpec) -> Agent:
    """Returns an agent for one environment of Acme.

    Args:
      agent: bound to the environment, or not bound yet.
      environment_spec: from `acme.make_environment_spec(environment)`.

    Raises:
      ValueError: the agent is bound to other specs, no network serves these, its config cannot do with one
        environment, or rewards or discounts are not scalars.
    """
    for name in ("rewards", "discounts"):
        spec: Any = getattr(environment_spec, name)
        if getattr(spec, "shape", None) != ():
            raise ValueError(f"environment_spec.{name} must be the spec of a scalar, got {spec}.")
    dataclasses.replace(agent.config, num_envs=1)  # raises where the algorithm cannot do with it
    return agent.bind(EnvironmentSpec(environment_spec.observations, environment_spec.actions))
