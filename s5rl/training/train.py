"""`train`: an agent and an environment in, a trained agent out."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

import jax
import numpy as np

from s5rl.agents import Agent, AgentState
from s5rl.description import Description, differences
from s5rl.envs import BatchedEnvironment, JaxEnvironment
from s5rl.training.compiled_loop import CompiledLoop
from s5rl.training.environments import TrainingEnvironment, as_batch
from s5rl.training.fit_to_memory import fit_to_memory
from s5rl.training.host_loop import HostLoop
from s5rl.training.keys import check_seed
from s5rl.training.layout import Layout, make_layout
from s5rl.training.loggers import Logger
from s5rl.training.loop import Loop
from s5rl.training.memory_needed import parse_bytes
from s5rl.training.metrics import Columns, max_mean_episodic_return
from s5rl.training.periodic_evaluation import PeriodicEvaluation
from s5rl.training.processes import gather, is_first, on_first
from s5rl.training.progress import show_line
from s5rl.training.run import Run, Watch
from s5rl.training.run_directory import RunDirectory, check_directory, describe_run
from s5rl.types import EnvironmentSpec
from s5rl.validation import check_number, check_positive


@final
@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What training leaves behind.

    Attributes:
      agent: the agent, bound to the environment.
      state: what it learned; `state.params` are the parameters. With several seeds every leaf has a leading
        seed axis.
      metrics: columns by name, one row an update, [updates] or [seeds, updates]: `step` (environment steps
        until then), `steps`, `episodes`, `episode_return`, `episode_length`, and those of the algorithm.
      evaluations: columns by name, one row a periodic evaluation, [evaluations] or [seeds, evaluations]:
        `step`, `episode_return` and `episode_length` (means over the episodes) and `episode_return_std`
        (deviation between them); empty where there was none.
    """

    agent: Agent
    state: AgentState
    metrics: Columns
    evaluations: Columns

    @property
    def num_seeds(self) -> int | None:
        """Number of seeds, None where there is no seed axis."""
        return self.metrics["step"].shape[0] if self.metrics["step"].ndim == 2 else None

    @property
    def mmer(self) -> np.ndarray:
        """The max-mean episodic return, [] or [seeds]; see `max_mean_episodic_return`."""
        return max_mean_episodic_return(self.metrics)

    def seed(self, index: int) -> TrainResult:
        """Returns the result of one of several seeds.

        Args:
          index: which one, from 0.

        Raises:
          ValueError: there is no seed axis, or the index is beyond it.
        """
        if self.num_seeds is None or not 0 <= index < self.num_seeds:
            raise ValueError(
                f"index must be that of one of {self.num_seeds or 'several'} seeds, got {index}."
            )
        return TrainResult(
            agent=self.agent,
            state=jax.tree.map(lambda leaf: leaf[index], self.state),
            metrics={name: column[index] for name, column in self.metrics.items()},
            evaluations={name: column[index] for name, column in self.evaluations.items()},
        )


