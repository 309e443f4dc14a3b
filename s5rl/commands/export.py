"""`s5rl export`: a policy as a file that JAX runs without s5rl."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from s5rl.commands.console import say
from s5rl.compilation_cache import enable_compilation_cache
from s5rl.training import export_policy, load_policy


def export(
    directory: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    output: Path | None = None,
    seed: int | None = None,
    batch_size: int | None = None,
    checkpoint: int | None = None,
    compilation_cache: bool = True,
) -> int:
    """Writes the policy of a run as an artifact of jax.export, which needs only JAX to run.

    Args:
      directory: folder of the run.
      output: the file; None for policy.jax_export in the folder.
      seed: which of the run's seeds; may be left out where there is one.
      batch_size: environments that act at once; None for one without a batch axis.
      checkpoint: updates after which it was written; None for the latest.
      compilation_cache: whether compiled programs are kept for later calls, in the user's cache folder.

    Returns:
      0.
    """
    if compilation_cache:
        enable_compilation_cache()
    file = directory / "policy.jax_export" if output is None else output
    policy = load_policy(directory, seed=seed, num_updates=checkpoint)
    exported = export_policy(policy, file, batch_size)
    arguments, results = (
        ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in leaves)
        for leaves in (exported.in_avals, exported.out_avals)
    )
    say(f"{file}, for {', '.join(exported.platforms)}", f"step({arguments}) -> {results}")
    return 0
