"""`s5rl envs`: the environments that there are, and one episode of one of them to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from textwrap import indent
from typing import Annotated, Any, NamedTuple

import dm_env
import jax
import numpy as np
import tyro
from dm_env import specs
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from s5rl.commands.console import refuse
from s5rl.compilation_cache import enable_compilation_cache
from s5rl.envs import (
    BatchedEnvironment,
    DistractedCue,
    JaxEnvironment,
    MemoryChain,
    environment_names,
    make_environment,
)
from s5rl.envs.popgym import PopgymEnvironment
from s5rl.types import Action, Specs

MEMORY_LENGTH = 10
SHOWN: dict[str, MemoryChain | DistractedCue] = {
    "memory_chain": MemoryChain(MEMORY_LENGTH),
    "distracted_cue": DistractedCue(MEMORY_LENGTH),
}
"""What is shown of environments whose length has no default."""
MAX_SEED = 2**32 - 1
PROJECTED = "projected_dm_control"
SEEDED = ("dm_control", PROJECTED)
"""The families on the host that begin with the seed they are given; bsuite has its own."""
INDENT = "    "
"""Before the lines of pictures and matrices."""


def envs(
    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = None,
    seed: int = 0,
    num_steps: int = 10,
    compilation_cache: bool = True,
) -> int:
    """Lists the environments, or plays an episode of one with random actions.

    Args:
      name: of the environment to play, such as popgym/MineSweeperEasy; lists all of them if left out.
      seed: decides the actions, and all else that is random in environments other than bsuite's.
      num_steps: how many steps to show from the beginning; the last one is shown in any case.
      compilation_cache: whether compiled programs are kept for later calls, in the user's cache folder.

    Returns:
      0, or 2 where there is no such environment.
    """
    console = Console(highlight=False, markup=False)
    if name is None:
        console.print(_listing())
        return 0
    if not 0 <= seed <= MAX_SEED:
        return refuse(f"--seed must be from 0 to {MAX_SEED}, got {seed}.")
    if num_steps < 1:
        return refuse(f"--num-steps must be at least 1, got {num_steps}.")
    if compilation_cache:
        enable_compilation_cache()
    try:
        options = {"seed": seed} if name.partition("/")[0] in SEEDED else {}
        environment = SHOWN[name] if name in SHOWN else make_environment(name, **options)
    except ImportError as error:
        return refuse(str(error))
    except ValueError as error:
        return refuse(f"{error} `s5rl envs` lists all.")
    except OSError as error:  # bsuite fetches the images of MNIST
        return refuse(f"{name} could not be made: {error}")
    _show_episode(console, name, environment, seed, num_steps)
    return 0


def _listing() -> RenderableType:
    """Returns what there is, for newcomers."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("observation")
    table.add_column("action")
    table.add_column("steps", justify="right")
    experiments: Counter[str] = Counter()
    tasks: dict[str, list[str]] = {}
    for name in environment_names():
        family, _, member = name.partition("/")
        if family == "bsuite":
            experiments[member.partition("/")[0]] += 1
        elif family == "dm_control":
            domain, _, task = member.partition("/")
            tasks.setdefault(domain, []).append(task)
        elif family != PROJECTED:
            environment: Any = SHOWN[name] if name in SHOWN else make_environment(name)
            specs_ = (describe(environment.observation_spec()), describe(environment.action_spec()))
            table.add_row(name, *specs_, str(_longest_episode(environment)))
    bsuite = [f"bsuite/{experiment}/0..{count - 1}" for experiment, count in experiments.items()]
    return Group(
        table,
        "",
        "2 x 8 values: an array of two whole numbers from 0 to 7. 2 x [-1, 1]: of two real numbers.",
        "Steps are those of the longest episode.",
        f"{' and '.join(SHOWN)} are shown with memory_length={MEMORY_LENGTH};",
        "their episodes have memory_length + 1 steps.",
        "Other names of popgym/: the paper's, with Stateless for PositionOnly; and VelocityOnlyCartpole.",
        "",
        "bsuite's own; the number chooses a setting, on which shapes and lengths may depend:"
        if bsuite
        else "bsuite/ is not installed: pip install 's5rl[bsuite]'",
        *(f"  {line}" for line in bsuite),
        "",
        *_dm_control_shown(tasks),
        "",
        "Watch one: s5rl envs popgym/MineSweeperEasy",
    )


def _dm_control_shown(tasks: dict[str, list[str]]) -> Iterator[RenderableType]:
    """Yields the lines about dm_control, of which the tasks are sorted by domain."""
    if not tasks:
        yield "dm_control/ is not installed: pip install 's5rl[dm_control]'"
        return
    yield "DeepMind's control suite, such as dm_control/cartpole/swingup:"
    for domain, names in tasks.items():
        yield Padding(Text(f"{domain}/ {', '.join(names)}"), (0, 0, 0, 2), expand=False)
    yield ""
    yield f"{PROJECTED}/train and /test: every episode another of its tasks,"
    yield "behind other random projections."


def _longest_episode(environment: PopgymEnvironment | MemoryChain | DistractedCue) -> int:
    if isinstance(environment, MemoryChain | DistractedCue):
        return environment.memory_length + 1
    return environment.max_episode_length


def describe(nest: Specs) -> str:
    """Returns a nest of specs in a few words, such as "2 x 4 values"."""
    return ", ".join(_describe_array(spec) for spec in jax.tree.leaves(nest))


