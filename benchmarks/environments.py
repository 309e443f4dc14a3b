"""Steps per second of POPGym's environments on one core: ours, many in parallel, beside popgym's own.

Both have a policy that acts uniformly at random, and begin a new episode where one ended. Ours are stepped by
`advance_stream` under `jax.vmap` in one compiled loop; popgym's by a loop in Python, one environment, whole
episodes, all its actions drawn by one call of numpy. Only real steps count: a slot that begins an episode is
none.

`auto-reset` is what the resets cost: the time of the compiled loop divided by the time of the same loop that
steps the states and never resets. Three times: with all episodes begun together (`in step`); with rows that
began in different slots, so that in every slot some episodes end (`apart`; the steps per second are those of
this run); and the latter in 4 groups of a quarter of the rows, under a second `jax.vmap` (`groups`).

All times are CPU time, compilation excluded, the median of the repeats; the contenders take turns.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from statistics import geometric_mean, median
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import machine
import numpy as np
import popgym.envs
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table

from s5rl.envs import Stream, advance_stream, start_stream
from s5rl.envs.popgym import ENVIRONMENTS, PopgymEnvironment
from s5rl.types import Action, Array, PRNGKey, PyTree
from s5rl.validation import check_positive

GROUPS = 4
"""Size of the second batch axis."""
POPGYM = {environment.__name__: environment for environment in popgym.envs.ALL}
"""popgym's classes by name."""

Rows = TypeVar("Rows", bound=PyTree)
Run = Callable[[Rows, PRNGKey, int], tuple[Rows, Array]]
"""From rows, the key of the actions and the number of slots to the rows after that, and totals of each."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Measures steps per second of POPGym's environments on one core, beside popgym's own."""

    only: str = ""
    """Measure the environments whose name contains this."""
    num_environments: int = 1024
    """How many of ours run in parallel; a multiple of 4."""
    slots: int = 400
    """Slots of one measurement; of environments with longer episodes, as many as one of them has."""
    popgym_steps: int = 4_000
    """Steps of popgym's environment in one measurement, rounded up to whole episodes."""
    repeats: int = 3
    """Measurements of each contender."""

    def __post_init__(self) -> None:
        numbers = dataclasses.asdict(self)
        del numbers["only"]
        check_positive(**numbers)
        if self.num_environments % GROUPS:
            raise ValueError(f"num_environments must be a multiple of {GROUPS}, got {self.num_environments}.")
        if not self.names:
            raise ValueError(f"only must be a part of the name of an environment, got {self.only!r}.")

    @property
    def names(self) -> list[str]:
        """The environments to measure."""
        return [name for name in ENVIRONMENTS if self.only in name]


class Measurement(NamedTuple):
    """What came out for one environment."""

    name: str
    ours: float
    """Steps a second."""
    popgyms: float
    """Steps a second."""
    auto_reset: tuple[float, float, float]
    """In step, apart, apart in groups."""

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.ours / self.popgyms


def batched(function: Callable[..., Any], shape: tuple[int, ...]) -> Callable[..., Any]:
    """Returns the function of rows, batched once for each axis of the shape."""
    return functools.reduce(lambda batch, _: jax.vmap(batch), shape, function)


def random_actions(environment: PopgymEnvironment, key: PRNGKey, shape: tuple[int, ...]) -> Action:
    """Returns actions [*shape, ...], uniform within the bounds."""
    spec = environment.action_spec()
    shape = (*shape, *spec.shape)
    if np.issubdtype(spec.dtype, np.integer):
        return jax.random.randint(key, shape, spec.minimum, jnp.asarray(spec.maximum) + 1, spec.dtype)
    return jax.random.uniform(key, shape, spec.dtype, spec.minimum, spec.maximum)


def totals(tree: PyTree, shape: tuple[int, ...]) -> Array:
    """Returns the sum of all numbers of each row [*shape], for which they must really be computed."""
    sums = [jnp.sum(leaf.reshape(*shape, -1), -1, dtype=jnp.float32) for leaf in jax.tree.leaves(tree)]
    return functools.reduce(jnp.add, sums)