def train(
    agent: Agent,
    environment: TrainingEnvironment,
    num_steps: int,
    seed: int = 0,
    *,
    num_seeds: int = 1,
    num_envs: int | None = None,
    devices: int | None = None,
    memory_budget: int | str | None = None,
    directory: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
    evaluate_every: int | None = None,
    num_evaluation_episodes: int = 20,
    evaluation_environment: TrainingEnvironment | None = None,
    loggers: Sequence[Logger] = (),
    progress: bool = True,
    on_chunk: Callable[[int, Columns], None] | None = None,
) -> TrainResult:
    """Trains an agent.

    A JaxEnvironment is trained on in one compiled program; every other environment is stepped on the host,
    with the same agent. Training ends after ceil(num_steps / (num_envs * unroll_length)) updates; slots
    behind the end of an episode count there, so that slightly fewer environment steps are done.

    With a directory the run can be stopped at any time, even killed, and the same call goes on from the last
    checkpoint; a larger `num_steps` prolongs it. What comes out is bit for bit what a run without a stop
    gives (on the same machine), with every JaxEnvironment and with environments on the host that can tell
    their state; others begin new episodes.

    Where JAX knows of several processes (`jax.distributed.initialize`), all of them call `train` with the
    same arguments and become one run: JAX environments are shared out over the devices of all, each process
    steps its own environments on the host, and the first one writes the directory and logs. The folder may
    be continued by another number of processes; environments on the host then begin new episodes.

    Args:
      agent: bound to the environment, or not bound yet.
      environment: a JaxEnvironment, a BatchedEnvironment, a dm_env.Environment or a list of those.
      num_steps: number of slots over all environments; the same for each seed.
      seed: of everything random in the run, but for environments on the host, which have their own.
      num_seeds: number of runs under vmap, with seeds seed, seed + 1, ...; only with a JaxEnvironment.
      num_envs: number of environments; None for the config's. Environments on the host bring their own
        number, whatever the config says; where there are several processes, each brings as many.
      devices: number of devices over which the environments are shared out, and the seeds if there are
        several; None for one, or for all where there are several processes. What comes out does not depend
        on it, but for rounding.
      memory_budget: the most memory of each device that an update may need, in bytes or as "8GiB"; learning
        then takes as many rows at a time as fit. The choice is shown with the progress, and is no part of
        what a run is: results differ by rounding only, and a run may go on with another budget. None for no
        limit.
      directory: folder for checkpoints, tables (CSV and JSON lines) and summary; made if there is none. One
        that holds this run continues it.
      checkpoint_seconds: least time between two checkpoints; there is one at the end in any case.
      evaluate_every: number of slots over all environments between two evaluations, rounded up to whole
        updates; None for none.
      num_evaluation_episodes: number of episodes of each evaluation.
      evaluation_environment: where to evaluate; None for the same JaxEnvironment. Environments on the host
        are amid their episodes, so that there another one has to be given.
      loggers: told of every update and evaluation; see `s5rl.training.Logger`.
      progress: whether to show a progress bar on stderr.
      on_chunk: called from time to time with the number of updates done and the metrics since the last call.

    Returns:
      The bound agent, its state, and the metrics and evaluations of the whole run.

    Raises:
      TypeError: the environment is none of these, or there is a memory_budget and the agent is not one of
        `make_agent`.
      ValueError: an argument is out of its range, does not go with this environment, or differs between the
        processes; or there are not so many devices, or they cannot share the environments; or an update needs
        more than the memory_budget however few rows it takes at a time.
      DescriptionError: there is a directory or another process, and the agent or the environment cannot be
        stored, as with a lambda.
      RunDirectoryError: the directory cannot be written to, or holds another run, whose differences it
        names.
      CheckpointError: a checkpoint is damaged or cannot be written.
      TableError: a table in the directory does not hold what the run has written.
      NonFiniteError: the loss, another metric, an observation or a reward is not finite.
      TrainingInterrupted: Ctrl-C with a directory: everything is saved, and the message says how to go on.
    """
    check_positive(num_steps=num_steps, num_seeds=num_seeds, num_evaluation_episodes=num_evaluation_episodes)
    check_number("checkpoint_seconds", checkpoint_seconds, 0)
    check_seed(seed)
    check_seed(seed + num_seeds - 1)
    if evaluate_every is not None:
        check_positive(evaluate_every=evaluate_every)
    budget = None if memory_budget is None else parse_bytes("memory_budget", memory_budget)
    target = environment if isinstance(environment, JaxEnvironment) else as_batch(environment)
    num_envs = _check_num_envs(agent, target, num_envs, num_seeds)
    dataclasses.replace(agent.config, num_envs=num_envs)  # raises where the algorithm cannot do with it
    agent = agent.bind(EnvironmentSpec.from_environment(target))
    seeds = np.asarray(seed if num_seeds == 1 else seed + np.arange(num_seeds))
    description: dict[str, Description] | None = None
    if directory is not None or jax.process_count() > 1:
        description = describe_run(agent, target, np.atleast_1d(seeds).tolist(), num_envs)
    _refuse_differences(
        **(description or {}),
        num_steps=num_steps,
        devices=devices,
        memory_budget=budget,
        directory=directory is not None,
        evaluate_every=evaluate_every,
        num_evaluation_episodes=num_evaluation_episodes,
        jax=jax.__version__,
    )
    layout = make_layout(devices, num_envs, num_seeds)
    _check_share(agent, num_envs, layout)
    slots = num_envs * agent.config.unroll_length
    evaluation = None
    if evaluate_every is not None:
        evaluation = PeriodicEvaluation(
            agent,
            _evaluation_environment(target, evaluation_environment),
            every=math.ceil(evaluate_every / slots),
            num_episodes=num_evaluation_episodes,
            seeds=seeds,
        )
    path = None if directory is None else Path(directory)
    if path is not None:
        on_first(lambda: check_directory(path, description))  # before anything is compiled
    loop: Loop
    if isinstance(target, JaxEnvironment):
        loop = CompiledLoop(agent, target, num_envs, seeds, layout)
    else:
        loop = HostLoop(agent, target, seed, layout)
    if budget is not None:
        fit = fit_to_memory(loop, agent, num_envs, budget, num_shares=layout.num_shares)
        if progress and is_first():
            show_line(str(fit))
    run_directory = None
    if path is not None:
        run_directory = on_first(lambda: RunDirectory(path, description, num_steps))
    try:
        run = Run(
            loop,
            np.atleast_1d(seeds).tolist(),
            has_seed_axis=bool(seeds.ndim),
            evaluation=evaluation,
            path=path,
            directory=run_directory,
            checkpoint_seconds=checkpoint_seconds,
            watch=Watch(loggers if is_first() else (), progress and is_first(), on_chunk),
        )
        run.restore()
        run.go_on(math.ceil(num_steps / slots))
    finally:
        if run_directory is not None:
            run_directory.close()
    return TrainResult(agent, loop.agent_state, run.metrics.columns(), run.evaluations.columns())


