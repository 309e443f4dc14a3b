"""The laws of the stream, on every environment."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from functools import partial
from typing import Any, final

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs
from environments import ENVIRONMENTS, assert_equal, random_actions
from hypothesis import given, settings
from hypothesis import strategies as st

from s5rl.envs import JaxEnvironment, MemoryChain, Stream, advance_stream, start_stream
from s5rl.types import Action, Array, PRNGKey, restart, termination, transition

NUM_SLOTS = 30
on_all_environments = pytest.mark.parametrize("environment", ENVIRONMENTS, ids=str)


@partial(jax.jit, static_argnums=0)
def run(environment: JaxEnvironment, key: PRNGKey, actions: Action) -> Stream:
    """Returns the streams [T + 1, ...] that a scan of `advance_stream` passes through."""
    first = start_stream(environment, key)

    def advance(stream: Stream, action: Action) -> tuple[Stream, Stream]:
        stream = advance_stream(environment, stream, action)
        return stream, stream

    _, rest = jax.lax.scan(advance, first, actions)
    return jax.tree.map(lambda one, more: jnp.concatenate([one[None], more]), first, rest)


def actions_of(environment: JaxEnvironment, seed: int, *batch: int) -> Action:
    return random_actions(environment.action_spec(), seed, (*batch, NUM_SLOTS))


@on_all_environments
def test_equals_a_loop_in_python(environment):
    key = jax.random.key(3)
    actions = actions_of(environment, seed=0)
    streams = run(environment, key, actions)
    timesteps = jax.device_get(streams.timestep)

    step = jax.jit(environment.step)
    episodes = steps = 0
    step_type = dm_env.StepType.LAST
    for t in range(NUM_SLOTS + 1):
        if step_type == dm_env.StepType.LAST:
            state, timestep = jax.jit(environment.reset)(jax.random.fold_in(key, episodes))
            episodes += 1
        else:
            state, timestep = step(state, jax.tree.map(lambda leaf, t=t: leaf[t - 1], actions))
            steps += 1
        step_type = dm_env.StepType(int(timestep.step_type))
        assert_equal(jax.tree.map(lambda leaf, t=t: leaf[t], timesteps), timestep)
        assert (int(streams.num_episodes[t]), int(streams.num_steps[t])) == (episodes, steps)
    assert episodes > 2


@on_all_environments
@settings(max_examples=10, deadline=None)
@given(seeds=st.tuples(st.integers(0, 2**31), st.integers(0, 2**31), st.integers(0, 2**31)))
def test_a_dead_slot_ignores_its_action(environment, seeds):
    key = jax.random.key(seeds[0])
    actions, others = (actions_of(environment, seed) for seed in seeds[1:])
    streams = run(environment, key, actions)
    is_dead = np.asarray(streams.timestep.last())[:-1]
    assert is_dead.any()
    mixed = jax.tree.map(
        lambda a, b: np.where(is_dead.reshape(-1, *[1] * (a.ndim - 1)), b, a), actions, others
    )
    assert_equal(run(environment, key, mixed), streams)


@on_all_environments
def test_vmap_once_and_twice_equals_single_rows(environment):
    keys = jax.random.split(jax.random.key(1), (2, 3))
    actions = actions_of(environment, 5, 2, 3)
    twice = jax.vmap(jax.vmap(partial(run, environment)))(keys, actions)
    for i in range(2):
        row = jax.tree.map(lambda leaf, i=i: leaf[i], (keys, actions, twice))
        assert_equal(jax.vmap(partial(run, environment))(*row[:2]), row[2])
        for j in range(3):
            key, action, expected = jax.tree.map(lambda leaf, j=j: leaf[j], row)
            assert_equal(run(environment, key, action), expected)


@on_all_environments
def test_advancing_keeps_every_type(environment):
    def types(stream: Stream) -> Any:
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), stream)

    start = jax.eval_shape(partial(start_stream, environment), jax.random.key(0))
    action = random_actions(environment.action_spec(), 0)
    after = jax.eval_shape(partial(advance_stream, environment), start, action)
    assert types(after) == types(start)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(start))
    assert {start.timestep.step_type.dtype, start.num_steps.dtype} == {np.dtype(np.int32)}


def test_rows_and_episodes_differ():
    environment = MemoryChain(1, num_bits=16)
    keys = jax.random.split(jax.random.key(0), 4)
    streams = jax.vmap(partial(run, environment))(keys, actions_of(environment, 0, 4))
    cues = np.asarray(streams.state.context)[np.asarray(streams.timestep.first())]
    assert len(cues) == 4 * 11
    assert len(np.unique(cues, axis=0)) > 40


def test_raw_keys_serve_as_well():
    environment = MemoryChain(3)
    actions = actions_of(environment, 0)
    raw = run(environment, jax.random.PRNGKey(7), actions)
    assert_equal(raw.timestep, run(environment, jax.random.key(7), actions).timestep)


resets: list[None] = []


@final
@dataclasses.dataclass(frozen=True)
class CostlyReset(JaxEnvironment):
    """Ends where the action says so; its reset counts itself and sorts `size` numbers."""

    size: int

    def reset(self, key: PRNGKey) -> tuple[Array, dm_env.TimeStep]:
        if self.size == 1:
            jax.debug.callback(lambda: resets.append(None))
        state = jnp.sort(jax.random.normal(key, (self.size,)))
        return state, restart(state[0])

    def step(self, state: Array, action: Action) -> tuple[Array, dm_env.TimeStep]:
        choose = partial(jnp.where, action == 1)
        timestep = jax.tree.map(choose, termination(1.0, state[0]), transition(0.0, state[0]))
        return state, timestep

    def observation_spec(self) -> specs.Array:
        return specs.Array((), np.float32, "observation")

    def action_spec(self) -> specs.DiscreteArray:
        return specs.DiscreteArray(2, name="action")


def batched(function: Callable, batch: tuple[int, ...]) -> Callable:
    for _ in batch:
        function = jax.vmap(function)
    return jax.jit(function)


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_a_reset_runs_only_where_some_row_needs_it(batch):
    environment = CostlyReset(size=1)
    keys = jax.random.split(jax.random.key(0), batch) if batch else jax.random.key(0)
    advance = batched(partial(advance_stream, environment), batch)
    stream = batched(partial(start_stream, environment), batch)(keys)

    def count(actions: np.ndarray) -> int:
        nonlocal stream
        jax.effects_barrier()
        resets.clear()
        stream = jax.block_until_ready(advance(stream, actions))
        jax.effects_barrier()
        return len(resets)

    go_on, one_ends = np.zeros(batch, np.int32), np.zeros(batch, np.int32)
    one_ends.flat[0] = 1
    assert [count(go_on), count(go_on), count(one_ends)] == [0, 0, 0]
    assert count(go_on) > 0
    assert count(go_on) == 0
    expected = np.ones(batch)
    expected.flat[0] = 2
    np.testing.assert_array_equal(stream.num_episodes, expected)


def test_no_compiler_moves_the_reset_out_of_its_loop():
    """A reset whose key stays the same in the loop's carry would be hoisted by XLA, and run in every step."""
    environment = CostlyReset(size=3_000)
    keys = jax.random.split(jax.random.key(0), 4)
    stream = batched(partial(start_stream, environment), (4,))(keys)
    advance = batched(partial(advance_stream, environment), (4,))
    program = advance.lower(stream, np.zeros(4, np.int32)).compile().as_text()
    # Names of computations, each with its text; the sort of the costly reset must not run outside a loop.
    bodies = {
        match["name"]: match["body"]
        for match in re.finditer(
            r"^(?:ENTRY )?%?(?P<name>[\w.\-]+) \(.*\{\n(?P<body>(?:  .*\n)*)\}", program, re.MULTILINE
        )
    }
    entry = re.search(r"^ENTRY %?([\w.\-]+)", program, re.MULTILINE)[1]

    def reached(name: str) -> str:
        """The text of a computation and of all that it calls, but for loops."""
        text = bodies[name]
        straight = "\n".join(line for line in text.splitlines() if " while(" not in line)
        called = re.findall(r"(?:calls|to_apply)=%?([\w.\-]+)", straight)
        return straight + "".join(reached(callee) for callee in called)

    assert " sort(" in program
    assert " while(" in bodies[entry]
    assert " sort(" not in reached(entry)
