"""`s5rl check`: the laws of a core, an agent or an environment, tried on anybody's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import tyro
from rich.console import Console

from s5rl.agents import Agent, make_agent
from s5rl.agents.make_agent import ALGORITHMS
from s5rl.commands.console import refuse
from s5rl.compilation_cache import enable_compilation_cache
from s5rl.conformance import (
    Law,
    LoadError,
    Report,
    UnhashableCoreError,
    UnhashableEnvironmentError,
    check_agent,
    check_core,
    check_environment,
    load_subject,
)
from s5rl.cores import RecurrentCore
from s5rl.envs import JaxEnvironment

Progress = Callable[[Law[Any, Any]], None]


def check(
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODULE:NAME")],
    input_size: int = 3,
    agents: bool = False,
    num_steps: int = 1000,
    compilation_cache: bool = True,
) -> int:
    """Tries the laws of a recurrent core, an agent or an environment in JAX on yours.

    Args:
      name: an instance or a class of RecurrentCore, Agent or JaxEnvironment, or what makes an hk.RNNCore;
        MODULE is a dotted path or a .py file.
      input_size: number of features of the inputs of a core.
      agents: also try the laws of an agent, with each algorithm around a core.
      num_steps: random actions in each row of an environment, over which an episode has to end.
      compilation_cache: whether compiled programs are kept for later calls, in the user's cache folder.

    Returns:
      0 where all laws hold, 1 where one fails, 2 where there is no such thing.
    """
    if compilation_cache:
        enable_compilation_cache()
    console = Console()
    for flag, number in (("--input-size", input_size), ("--num-steps", num_steps)):
        if number < 1:
            return refuse(f"{flag} must be at least 1, got {number}.")
    passed = True
    try:
        subject = load_subject(name)
        if agents and not isinstance(subject, RecurrentCore):
            return refuse(f"--agents puts a core into agents, but {name} is no core.")
        with console.status("starting") as status:

            def show(law: Law) -> None:
                status.update(f"law {law.number}: {law.name}")

            for report in _reports(subject, input_size, agents, num_steps, show):
                console.print(report)
                passed &= report.passed
    except (LoadError, UnhashableCoreError, UnhashableEnvironmentError) as error:
        return refuse(str(error))
    return 0 if passed else 1


def _reports(
    subject: RecurrentCore | Agent | JaxEnvironment,
    input_size: int,
    agents: bool,
    num_steps: int,
    show: Progress,
) -> Iterator[Report]:
    if isinstance(subject, Agent):
        yield check_agent(subject, progress=show)
    elif isinstance(subject, JaxEnvironment):
        yield check_environment(subject, num_steps, show)
    else:
        yield check_core(subject, input_size, show)
        for algorithm in ALGORITHMS if agents else ():
            yield check_agent(_small_agent(algorithm, subject, input_size), progress=show)


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