def _check_num_envs(
    agent: Agent, environment: JaxEnvironment | BatchedEnvironment, num_envs: int | None, num_seeds: int
) -> int:
    """Returns the number of environments that act."""
    if isinstance(environment, JaxEnvironment):
        num_envs = agent.config.num_envs if num_envs is None else num_envs
        check_positive(num_envs=num_envs)
        return num_envs
    if num_seeds != 1:
        raise ValueError(f"num_seeds must be 1 on host environments, got {num_seeds}: start several runs.")
    num_processes = jax.process_count()
    given = num_processes * environment.num_envs
    if num_envs not in (None, given):
        each = f", {environment.num_envs} in each process" if num_processes > 1 else ""
        raise ValueError(
            f"num_envs must be None or {given}, the number of those given{each}, got {num_envs}."
        )
    return given


def _refuse_differences(**settings: Description) -> None:
    """Raises a ValueError if the processes were not all asked for the same."""
    of_first, *others = gather(settings)
    for index, of_other in enumerate(others, 1):
        places = "in process 0", f"in process {index}"
        lines = [
            line for name in settings for line in differences(of_first[name], of_other[name], name, places)
        ]
        if lines:
            raise ValueError(
                "all processes must train the same run, but these differ:\n  " + "\n  ".join(lines)
            )


def _check_share(agent: Agent, num_envs: int, layout: Layout) -> None:
    """Raises a ValueError if the environments of one device alone are none that the algorithm can do with."""
    share = num_envs // layout.num_shares
    try:
        dataclasses.replace(agent.config, num_envs=share)
    except ValueError as error:
        raise ValueError(
            f"num_envs={num_envs} cannot be shared by {layout.num_shares} devices. Each has {share}: {error}"
        ) from error


def _evaluation_environment(
    training: JaxEnvironment | BatchedEnvironment, given: TrainingEnvironment | None
) -> JaxEnvironment | BatchedEnvironment:
    if given is None:
        if isinstance(training, JaxEnvironment):
            return training
        raise ValueError(
            "evaluation_environment must be given with evaluate_every where the environment lives on the "
            "host: the one that is trained on is amid its episodes."
        )
    return given if isinstance(given, JaxEnvironment) else as_batch(given)
