"""The laws of an environment in JAX: how episodes run, what their data look like, and what decides them."""

from __future__ import annotations

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from s5rl.agents import make_agent
from s5rl.conformance import measure
from s5rl.conformance.environment_subject import STARTS, EnvironmentSubject, Start
from s5rl.conformance.law import Law
from s5rl.conformance.measure import Deviation, compare, demand
from s5rl.cores import FeedForwardCore
from s5rl.cores.checks import describe
from s5rl.key_data import keys_to_numbers
from s5rl.types import EnvironmentSpec, PyTree

FIRST, MID, LAST = (int(kind) for kind in dm_env.StepType)
SLOTS_BEHIND_END = 3
"""Of a row that is compared with the same one alone: the next episode has begun there."""


def episodes_begin_with_first(subject: EnvironmentSubject, start: Start) -> list[Deviation]:
    """Law 1: `reset` returns a FIRST step of reward 0 and discount 1, and no leaf is None, for many keys."""
    timesteps = jax.device_get(subject.beginnings(start))
    if _holds_none(timesteps):
        return [demand("no None in what reset returns: build it with s5rl.types.restart", False)]
    parts = (
        ("a FIRST step from reset, got step_type", timesteps.step_type, FIRST),
        ("reward 0 at FIRST, got", timesteps.reward, 0),
        ("discount 1 at FIRST, got", timesteps.discount, 1),
    )
    # If one differs, the first that does is shown.
    return [
        demand(f"{words} {values[np.argmax(values != want)]}", bool((values == want).all()))
        for words, values, want in parts
    ]


def shapes_stay(subject: EnvironmentSubject, start: Start) -> list[Deviation]:
    """Law 2: `step` returns states and time steps of the structure, shapes and dtypes of `reset`."""
    first = subject.first(start)
    after = subject.step(first[0], subject.action(start))
    pairs = zip(("state", "time step"), map(describe, after), map(describe, first), strict=True)
    return [
        demand(f"a {what} of step like that of reset, {want}; got {got}", got == want)
        for what, got, want in pairs
    ]


def observations_fit_the_spec(subject: EnvironmentSubject, start: Start) -> list[Deviation]:
    """Law 3: every observation has the structure, shape, dtype and bounds of its spec, and is finite."""
    spec = subject.environment.observation_spec()
    seen = subject.recorded(start).timesteps.observation
    if not measure.same_structure(seen, spec):
        words = f"{jax.tree.structure(seen)} in the place of {jax.tree.structure(spec)}"
        return [demand(f"observations of the structure of their spec, {words}", False)]
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(seen))
    pairs = zip(leaves, jax.tree.leaves(spec), strict=True)
    return [
        deviation
        for (path, leaf), part in pairs
        for deviation in _fits(f"observation{jax.tree_util.keystr(path)}", leaf, part)
    ]


def episodes_end_with_last(subject: EnvironmentSubject, start: Start) -> list[Deviation]:
    """Law 4: MID steps until a LAST one, finite rewards, discounts from 0 to 1, and an end in time."""
    timesteps = jax.device_get(subject.recorded(start).timesteps)
    kinds, discounts = timesteps.step_type, timesteps.discount
    stepped = kinds[1:][kinds[:-1] != LAST]
    return [
        demand("MID or LAST steps from step", bool(np.isin(stepped, (MID, LAST)).all())),
        demand("finite rewards", measure.is_finite(timesteps.reward)),
        demand("discounts from 0 to 1", bool(((discounts >= 0) & (discounts <= 1)).all())),
        demand(
            f"an episode that ends within num_steps={subject.num_steps} random actions; give more of them "
            "where episodes are longer",
            bool((kinds == LAST).any()),
        ),
    ]


