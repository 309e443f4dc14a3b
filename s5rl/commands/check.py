"""`s5rl check`: the laws of a recurrent core, tried on anybody's."""

from __future__ import annotations

from typing import Annotated

import tyro
from rich.console import Console

from s5rl.commands.console import refuse
from s5rl.conformance import LAWS, LoadError, UnhashableCoreError, check_core, load_core


def check(
    core: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODULE:CORE")], input_size: int = 3
) -> int:
    """Tries the laws of a recurrent core on yours.

    Args:
      core: a RecurrentCore, a class of such, or what makes an hk.RNNCore;
        MODULE is a dotted path or a .py file.
      input_size: number of features of the inputs.

    Returns:
      0 where all laws hold, 1 where one fails, 2 where there is no such core.
    """
    console = Console()
    if input_size < 1:
        return refuse(f"--input-size must be at least 1, got {input_size}.")
    try:
        loaded = load_core(core)
        with console.status("starting") as status:
            report = check_core(
                loaded, input_size, lambda law: status.update(f"law {law.number} of {len(LAWS)}: {law.name}")
            )
    except (LoadError, UnhashableCoreError) as error:
        return refuse(str(error))
    console.print(report)
    return 0 if report.passed else 1
