"""`s5rl train`: an agent on an environment, in a folder."""

from __future__ import annotations

import argparse
import dataclasses
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, final

import jax
import tyro

from s5rl.agents import Agent, make_agent
from s5rl.commands.choices import DEFAULT, choose
from s5rl.commands.counts import StepCount
from s5rl.commands.environments import PERIODIC_EVALUATION, TRAINING, make_named
from s5rl.commands.settings import RunSettings, read_settings
from s5rl.commands.summary import summarize
from s5rl.compilation_cache import enable_compilation_cache
from s5rl.cores import RecurrentCore
from s5rl.envs import JaxEnvironment
from s5rl.training import RunDirectoryError, connect_processes
from s5rl.training import train as train_agent
from s5rl.training.processes import from_first, is_first
from s5rl.training.run_directory import read_num_updates


@final
@dataclasses.dataclass(frozen=True)
class TrainFlags:
    """The flags of `s5rl train` beside those of the algorithm and the core.

    Attributes:
      environment: a name such as popgym/RepeatPreviousEasy; `s5rl envs` lists all.
      core: the memory: s5, lru, lstm, gru, attention, feed_forward (`s5rl cores`), or your own as
        MODULE:CORE.
      algorithm: ppo, a2c or muesli.
      preset: the paper's settings as defaults of the flags: popgym (PPO), bsuite (A2C) or
        projected_dm_control (Muesli).
      env: an option of the environment, such as memory_length=64.
      num_steps: slots over all environments, for each seed; 15e6 and 1_000_000 are understood.
      num_seeds: runs side by side, with seeds SEED, SEED + 1, ...
      seed: of everything random in the run.
      directory: folder of the run; the same command goes on in it; None for runs/ENVIRONMENT/ALGORITHM-CORE.
      evaluate_every: slots between two evaluations; None for none.
      num_evaluation_episodes: episodes of each evaluation.
      checkpoint_seconds: least time between two checkpoints.
      num_devices: that share the environments, and the seeds; None for one, or all of several processes.
      distributed: whether other processes train the same run, each called with this flag.
      coordinator: HOST:PORT of process 0, where JAX does not find it out.
      num_processes: how many there are, likewise.
      process_index: which this is, from 0, likewise.
      connection_timeout: seconds to wait for the other processes.
      memory_budget: the most memory of a device that an update may need, such as 8GiB; None for no limit.
      tensorboard: whether to write files for TensorBoard into DIRECTORY/tensorboard.
      wandb: project of Weights & Biases to log to.
      compilation_cache: whether compiled programs are kept for later calls, in the user's cache folder.
    """

    environment: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENVIRONMENT")]
    core: str = "s5"
    algorithm: str = "ppo"
    preset: str = DEFAULT
    env: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="NAME=VALUE")] = ()
    num_steps: StepCount = 1_000_000
    num_seeds: int = 1
    seed: int = 0
    directory: Path | None = None
    evaluate_every: StepCount | None = None
    num_evaluation_episodes: int = 20
    checkpoint_seconds: float = 60.0
    num_devices: int | None = None
    distributed: bool = False
    coordinator: str | None = None
    num_processes: int | None = None
    process_index: int | None = None
    connection_timeout: float = 300.0
    memory_budget: str | None = None
    tensorboard: bool = False
    wandb: str | None = None
    compilation_cache: bool = True

    @property
    def folder(self) -> Path:
        """Where the run goes."""
        if self.directory is not None:
            return self.directory
        core = self.core.rpartition(":")[2]
        return Path("runs") / self.environment.replace("/", "-") / f"{self.algorithm}-{core}"


