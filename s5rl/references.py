"""Things by name: "MODULE:NAME" for what can be imported again, in this process or another one."""

from __future__ import annotations

import difflib
import importlib
import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

EXPECTED = "expected MODULE:NAME, as in my_package.my_module:MyCore or my_file.py:MyCore"


class LoadError(ValueError):
    """A name under which nothing is found, or what is found there is not what was asked for."""


class NoReferenceError(ValueError):
    """A function or class that cannot be imported again, such as a lambda."""


def reference_to(thing: Any) -> str:
    """Returns the "MODULE:NAME" under which `resolve` finds a function or class again.

    MODULE is a dotted path, or the path of a file where no folder of `sys.path` holds the module.

    Args:
      thing: a function or a class.

    Raises:
      NoReferenceError: it is a lambda, was defined inside a function or in the script that runs, or its
        module holds something else under its name.
    """
    name, module_name = getattr(thing, "__qualname__", None), getattr(thing, "__module__", None)
    if not isinstance(name, str) or not isinstance(module_name, str):
        raise NoReferenceError(f"{thing!r} is neither a function nor a class of a module")
    if "<" in name:
        kind = "a lambda" if name.endswith("<lambda>") else "defined inside a function"
        raise NoReferenceError(f"{name} of {module_name} is {kind}: define it at the top of a module")
    module = sys.modules.get(module_name)
    if module_name == "__main__":
        spec = getattr(module, "__spec__", None)
        if spec is None:
            raise NoReferenceError(
                f"{name} is defined in the script that runs: move it to a module of its own"
            )
        module_name = spec.name
    if module is None or _attribute(module, name) is not thing:
        raise NoReferenceError(f"{module_name} holds something else under the name {name}")
    return f"{_place_of(module, module_name)}:{name}"


def resolve(reference: str) -> Any:
    """Returns what "MODULE:NAME" names.

    Args:
      reference: MODULE is a dotted path, importable from the current folder too, or a file that ends in .py.

    Raises:
      LoadError: there is no such module or attribute.
    """
    module_name, _, name = reference.rpartition(":")
    if not module_name or not name:
        raise LoadError(f"{EXPECTED}; got {reference!r}.")
    module = _load_module(module_name)
    try:
        return _attribute(module, name)
    except AttributeError as error:
        near = difflib.get_close_matches(name, dir(module), n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "."
        raise LoadError(f"{module_name} has no {name!r}{hint}") from error


def _attribute(module: ModuleType, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _place_of(module: ModuleType, module_name: str) -> str:
    """Returns the module's name, or its file where the name alone would not find it."""
    file = getattr(module, "__file__", None)
    if file is None or "." in module_name:
        return module_name
    spec = importlib.machinery.PathFinder.find_spec(module_name)
    is_found = spec is not None and spec.origin is not None and Path(spec.origin).samefile(file)
    return module_name if is_found else str(Path(file).resolve())


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
    path = path.resolve()
    loaded = sys.modules.get(path.stem)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded  # once more, and its classes would no longer equal those made before
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module
