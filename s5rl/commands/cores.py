"""`s5rl cores`: the memories that there are."""

from __future__ import annotations

import inspect

import jax
from rich.table import Table

from s5rl.commands.choices import CORES
from s5rl.commands.console import say
from s5rl.types import PyTree

INPUT_SIZE = 64
"""Features of the inputs for which parameters are counted."""


def cores() -> int:
    """Lists the cores: what they are, and how large.

    Returns:
      0.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("--core", "", "output", "parameters", "state"):
        table.add_column(name, justify="right" if name in ("output", "parameters", "state") else "left")
    for name, cls in CORES.items():
        core = cls()
        params = jax.eval_shape(lambda key, core=core: core.init(key, INPUT_SIZE), jax.random.key(0))
        table.add_row(
            name,
            (inspect.getdoc(cls) or "").splitlines()[0],
            f"{core.output_size:,}",
            f"{_count(params):,}",
            f"{_count(jax.eval_shape(core.initial_state)):,}",
        )
    say(
        table,
        "",
        f"In their default sizes, for inputs of {INPUT_SIZE} features.",
        "output: features of an output; state: numbers kept for each environment.",
        "Sizes are flags: s5rl train --core lstm --help",
        "",
        "Your own core: --core MODULE:CORE, such as my_core.py:MyCore. Check it first:",
        "  s5rl check my_core.py:MyCore",
    )
    return 0


def _count(tree: PyTree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