def with_resets(environment: PopgymEnvironment, shape: tuple[int, ...]) -> Run[Stream]:
    """Returns the loop over slots of streams [*shape]."""
    advance = batched(functools.partial(advance_stream, environment), shape)

    @jax.jit
    def run(streams: Stream, key: PRNGKey, num_slots: int) -> tuple[Stream, Array]:
        def slot(index: Array, carry: tuple[Stream, Array]) -> tuple[Stream, Array]:
            streams, total = carry
            streams = advance(streams, random_actions(environment, jax.random.fold_in(key, index), shape))
            timestep = streams.timestep
            return streams, total + totals((timestep.reward, timestep.observation), shape)

        return jax.lax.fori_loop(0, num_slots, slot, (streams, jnp.zeros(shape)))

    return run


def without_resets(environment: PopgymEnvironment, shape: tuple[int, ...]) -> Run[PyTree]:
    """Returns the same loop over states [*shape], which walk on behind the end of their episodes."""
    step = batched(environment.step, shape)

    @jax.jit
    def run(states: PyTree, key: PRNGKey, num_slots: int) -> tuple[PyTree, Array]:
        def slot(index: Array, carry: tuple[PyTree, Array]) -> tuple[PyTree, Array]:
            states, total = carry
            actions = random_actions(environment, jax.random.fold_in(key, index), shape)
            states, timestep = step(states, actions)
            return states, total + totals((timestep.reward, timestep.observation), shape)

        return jax.lax.fori_loop(0, num_slots, slot, (states, jnp.zeros(shape)))

    return run


@jax.jit
def select_rows(flags: Array, where_set: Stream, elsewhere: Stream) -> Stream:
    """Returns the rows of one batch where flags [B] are set, else those of the other."""

    def select(left: Array, right: Array) -> Array:
        return jnp.where(flags.reshape(-1, *[1] * (left.ndim - 1)), left, right)

    return jax.tree.map(select, where_set, elsewhere)


def set_apart(run: Run[Stream], fresh: Stream, longest: int) -> Stream:
    """Returns streams [B] that left their first FIRST step in different slots.

    Each waits there for a random number of slots, up to the longest episode, then goes on with the others: so
    episodes of equal length end in all slots alike, and others as they do in a long run.

    Args:
      run: the loop over slots.
      fresh: streams at their first step.
      longest: the slots of the longest episode.
    """
    delays = np.random.default_rng(0).integers(longest, size=len(fresh.num_steps))
    streams = fresh
    for slot in range(longest):
        streams = run(streams, jax.random.key(slot), 1)[0]
        streams = select_rows(delays > slot, fresh, streams)
    return streams


def popgym_episodes(name: str, num_steps: int) -> Callable[[], int]:
    """Returns what plays whole episodes of popgym's environment and tells their number of steps."""
    ours, environment = ENVIRONMENTS[name], POPGYM[name]()
    environment.reset(seed=0)
    spec = ours.action_spec()
    size = (num_steps + ours.max_episode_length, *spec.shape)
    rng = np.random.default_rng(0)

    def play() -> int:
        if np.issubdtype(spec.dtype, np.integer):
            actions = iter(rng.integers(spec.minimum, spec.maximum, size, spec.dtype, endpoint=True))
        else:
            actions = iter(rng.uniform(spec.minimum, spec.maximum, size).astype(spec.dtype))
        done = 0
        while done < num_steps:
            environment.reset()
            has_ended = False
            while not has_ended:
                _, _, terminated, truncated, _ = environment.step(next(actions))
                has_ended = terminated or truncated
                done += 1
        return done

    return play


class Contest(NamedTuple):
    """What is to be measured for one environment; everything is compiled."""

    name: str
    loops: tuple[Callable[[], Any], ...]
    """Ours: in step, apart, apart in groups; then without resets, in one batch and in groups."""
    steps: int
    """Real steps of ours, apart."""
    play: Callable[[], int]
    """Steps popgym's; returns the number of steps."""


