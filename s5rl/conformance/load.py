"""Finding a core by its name, "MODULE:CORE"."""

from __future__ import annotations

import inspect
from typing import Any

from s5rl.cores import HaikuCore, RecurrentCore
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


def _as_core(name: str, found: Any) -> RecurrentCore:
    if isinstance(found, RecurrentCore):
        return found
    if not callable(found):
        raise LoadError(
            f"{name} is {found!r}; expected a RecurrentCore, a class of such, or a class or function that "
            "makes an hk.RNNCore."
        )
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
    try:
        if inspect.isclass(found) and issubclass(found, RecurrentCore):
            return found()
        core = HaikuCore(found)
        core.initial_state(1)  # runs the function: what it makes shows only inside a transform
    except Exception as error:
        raise LoadError(f"{name} makes no core: {type(error).__name__}: {error}") from error
    return core