def functions_are_pure(subject: EnvironmentSubject, start: Start) -> list[Deviation]:
    """Law 5: one key gives one episode, one state and action one next state; with and without jit."""
    environment, key, action = subject.environment, subject.keys(start)[0], subject.action(start)
    first = environment.reset(key)
    after = environment.step(first[0], action)
    return [
        _same("reset, called again with the same key", environment.reset(key), first, 0.0),
        _same("step, called again with the same state", environment.step(first[0], action), after, 0.0),
        _same("reset under jit, against reset", subject.reset(key), first, measure.VALUES),
        _same("step under jit, against step", subject.step(first[0], action), after, measure.VALUES),
    ]


def rows_are_as_alone(subject: EnvironmentSubject, start: Start) -> list[Deviation]:
    """Law 6: a row of a batch, begun anew behind each LAST step, does what it does alone."""
    recorded = subject.recorded(start)
    kinds = np.asarray(recorded.timesteps.step_type)
    ended = np.argwhere(kinds == LAST)  # the earliest first
    end, row = ended[0] if len(ended) else (0, 0)
    key, episode = subject.keys(start)[row], 0
    state, timestep = subject.reset(jax.random.fold_in(key, episode))
    found = []
    for slot in range(min(int(end) + SLOTS_BEHIND_END, subject.num_steps)):
        got = jax.tree.map(lambda leaf, t=slot: leaf[t, row], recorded.timesteps)
        what = f"slot {slot} of row {row} under vmap, against the same alone"
        found.append(_same(what, got, timestep, measure.VALUES))
        if timestep.last():
            episode += 1
            state, timestep = subject.reset(jax.random.fold_in(key, episode))
        else:
            action = jax.tree.map(lambda leaf, t=slot: leaf[t, row], recorded.actions)
            state, timestep = subject.step(state, action)
    return found


def a_network_serves_the_specs(subject: EnvironmentSubject, start: Start) -> list[Deviation]:
    """Law 7: an agent can be bound to the environment."""
    del start
    spec = EnvironmentSpec.from_environment(subject.environment)
    make_agent(spec, core=FeedForwardCore((4,)))  # raises what the report shows
    return [demand("specs that a network serves", True)]


ENVIRONMENT_LAWS = (
    Law(1, "reset gives FIRST, reward 0, discount 1", episodes_begin_with_first, STARTS),
    Law(2, "structure, shapes and types stay", shapes_stay, STARTS),
    Law(3, "observations fit their spec", observations_fit_the_spec, STARTS),
    Law(4, "MID steps, then LAST, all in range", episodes_end_with_last, STARTS),
    Law(5, "reset and step are pure functions", functions_are_pure, STARTS),
    Law(6, "rows of a batch are as alone", rows_are_as_alone, STARTS),
    Law(7, "a network serves the specs", a_network_serves_the_specs, STARTS[:1]),
)
"""The laws of an environment, in order."""


def _holds_none(timestep: dm_env.TimeStep) -> bool:
    return any(leaf is None for leaf in jax.tree.leaves(timestep, is_leaf=lambda node: node is None))


def _same(what: str, got: PyTree, want: PyTree, limit: float) -> Deviation:
    # Without jit, numbers of Python may be among them.
    got, want = (keys_to_numbers(jax.tree.map(jnp.asarray, tree)) for tree in (got, want))
    return compare(what, got, want, limit)


def _fits(name: str, leaf: np.ndarray, spec: specs.Array) -> list[Deviation]:
    """Compares [N, B, ...] with the spec of one."""
    dtype = jax.dtypes.canonicalize_dtype(spec.dtype)
    form = f"{dtype}{list(spec.shape)}"
    got = f"{leaf.dtype}{list(leaf.shape[2:])}"
    found = [
        demand(f"{name} of the shape and dtype of its spec, {form}; got {got}", form == got),
        demand(f"{name} finite", measure.is_finite(leaf)),
    ]
    if isinstance(spec, specs.BoundedArray) and form == got:
        inside = bool(((leaf >= spec.minimum) & (leaf <= spec.maximum)).all())
        words = f"from {leaf.min()} to {leaf.max()}"
        found.append(demand(f"{name} in the bounds of its spec, got numbers {words}", inside))
    return found