def prepare(settings: Settings, name: str) -> Contest:
    """Compiles the loops of an environment, each by running it once."""
    environment = ENVIRONMENTS[name]
    longest = environment.max_episode_length + 1  # the FIRST step has a slot too
    num_slots = max(settings.slots, longest)
    rows, groups = (settings.num_environments,), (GROUPS, settings.num_environments // GROUPS)
    run, run_states = with_resets(environment, rows), without_resets(environment, rows)
    run_groups, run_groups_of_states = with_resets(environment, groups), without_resets(environment, groups)

    keys = jax.random.split(jax.random.key(0), rows)
    fresh = jax.jit(batched(functools.partial(start_stream, environment), rows))(keys)
    apart = set_apart(run, fresh, longest)
    in_groups = jax.tree.map(lambda leaf: leaf.reshape(*groups, *leaf.shape[1:]), apart)
    key = jax.random.key(1)
    loops = (
        lambda: run(fresh, key, num_slots),
        lambda: run(apart, key, num_slots),
        lambda: run_groups(in_groups, key, num_slots),
        lambda: run_states(apart.state, key, num_slots),
        lambda: run_groups_of_states(in_groups.state, key, num_slots),
    )
    after = [loop()[0] for loop in loops]
    steps = int(jnp.sum(after[1].num_steps - apart.num_steps))
    return Contest(name, loops, steps, popgym_episodes(name, settings.popgym_steps))


def measure(contest: Contest, repeats: int) -> Measurement:
    """Returns the medians of one environment; ours and popgym's take turns."""
    times: list[list[float]] = [[] for _ in contest.loops]
    speeds_of_popgym = []
    for _ in range(repeats):
        for loop, of_loop in zip(contest.loops, times, strict=True):
            of_loop.append(machine.cpu_seconds(loop))
        start = time.process_time()
        speeds_of_popgym.append(contest.play() / (time.process_time() - start))
    in_step, apart, in_groups, states, states_in_groups = (median(of_loop) for of_loop in times)
    return Measurement(
        contest.name,
        contest.steps / apart,
        median(speeds_of_popgym),
        (in_step / states, apart / states, in_groups / states_in_groups),
    )


def results_table(measurements: list[Measurement]) -> Table:
    """Returns a line for each environment."""
    table = Table(
        title="Steps per second of one core, and the cost of resets", box=None, padding=(0, 1, 0, 0)
    )
    table.add_column("environment", no_wrap=True)
    for heading in ("ours", "popgym", "ratio", "in step", "apart", "groups"):
        table.add_column(heading, justify="right")
    for measurement in measurements:
        table.add_row(
            measurement.name,
            f"{measurement.ours / 1e6:.2f}M",
            f"{measurement.popgyms:,.0f}",
            f"{measurement.ratio:,.0f}",
            *(f"{ratio:.2f}" for ratio in measurement.auto_reset),
        )
    return table


def summary(measurements: list[Measurement]) -> str:
    """Returns the numbers that stand for all environments."""
    lowest = min(measurements, key=lambda measurement: measurement.ratio)
    counts = [
        sum(measurement.auto_reset[index] < 2 for measurement in measurements)
        for index in range(len(measurements[0].auto_reset))
    ]
    return (
        f"Ratio: {geometric_mean([measurement.ratio for measurement in measurements]):,.1f} in the geometric "
        f"mean, {lowest.ratio:,.1f} at the least ({lowest.name}).\n"
        f"Auto-reset below 2 in {counts[0]} (in step), {counts[1]} (apart) and {counts[2]} (groups) of "
        f"{len(measurements)} environments."
    )


def main() -> None:
    """Runs the benchmark and prints a table, a summary and the conditions."""
    settings = tyro.cli(Settings, description=__doc__)
    load_before = machine.load()
    measurements = []
    with machine.one_core() as threads:
        for name in track(settings.names, "compiling and measuring"):
            contest = threads.submit(prepare, settings, name).result()
            measurements.append(measure(contest, settings.repeats))
            jax.clear_caches()
    console = Console()
    console.print(results_table(measurements))
    console.print(
        f"{summary(measurements)}\n\n{machine.conditions(load_before)}\n"
        f"{settings.num_environments} of ours in parallel, one of popgym's; median of {settings.repeats} "
        "measurements in turns, compilation excluded.",
        highlight=False,
        markup=False,
    )


if __name__ == "__main__":
    main()