def _describe_array(spec: specs.Array) -> str:
    repeated = "".join(f"{size} x " for size in spec.shape)
    if not isinstance(spec, specs.BoundedArray):
        return f"{repeated.removesuffix(' x ')} numbers" if spec.shape else "a number"
    low, high = np.unique(spec.minimum), np.unique(spec.maximum)
    if len(low) > 1 or len(high) > 1:
        return f"{repeated.removesuffix(' x ')} bounded numbers"
    if np.issubdtype(spec.dtype, np.integer) and low[0] == 0:
        return f"{repeated}{high[0] + 1} values"
    return f"{repeated}[{low[0]:g}, {high[0]:g}]"


class _Moment(NamedTuple):
    """One time step of an episode."""

    action: Action | None
    """None before the first one."""
    timestep: dm_env.TimeStep
    picture: str
    """Empty where the environment does not render."""


def _show_episode(
    console: Console,
    name: str,
    environment: JaxEnvironment | BatchedEnvironment | dm_env.Environment,
    seed: int,
    num_steps: int,
) -> None:
    console.print(f"{name}: {environment}" if isinstance(environment, JaxEnvironment) else name)
    console.print(f"observation: {describe(environment.observation_spec())}", soft_wrap=True)
    console.print(f"action: {describe(environment.action_spec())}, here chosen at random\n", soft_wrap=True)
    if isinstance(environment, JaxEnvironment):
        moments = _play_jax(environment, seed)
    elif isinstance(environment, BatchedEnvironment):
        moments = _play_batch(environment, seed)
    else:
        moments = _play_dm_env(environment, seed)
    episode_return, step = 0.0, 0
    for step, moment in enumerate(moments):
        if moment.action is not None:
            episode_return += float(moment.timestep.reward)
        if step <= num_steps:
            console.print(_moment_shown(step, moment))
    if step > num_steps + 1:
        console.print(f"... {step - num_steps - 1} more steps ...\n")
    if step > num_steps:
        console.print(_moment_shown(step, moment))
    console.print(f"Return {episode_return:.4g}, {step} steps.")


def _play_jax(environment: JaxEnvironment, seed: int) -> Iterator[_Moment]:
    rng, action_spec = np.random.default_rng(seed), environment.action_spec()
    render: Callable[[Any], str] = getattr(environment, "render", lambda state: "")
    step = jax.jit(environment.step)
    state, timestep = jax.jit(environment.reset)(jax.random.key(seed))
    yield _Moment(None, timestep, render(state))
    while not timestep.last():
        action = _random_action(action_spec, rng)
        state, timestep = step(state, action)
        yield _Moment(action, timestep, render(state))


def _play_dm_env(environment: dm_env.Environment, seed: int) -> Iterator[_Moment]:
    rng, action_spec = np.random.default_rng(seed), environment.action_spec()
    timestep = environment.reset()
    yield _Moment(None, timestep, "")
    while not timestep.last():
        action = _random_action(action_spec, rng)
        timestep = environment.step(action)
        yield _Moment(action, timestep, "")


def _play_batch(environment: BatchedEnvironment, seed: int) -> Iterator[_Moment]:
    """Plays the only row of a batch."""

    def row(timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        return jax.tree.map(lambda leaf: leaf[0], timestep)

    rng, action_spec = np.random.default_rng(seed), environment.action_spec()
    timestep = row(environment.reset())
    yield _Moment(None, timestep, "")
    while not timestep.last():
        action = _random_action(action_spec, rng)
        timestep = row(environment.step(jax.tree.map(lambda leaf: leaf[None], action)))
        yield _Moment(action, timestep, "")


def _random_action(action_spec: Specs, rng: np.random.Generator) -> Action:
    """Returns an action uniform within the bounds, which every action here has."""

    def draw(spec: specs.BoundedArray) -> Any:
        if np.issubdtype(spec.dtype, np.integer):
            return rng.integers(spec.minimum, spec.maximum, spec.shape or None, spec.dtype, endpoint=True)
        return rng.uniform(spec.minimum, spec.maximum, spec.shape or None).astype(spec.dtype)

    return jax.tree.map(draw, action_spec)


def _moment_shown(step: int, moment: _Moment) -> RenderableType:
    """Returns a line of numbers, and the picture below it."""
    action, timestep, picture = moment
    observation = f"observation {_numbers(timestep.observation)}"
    if action is None:
        line = f"beginning: {observation}"
    else:
        parts = [f"step {step}: action {_numbers(action)}", f"reward {float(timestep.reward):.4g}"]
        if timestep.last():
            parts.append("terminated" if timestep.discount == 0 else "truncated")
        line = ", ".join([*parts, observation])
    if picture:
        return Group(line, Padding(Text(picture), (0, 0, 0, len(INDENT)), expand=False), "")
    return line


def _numbers(nest: Any) -> str:
    """Returns the numbers of a nest of arrays; of large ones the first and last."""

    def write(leaf: Any) -> str:
        style: Any = {"float_kind": lambda number: f"{number:.3g}"}
        text = np.array2string(np.asarray(leaf), max_line_width=10**6, threshold=256, formatter=style)
        return f"\n{indent(text, INDENT)}" if "\n" in text else text

    parts = [write(leaf) for leaf in jax.tree.leaves(nest)]
    return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"
