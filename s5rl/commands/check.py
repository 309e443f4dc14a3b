"""`s5rl check`: the laws of a recurrent core, tried on anybody's."""

from __future__ import annotations

from typing import Annotated

import tyro
from rich.console import Console

from s5rl.agents import Agent, make_agent
from s5rl.agents.make_agent import ALGORITHMS
from s5rl.commands.console import refuse
from s5rl.compilation_cache import enable_compilation_cache
from s5rl.conformance import Law, LoadError, UnhashableCoreError, check_agent, check_core, load_core
from s5rl.cores import RecurrentCore


def check(
    core: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODULE:CORE")],
    input_size: int = 3,
    agents: bool = False,
    compilation_cache: bool = True,
) -> int:
    """Tries the laws of a recurrent core on yours.

    Args:
      core: a RecurrentCore, a class of such, or what makes an hk.RNNCore;
        MODULE is a dotted path or a .py file.
      input_size: number of features of the inputs.
      agents: also try the laws of an agent, with each algorithm around the core.
      compilation_cache: whether compiled programs are kept for later calls, in the user's cache folder.

    Returns:
      0 where all laws hold, 1 where one fails, 2 where there is no such core.
    """
    if compilation_cache:
        enable_compilation_cache()
    console = Console()
    if input_size < 1:
        return refuse(f"--input-size must be at least 1, got {input_size}.")
    try:
        loaded = load_core(core)
        with console.status("starting") as status:

            def show(law: Law) -> None:
                status.update(f"law {law.number}: {law.name}")

            reports = [check_core(loaded, input_size, show)]
            console.print(reports[-1])
            for algorithm in ALGORITHMS if agents else ():
                reports.append(check_agent(_small_agent(algorithm, loaded, input_size), progress=show))
                console.print(reports[-1])
    except (LoadError, UnhashableCoreError) as error:
        return refuse(str(error))
    return 0 if all(report.passed for report in reports) else 1


def _small_agent(algorithm: str, core: RecurrentCore, input_size: int) -> Agent:
    """Returns an agent that is soon compiled, and that sees all that an agent can see."""
    config = ALGORITHMS[algorithm][1](
        num_envs=4,
        unroll_length=8,
        torso_sizes=(input_size,),
        activation="tanh",
        observe_previous_action=True,
        observe_previous_reward=True,
        observe_is_first=True,
    )
    return make_agent(core=core, algorithm=algorithm, config=config)
