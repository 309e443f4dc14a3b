"""Agents, environments and specs as JSON, so that a run can be compared with another and made again."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from dm_env import specs

from s5rl.references import LoadError, NoReferenceError, reference_to, resolve

Description = Any
"""JSON: numbers, texts, lists, and dicts of which the keys say what stands in them."""

_SPEC_ARGUMENTS: dict[type[specs.Array], tuple[str, ...]] = {
    specs.Array: ("shape", "dtype", "name"),
    specs.BoundedArray: ("shape", "dtype", "minimum", "maximum", "name"),
    specs.DiscreteArray: ("num_values", "dtype", "name"),
    specs.StringArray: ("shape", "string_type", "name"),
}
"""What each class of spec is made of."""


class DescriptionError(ValueError):
    """A value that cannot be stored and made again."""


def describe(value: Any, name: str) -> Description:
    """Returns a value as JSON, from which `rebuild` makes an equal one in any process.

    Args:
      value: None, a number, a text, an array, a spec, a function or class at the top of a module, or a
        dataclass, NamedTuple, tuple, list or dict of such.
      name: of the value in errors, such as "agent".

    Raises:
      DescriptionError: something inside the value is none of these; the message names it.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float) and not isinstance(value, np.generic):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, np.ndarray | np.generic):
        return {"array": describe(value.tolist(), name), "dtype": value.dtype.name}
    if isinstance(value, np.dtype):
        return {"dtype": value.name}
    fields = _fields(value)
    if fields is not None:
        described = {key: describe(field, f"{name}.{key}") for key, field in fields.items()}
        return {"type": _reference(type(value), name), "fields": described}
    if isinstance(value, tuple):
        return {"tuple": [describe(item, f"{name}[{index}]") for index, item in enumerate(value)]}
    if isinstance(value, list):
        return [describe(item, f"{name}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {"dict": [[describe(k, name), describe(v, f"{name}[{k!r}]")] for k, v in value.items()]}
    return {"reference": _reference(value, name)}


def rebuild(description: Description, **given: Any) -> Any:
    """Returns the value of a description.

    Args:
      description: from `describe`.
      **given: fields of the outermost value that are not made from the description.

    Raises:
      LoadError: a class or function cannot be imported any more, or no longer takes the fields.
    """
    if isinstance(description, list):
        return [rebuild(item) for item in description]
    if not isinstance(description, dict):
        return description
    if "type" in description:
        fields = {key: rebuild(field) for key, field in description["fields"].items() if key not in given}
        return _construct(description["type"], {**fields, **given})
    if "tuple" in description:
        return tuple(rebuild(item) for item in description["tuple"])
    if "dict" in description:
        return {rebuild(key): rebuild(item) for key, item in description["dict"]}
    if "float" in description:
        return float(description["float"])
    if "array" in description:
        return np.array(rebuild(description["array"]), description["dtype"])[()]
    if "dtype" in description:
        return np.dtype(description["dtype"])
    return resolve(description["reference"])


def differences(
    stored: Description, current: Description, name: str, places: tuple[str, str] = ("in the folder", "now")
) -> list[str]:
    """Returns one line for each field in which two descriptions differ.

    Args:
      stored: the older one.
      current: the newer one.
      name: of the value, such as "agent".
      places: where they were found.
    """
    if stored == current:
        return []
    before, now = _parts(stored), _parts(current)
    if before is None or now is None or _kind(stored) != _kind(current):
        return [f"{name}: {_words(stored)} {places[0]}, {_words(current)} {places[1]}"]
    lines = []
    for key in dict.fromkeys([*before, *now]):
        path = f"{name}.{key}" if "fields" in stored else f"{name}[{key!r}]"
        lines += differences(before.get(key, "nothing"), now.get(key, "nothing"), path, places)
    return lines


def _fields(value: Any) -> dict[str, Any] | None:
    """Returns the arguments from which the value is made, None where it is not made of fields."""
    if isinstance(value, type):
        return None
    if type(value) in _SPEC_ARGUMENTS:
        return {argument: getattr(value, argument) for argument in _SPEC_ARGUMENTS[type(value)]}
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return dict(value._asdict())
    return None


def _reference(thing: Any, name: str) -> str:
    try:
        return reference_to(thing)
    except NoReferenceError as error:
        raise DescriptionError(f"{name} cannot be stored and imported again: {error}.") from error


def _construct(reference: str, fields: dict[str, Any]) -> Any:
    try:
        return resolve(reference)(**fields)
    except (TypeError, ValueError) as error:
        if isinstance(error, LoadError):
            raise
        raise LoadError(f"{reference} no longer takes what was stored of it: {error}") from error


def _parts(description: Description) -> dict[str, Description] | None:
    """Returns what a value consists of by name, None where it is one thing."""
    if isinstance(description, dict) and "fields" in description:
        return description["fields"]
    if isinstance(description, dict) and "dict" in description:
        return {_words(key): item for key, item in description["dict"]}
    return None


def _kind(description: dict[str, Description]) -> dict[str, Description]:
    """Returns what a value with parts is, without them."""
    return {key: value for key, value in description.items() if key not in ("fields", "dict")}


def _words(description: Description) -> str:
    if isinstance(description, dict):
        inside = description.get("type") or next(iter(description.values()))
        return inside if isinstance(inside, str) else _words(inside)
    return description if isinstance(description, str) else repr(description)
