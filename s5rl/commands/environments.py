"""Environments as the command line names them."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

import dm_env
import numpy as np

from s5rl.envs import BatchedEnvironment, JaxEnvironment, make_environment

TRAINING, PERIODIC_EVALUATION, EVALUATION = range(3)
"""What environments on the host are for: each has random numbers of its own."""


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """Returns the options that words such as "memory_length=64" say.

    Args:
      words: NAME=VALUE, with a Python literal as the value.

    Raises:
      ValueError: a word is not of this form.
    """
    options = {}
    for word in words:
        name, equals, value = word.partition("=")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            equals = ""
        if not equals or not name.isidentifier():
            raise ValueError(
                "--env must be NAME=VALUE with a Python literal as the value, such as memory_length=64 or "
                f"results_dir='\"logs\"', got {word!r}."
            )
    return options


def make_named(
    name: str,
    options: Sequence[str],
    *,
    num_envs: int,
    seed: int,
    purpose: int,
    num_updates: int = 0,
    share: tuple[int, int] = (0, 1),
) -> JaxEnvironment | BatchedEnvironment | list[dm_env.Environment]:
    """Returns a JaxEnvironment, or several environments on the host: a batch, or a list with different seeds.

    Args:
      name: that `make_environment` knows.
      options: NAME=VALUE each.
      num_envs: how many, on the host.
      seed: of the seeds of those.
      purpose: what they are for.
      num_updates: from where on; a run that goes on does not see its first episodes again.
      share: (i, n) for the i-th of n equal shares of those on the host.

    Raises:
      ImportError: the name belongs to an extra that is not installed.
      ValueError: an unknown name, options that the environment does not take, or shares that are not equal.
    """
    arguments = parse_options(options)
    try:
        environment = make_environment(name, **arguments)
        if isinstance(environment, JaxEnvironment):
            return environment
        index, num_shares = share
        if num_envs % num_shares:
            raise ValueError(f"num_envs must be a multiple of the {num_shares} processes, got {num_envs}.")
        seeds = np.random.SeedSequence((seed, purpose, num_updates)).generate_state(num_envs).tolist()
        seeds = seeds[index * num_envs // num_shares : (index + 1) * num_envs // num_shares]
        if isinstance(environment, BatchedEnvironment):
            environment.close()
            return make_environment(name, num_envs=len(seeds), seed=seeds[0], **arguments)
        return [make_environment(name, seed=each, **arguments) for each in seeds]
    except TypeError as error:
        raise ValueError(f"{name} cannot be made with the options {arguments}: {error}") from error
