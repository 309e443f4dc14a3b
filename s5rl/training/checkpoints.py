"""Checkpoints of a run: what it carries from update to update, on disk; kept by orbax."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.options import MultiprocessingOptions

from s5rl.agents import AgentState
from s5rl.key_data import is_key, keys_to_numbers, numbers_to_keys
from s5rl.training.loop import Snapshot
from s5rl.training.named_leaves import differences, leaf_name, named_leaves
from s5rl.types import PyTree

NUM_KEPT = 2
"""Checkpoints that are kept: the latest, and the one before for the day it is damaged."""


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or read, or belongs to something else."""


Notes = dict[str, Any]
"""JSON that goes with a checkpoint."""


@final
class Checkpoints:
    """The checkpoints in one folder, each under the number of updates that were done.

    A process writes and reads alone: `train` does it in the first one, and tells the others.

    A checkpoint is written under another name and then renamed: killed at any instant, the latest complete
    one is intact, and found.
    """

    def __init__(self, folder: Path) -> None:
        """Opens a folder.

        Args:
          folder: where checkpoints are; made where there is none.
        """
        self._folder = folder
        options = ocp.CheckpointManagerOptions(
            max_to_keep=NUM_KEPT,
            enable_async_checkpointing=False,
            create=False,
            multiprocessing_options=_alone() if jax.process_count() > 1 else MultiprocessingOptions(),
        )
        folder.mkdir(parents=True, exist_ok=True)
        self._manager = ocp.CheckpointManager(folder.resolve(), options=options)

    def all(self) -> list[int]:
        """Returns the numbers of updates after which there is a complete checkpoint, the latest last."""
        return sorted(self._manager.all_steps())

    def save(self, num_updates: int, snapshot: Snapshot, notes: Notes) -> None:
        """Writes a checkpoint, and forgets all but the latest ones.

        Args:
          num_updates: number of updates done.
          snapshot: nests of arrays.
          notes: JSON.

        Raises:
          CheckpointError: it cannot be written, as on a full disk; the checkpoints before it stay.
        """
        parts = {name: _to_arrays(tree) for name, tree in _parts(snapshot).items()}
        digests = {name: _digest(arrays) for name, arrays in parts.items()}
        items: dict[str, Any] = {name: ocp.args.StandardSave(arrays) for name, arrays in parts.items()}
        items["notes"] = ocp.args.JsonSave({"notes": notes, "digests": digests})
        try:
            self._manager.save(num_updates, args=ocp.args.Composite(**items))
        except Exception as error:  # orbax and tensorstore raise all kinds
            raise CheckpointError(
                f"the checkpoint after {num_updates} updates could not be written to {self._folder}: "
                f"{_first_line(error)}. {self._intact(num_updates)}"
            ) from error

    def notes(self, num_updates: int) -> Notes:
        """Returns the notes of a checkpoint.

        Raises:
          CheckpointError: it is damaged.
        """
        return self._read(num_updates, notes=ocp.args.JsonRestore())["notes"]["notes"]

    def restore(self, num_updates: int, like: Snapshot) -> Snapshot:
        """Reads a checkpoint.

        Args:
          num_updates: which one.
          like: arrays, or their shapes, in the nests that were saved; what is None is not read.

        Raises:
          CheckpointError: it is damaged, or holds other arrays than these.
        """
        items = dict.fromkeys(_parts(like), ocp.args.StandardRestore())
        read = self._read(num_updates, notes=ocp.args.JsonRestore(), **items)
        return Snapshot(**{name: self._part(num_updates, read, name, getattr(like, name)) for name in items})

    def restore_agent_state(self, num_updates: int, like: AgentState) -> AgentState:
        """Reads only what was learned; see `restore`."""
        read = self._read(num_updates, notes=ocp.args.JsonRestore(), agent_state=ocp.args.StandardRestore())
        return self._part(num_updates, read, "agent_state", like)

    def close(self) -> None:
        """Frees what orbax holds."""
        self._manager.close()

    def _read(self, num_updates: int, **items: Any) -> Any:
        try:
            return self._manager.restore(num_updates, args=ocp.args.Composite(**items))
        except Exception as error:
            raise self._damaged(num_updates, _first_line(error)) from error

    def _part(self, num_updates: int, read: Any, name: str, like: PyTree) -> PyTree:
        arrays = read[name]
        if _digest(arrays) != read["notes"]["digests"][name]:
            raise self._damaged(num_updates, f"the numbers of {name} are not those that were saved")
        shapes = jax.tree.map(_stored_shape, like)
        wrong = differences(named_leaves(shapes), arrays)
        if wrong:
            raise CheckpointError(
                f"the checkpoint after {num_updates} updates in {self._folder} belongs to another agent or "
                f"environment: {'; '.join(wrong[:5])}."
            )
        return _from_arrays(arrays, like, shapes)

    def _damaged(self, num_updates: int, reason: str) -> CheckpointError:
        return CheckpointError(
            f"the checkpoint after {num_updates} updates in {self._folder} is damaged: {reason}. "
            f"{self._intact(num_updates)} To go on from there, delete {self._folder / str(num_updates)}."
        )

    def _intact(self, num_updates: int) -> str:
        others = [step for step in self.all() if step < num_updates]
        return f"The last one before it is that after {others[-1]}." if others else "There is none before it."


def _alone() -> MultiprocessingOptions:
    """Returns that this process waits for no other one: they need no folder in common."""
    index = jax.process_index()
    return MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"s5rl-{index}"
    )


def _parts(snapshot: Snapshot) -> dict[str, PyTree]:
    return {name: tree for name, tree in snapshot._asdict().items() if tree is not None}


def _stored_shape(leaf: Any) -> Any:
    return jax.eval_shape(jax.random.key_data, leaf) if is_key(leaf) else leaf


def _to_arrays(tree: PyTree) -> dict[str, np.ndarray]:
    named = named_leaves(jax.device_get(keys_to_numbers(tree)))
    return {name: np.asarray(leaf) for name, leaf in named.items()}


def _from_arrays(arrays: dict[str, np.ndarray], like: PyTree, shapes: PyTree) -> PyTree:
    """Returns the arrays in their nest; in numpy where `like` holds numpy."""

    def pick(path: Any, leaf: Any, shape: Any) -> Any:
        array = arrays.get(leaf_name(path), np.zeros(shape.shape, shape.dtype))
        return array if isinstance(leaf, np.ndarray | np.generic) else jnp.array(array)

    return numbers_to_keys(jax.tree_util.tree_map_with_path(pick, like, shapes), like)


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
