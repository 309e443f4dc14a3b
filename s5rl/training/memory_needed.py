"""What a program holds in memory at most, by the compiler's own account."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from numbers import Integral
from typing import NamedTuple

import jax
from jax.stages import Compiled

from s5rl.types import PyTree

_UNITS = {
    "B": 1,
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", 1)},
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("kMGT", 1)},
}


class MemoryNeeded(NamedTuple):
    """Bytes on a device while an update runs."""

    total: int
    """All of it: what goes in and comes out, and what is computed between."""
    kept: int
    """What a run carries from update to update: parameters, optimiser, replay, environments, memories."""
    trajectory: int
    """What was seen and done, from which an update learns."""

    @classmethod
    def of(cls, program: Compiled, trajectory: PyTree, num_devices: int) -> MemoryNeeded:
        """Returns what a compiled update needs whose arguments are what is kept.

        Args:
          program: the update.
          trajectory: from what it learns; arrays, or their shapes and dtypes.
          num_devices: that have a share of it each.

        Raises:
          RuntimeError: the compiler of this device does not tell.
        """
        stats = program.memory_analysis()
        if stats is None:
            raise RuntimeError(
                f"the compiler for {jax.default_backend()} does not tell how much memory a program needs: "
                "leave memory_budget out, and set microbatch_size of the agent where memory is short."
            )
        total = stats.argument_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes
        leaves = jax.tree.leaves(trajectory)
        num_bytes = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
        return cls(total + stats.temp_size_in_bytes, stats.argument_size_in_bytes, num_bytes // num_devices)


def parse_bytes(name: str, size: int | str) -> int:
    """Returns a number of bytes, at least 1.

    Args:
      name: of the argument in errors.
      size: the number, or a text such as "8GiB", "500 MB" or "1.5GB": 1 GiB is 1024^3 bytes, 1 GB 1000^3.

    Raises:
      ValueError: it is no such number or text.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(\w+)?", size.strip()) if isinstance(size, str) else None
    if match is not None:
        number, unit = match.groups()
        num_bytes = int(Fraction(number) * _UNITS.get(unit or "B", 0))
    else:
        num_bytes = int(size) if isinstance(size, Integral) and not isinstance(size, bool) else 0
    if num_bytes < 1:
        raise ValueError(
            f'{name} must be an integer of at least 1, in bytes, or a text such as "8GiB" or "500MB", '
            f"got {size!r}."
        )
    return num_bytes


def format_bytes(num_bytes: int) -> str:
    """Returns "1.5 GiB", with the largest unit of which there is one."""
    power = min(int(math.log2(max(num_bytes, 1))) // 10, 4)
    return f"{num_bytes / 1024**power:.{1 if power else 0}f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"