def train_command(words: Sequence[str]) -> Callable[..., int]:
    """Returns the command, with the flags of the algorithm and the core that the words choose.

    Args:
      words: the command line after `s5rl train`.

    Raises:
      LoadError: there is no core of that name.
      ValueError: an unknown algorithm, core or preset.
    """
    parser = argparse.ArgumentParser("s5rl train", add_help=False, allow_abbrev=False)
    for name in ("core", "algorithm", "preset"):
        default: Any = getattr(TrainFlags, name)
        parser.add_argument(f"--{name}", default=default)
    choice = choose(**vars(parser.parse_known_args(words)[0]))

    def train(flags: TrainFlags, config: Any = choice.config, memory: RecurrentCore = choice.core) -> int:
        """Trains an agent; the same command goes on where it was stopped."""
        return _train(flags, config, memory)

    as_flags = [tyro.conf.arg(name="core")]
    as_it_is = [tyro.conf.Fixed, tyro.conf.Suppress]
    train.__annotations__ = {  # the types of which flags are made are known only now
        "flags": Annotated[TrainFlags, tyro.conf.arg(name="")],
        "config": Annotated[type(choice.config), tyro.conf.arg(name="")],
        "memory": Annotated[type(choice.core), *(as_it_is if choice.is_own_core else as_flags)],
        "return": int,
    }
    return train


def _train(flags: TrainFlags, config: Any, core: RecurrentCore) -> int:
    _connect(flags)
    if flags.compilation_cache:
        enable_compilation_cache()
    directory = flags.folder
    agent = make_agent(core=core, algorithm=flags.algorithm, config=config)
    before = from_first(lambda: read_settings(directory))
    if before is not None and (before.environment, before.options) != (flags.environment, flags.env):
        raise RunDirectoryError(
            f"--directory {directory} holds another run. Give another folder, or that run's environment: "
            f"{' '.join((before.environment, *before.options))} in the folder, "
            f"{' '.join((flags.environment, *flags.env))} now."
        )
    settings = RunSettings(
        environment=flags.environment,
        options=flags.env,
        num_steps=flags.num_steps,
        evaluate_every=flags.evaluate_every,
        num_evaluation_episodes=flags.num_evaluation_episodes,
        checkpoint_seconds=flags.checkpoint_seconds,
        tensorboard=flags.tensorboard,
        wandb=flags.wandb,
        wandb_id=uuid.uuid4().hex if before is None else before.wandb_id,
        memory_budget=flags.memory_budget,
    )
    return run(
        agent,
        settings,
        directory,
        seed=flags.seed,
        num_seeds=flags.num_seeds,
        num_envs=config.num_envs,
        num_devices=flags.num_devices,
    )


def _connect(flags: TrainFlags) -> None:
    where = (flags.coordinator, flags.num_processes, flags.process_index)
    if flags.distributed:
        connect_processes(*where, timeout=flags.connection_timeout)
    elif where != (None, None, None):
        raise ValueError("--coordinator, --num-processes and --process-index need --distributed.")


def run(
    agent: Agent,
    settings: RunSettings,
    directory: Path,
    *,
    seed: int,
    num_seeds: int,
    num_envs: int,
    num_devices: int | None = None,
) -> int:
    """Trains in a folder, and says what came out.

    Args:
      agent: bound to the environment, or not bound yet.
      settings: what to do.
      directory: the folder; a run that it holds is continued.
      seed: the first seed.
      num_seeds: number of seeds.
      num_envs: number of environments.
      num_devices: see `s5rl.training.train`.

    Returns:
      0.
    """
    name, options = settings.environment, settings.options
    streams: dict[str, Any] = {"seed": seed, "num_updates": from_first(lambda: read_num_updates(directory))}
    share = (jax.process_index(), jax.process_count())
    environment = make_named(name, options, num_envs=num_envs, purpose=TRAINING, share=share, **streams)
    evaluation_environment = None
    if settings.evaluate_every is not None and not isinstance(environment, JaxEnvironment):
        num_copies = min(num_envs, settings.num_evaluation_episodes)
        evaluation_environment = make_named(
            name, options, num_envs=num_copies, purpose=PERIODIC_EVALUATION, **streams
        )
    result = train_agent(
        agent,
        environment,
        settings.num_steps,
        seed,
        num_seeds=num_seeds,
        num_envs=num_envs,
        devices=num_devices,
        memory_budget=settings.memory_budget,
        directory=directory,
        checkpoint_seconds=settings.checkpoint_seconds,
        evaluate_every=settings.evaluate_every,
        num_evaluation_episodes=settings.num_evaluation_episodes,
        evaluation_environment=evaluation_environment,
        loggers=settings.loggers(directory),
    )
    if is_first():
        summarize(result, directory, settings.num_steps)
    return 0
