"""Prints flags with which XLA compiles faster, and runs slower, as far as this version of it knows them.

The fast tests spend their time compiling programs that run for milliseconds. An unknown flag ends a process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version

ROUNDS_IN_A_BATCH_AS_ALONE = tuple(map(int, version("jax").split(".")[:2])) < (0, 12)
"""At level 0, which newer versions of JAX do not; at level 1 they do, and tests ask for equal bits."""
FLAGS = (
    f"--xla_backend_optimization_level={0 if ROUNDS_IN_A_BATCH_AS_ALONE else 1}",
    "--xla_cpu_use_fusion_emitters=false",
)


def is_known(flag: str) -> bool:
    """Returns whether JAX starts with the flag."""
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    environment = {**os.environ, "XLA_FLAGS": flag}
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    print(*filter(is_known, FLAGS))
