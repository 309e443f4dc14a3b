"""Finding a core by its name, "MODULE:CORE"."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from s5rl.cores import HaikuCore, RecurrentCore

EXPECTED = "expected MODULE:CORE, as in my_package.my_module:MyCore or my_file.py:MyCore"


class LoadError(ValueError):
    """A name under which no core is found, or what is found there is none."""


def load_core(name: str) -> RecurrentCore:
    """Returns the core of a name.

    Args:
      name: "MODULE:CORE". MODULE is a dotted path, importable from the current folder too, or a file that
        ends in .py. CORE is a `RecurrentCore`; a class of such, which is built with its defaults; or a class
        or function without required arguments that makes an `hk.RNNCore`, which becomes a `HaikuCore`.

    Raises:
      LoadError: there is no such module or attribute, or what is found is none of these.
    """
    module_name, _, attribute = name.rpartition(":")
    if not module_name or not attribute:
        raise LoadError(f"{EXPECTED}; got {name!r}.")
    module = _load_module(module_name)
    if not hasattr(module, attribute):
        near = difflib.get_close_matches(attribute, dir(module), n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "."
        raise LoadError(f"{module_name} has no {attribute!r}{hint}")
    return _as_core(name, getattr(module, attribute))


def _load_module(name: str) -> ModuleType:
    try:
        if name.endswith(".py"):
            return _load_file(Path(name))
        # A console script, unlike `python -m`, does not look into the current folder.
        folder = str(Path.cwd())
        if folder not in sys.path:
            sys.path.insert(0, folder)
        return importlib.import_module(name)
    except LoadError:
        raise
    except Exception as error:
        raise LoadError(f"importing {name!r} failed: {type(error).__name__}: {error}") from error


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise LoadError(f"there is no file {str(path)!r}; {EXPECTED}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


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
