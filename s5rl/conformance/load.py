"""Finding a core, an agent or an environment by its name, "MODULE:NAME"."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from s5rl.agents import Agent
from s5rl.cores import HaikuCore, RecurrentCore
from s5rl.envs import JaxEnvironment
from s5rl.references import LoadError, resolve


def load_core(name: str) -> RecurrentCore:
    """Returns the core of a name.

    Args:
      name: "MODULE:CORE". MODULE is a dotted path, importable from the current folder too, or a file that
        ends in .py. CORE is a `RecurrentCore`; a class of such, which is built with its defaults; or a class
        or function without required arguments that makes an `hk.RNNCore`, which becomes a `HaikuCore`.

    Raises:
      LoadError: there is no such module or attribute, or what is found is none of these.
    """
    return _as_core(name, resolve(name))


def load_subject(name: str) -> RecurrentCore | Agent | JaxEnvironment:
    """Returns the core, agent or environment of a name.

    Args:
      name: "MODULE:NAME" of an `Agent` or a `JaxEnvironment`, or a class of such, which is built with its
        defaults; or whatever `load_core` takes.

    Raises:
      LoadError: there is no such module or attribute, or what is found is none of these.
    """
    found = resolve(name)
    if isinstance(found, Agent | JaxEnvironment):
        return found
    if inspect.isclass(found) and issubclass(found, Agent | JaxEnvironment):
        return _built(name, found)
    return _as_core(name, found, "a RecurrentCore, an Agent, a JaxEnvironment")


def _as_core(name: str, found: Any, expected: str = "a RecurrentCore") -> RecurrentCore:
    if isinstance(found, RecurrentCore):
        return found
    if not callable(found):
        raise LoadError(
            f"{name} is {found!r}; expected {expected}, a class of such, or a class or function that makes "
            "an hk.RNNCore."
        )
    if inspect.isclass(found) and issubclass(found, RecurrentCore):
        return _built(name, found)
    _check_arguments(name, found)
    try:
        core = HaikuCore(found)
        core.initial_state(1)  # runs the function: what it makes shows only inside a transform
    except Exception as error:
        raise LoadError(f"{name} makes no core: {type(error).__name__}: {error}") from error
    return core


def _built(name: str, found: type[Any]) -> Any:
    _check_arguments(name, found)
    try:
        return found()
    except Exception as error:
        raise LoadError(f"{name} cannot be built: {type(error).__name__}: {error}") from error


def _check_arguments(name: str, found: Callable[..., Any]) -> None:
    """Raises a LoadError if what is called has arguments without defaults."""
    required = [
        parameter.name
        for parameter in inspect.signature(found).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if required:
        raise LoadError(
            f"{name} needs the arguments {', '.join(required)}; expected none that is required: name an "
            "instance, or a function without arguments."
        )
