"""How a run lies on devices: one program for one of them, for several, and for several machines."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from s5rl.key_data import is_key, keys_to_numbers
from s5rl.types import PyTree
from s5rl.validation import check_positive

SEEDS, ENVS = "seeds", "envs"
"""The axes of the mesh: along the first, devices have other seeds; along the second, other environments."""
WHOLE: Any = PartitionSpec()
"""Where leaves [...] of one seed lie: whole on every device. In a nest, it stands where they stand."""
ROWS: Any = PartitionSpec(ENVS)
"""Where leaves [B, ...] lie: a share of B on each device."""
ROWS_BEHIND_TIME: Any = PartitionSpec(None, ENVS)
"""Where leaves [T, B, ...] lie, likewise."""


@final
@dataclasses.dataclass(frozen=True)
class Layout:
    """A mesh of devices and what lies where.

    Parameters are whole on every device, environments are shared out, and the compiler adds up gradients.
    Actors step their own environments without hearing of the others.

    Attributes:
      mesh: with the axes `SEEDS` and `ENVS`.
    """

    mesh: Mesh

    @property
    def num_shares(self) -> int:
        """The number of devices that share the environments of a seed."""
        return self.mesh.shape[ENVS]

    @property
    def is_local(self) -> bool:
        """Whether all devices belong to this process."""
        return not self.mesh.is_multi_process

    def constrain(self, tree: PyTree, spec: PartitionSpec) -> PyTree:
        """Inside a compiled program: says where leaves lie, so that the compiler sends what has to be."""
        return jax.lax.with_sharding_constraint(tree, NamedSharding(self.mesh, spec))

    def map_shares(self, function: Callable[..., Any], in_specs: Any, out_specs: Any) -> Callable[..., Any]:
        """Inside a compiled program: returns a function that each device applies to its own share.

        Args:
          function: of leaves as one device has them; nothing is sent between devices.
          in_specs: where each argument lies, a nest that may end early.
          out_specs: where the results lie, likewise.
        """
        # Without the check, since cores unroll with primitives that have no rule for it.
        return jax.shard_map(
            function, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
        )

    def place(self, tree: PyTree, specs: PyTree, has_seed_axis: bool = False) -> PyTree:
        """Puts arrays, which every process has whole, onto the devices.

        Args:
          tree: a nest of arrays, random keys among them.
          specs: where they lie, a nest that may end early.
          has_seed_axis: whether each leaf has the seeds in front.

        Returns:
          New arrays, which share no memory with those given.
        """

        def place(spec: PartitionSpec, subtree: PyTree) -> PyTree:
            sharding = NamedSharding(self.mesh, PartitionSpec(SEEDS, *spec) if has_seed_axis else spec)
            return jax.tree.map(lambda leaf: _place_leaf(leaf, sharding), subtree)

        return jax.tree.map(place, specs, tree, is_leaf=lambda leaf: isinstance(leaf, PartitionSpec))

    def place_share(self, tree: PyTree, spec: PartitionSpec) -> PyTree:
        """Puts arrays onto the devices, of which each process has the share of its own devices.

        Args:
          tree: a nest of arrays in numpy or on a device of this process, random keys not among them.
          spec: where all of them lie.
        """
        sharding = NamedSharding(self.mesh, spec)
        if self.is_local:
            return jax.device_put(tree, sharding)
        tree = jax.device_get(tree)
        return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), tree)

    def shapes(self, tree: PyTree, spec: PartitionSpec) -> PyTree:
        """Returns the shapes and dtypes of leaves that `place_share` has laid out; nothing is in memory.

        Args:
          tree: a nest of arrays, or of their shapes and dtypes, over all processes.
          spec: where all of them lie.
        """
        sharding = NamedSharding(self.mesh, spec)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
        )

    def whole(self, tree: PyTree) -> PyTree:
        """Returns copies of arrays that lie on the devices, each whole on one device of this process.

        All processes have to call it together.
        """
        numbers = keys_to_numbers(tree)
        everywhere = numbers if self.mesh.size == 1 else _everywhere(self, numbers)

        def copy(like: Any, leaf: jax.Array) -> jax.Array:
            here = jnp.copy(leaf.addressable_data(0))
            return jax.random.wrap_key_data(here) if is_key(like) else here

        return jax.tree.map(copy, tree, everywhere)


def make_layout(num_devices: int | None, num_envs: int, num_seeds: int) -> Layout:
    """Returns the layout of a run.

    Args:
      num_devices: over all processes, each of which gives as many; None for all devices where there are
        several processes, and for one where there is one.
      num_envs: of each seed, over all devices.
      num_seeds: of the run; as many devices as can have seeds of their own, the others share environments.

    Raises:
      ValueError: there are not so many devices, or they cannot share the environments evenly.
    """
    num_processes = jax.process_count()
    if num_devices is None:
        num_devices = jax.device_count() if num_processes > 1 else 1
    check_positive(devices=num_devices)
    if num_devices % num_processes:
        raise ValueError(f"devices must be a multiple of the {num_processes} processes, got {num_devices}.")
    each = num_devices // num_processes
    chosen = [_devices_of(process, each, num_devices) for process in range(num_processes)]
    along_seeds = math.gcd(num_seeds, num_devices)
    along_envs = num_devices // along_seeds
    if num_envs % along_envs:
        raise ValueError(
            f"num_envs must be a multiple of the {along_envs} devices that share the environments, got "
            f"num_envs={num_envs} with devices={num_devices}."
        )
    return Layout(Mesh(np.array(chosen).reshape(along_seeds, along_envs), (SEEDS, ENVS)))


def _devices_of(process: int, number: int, num_devices: int) -> list[jax.Device]:
    found = [device for device in jax.devices() if device.process_index == process]
    if len(found) < number:
        advice = ""
        if found[0].platform == "cpu":
            advice = f" A CPU is one device, or {number} if JAX_NUM_CPU_DEVICES={number} is set beforehand."
        raise ValueError(
            f"devices must be at most those that there are, got {num_devices}, {number} of each process, but "
            f"process {process} has {len(found)} ({found[0].platform}).{advice}"
        )
    return found[:number]


def _place_leaf(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if is_key(leaf):
        return jax.random.wrap_key_data(_place_leaf(jax.random.key_data(leaf), sharding))
    array = np.asarray(leaf)
    # A copy for each device: on a CPU, JAX shares memory with what it is given.
    return jax.make_array_from_callback(array.shape, sharding, lambda index: np.array(array[index]))


@functools.partial(jax.jit, static_argnums=0)
def _everywhere(layout: Layout, tree: PyTree) -> PyTree:
    return layout.constrain(tree, WHOLE)
