"""The leaves of a nest by name: how stored arrays are told from those that are expected."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from s5rl.types import PyTree


def named_leaves(tree: PyTree) -> dict[str, Any]:
    """Returns the leaves by name, but for empty arrays, which orbax refuses."""
    named = jax.tree_util.tree_leaves_with_path(tree)
    return {leaf_name(path): leaf for path, leaf in named if np.prod(leaf.shape)}


def leaf_name(path: Any) -> str:
    """Returns the name of the leaf at a path of `jax.tree_util`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Returns what is to be said of each name under which shape or dtype differ, or nothing is."""

    def words(arrays: dict[str, Any], name: str) -> str:
        return f"{arrays[name].dtype}{list(arrays[name].shape)}" if name in arrays else "nothing"

    names = dict.fromkeys([*expected, *found])
    pairs = ((name, words(expected, name), words(found, name)) for name in names)
    return [f"{name} is {there}, expected {here}" for name, here, there in pairs if here != there]


def check_same_arrays(name: str, expected: PyTree, found: PyTree) -> None:
    """Raises a ValueError unless two nests have the same leaves: names, shapes and dtypes."""
    wrong = differences(named_leaves(expected), named_leaves(found))
    if wrong:
        raise ValueError(f"{name} must be that of an equal agent: {'; '.join(wrong[:5])}.")
