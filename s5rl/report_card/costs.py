"""What a core costs: microseconds of acting and of learning, on the machine at hand."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import jax

from s5rl.agents import Agent
from s5rl.cores import RecurrentCore
from s5rl.envs import MemoryChain
from s5rl.report_card.learner import make_learner
from s5rl.training import rollout, start_actors
from s5rl.training.keys import run_keys
from s5rl.types import Array, EnvironmentSpec, Params, PyTree

ENVIRONMENT = MemoryChain(16)
"""Whose time steps the agent sees while it is measured."""
ACTING_STEPS = 500
"""Of one measurement, in one compiled loop."""
REPEATS = 15


class Costs(NamedTuple):
    """What a core costs in the agent of the card, and on what that was measured."""

    parameters: int
    """Numbers that the core learns."""
    state: int
    """Numbers that it keeps for each environment."""
    act_microseconds: float
    """Of `agent.act` for one environment, inside a compiled loop."""
    update_microseconds: float
    """Of `agent.update` on one trajectory."""
    cpus: int
    """How many the machine has."""
    load: float
    """How many processes wanted to run in the last minute, this one included."""
    machine: str
    """Its architecture."""
    backend: str
    """Where JAX computed."""
    python: str
    """Version of Python."""
    jax: str
    """Version of JAX."""
    s5rl: str
    """Version of s5rl."""

    @property
    def setting(self) -> str:
        """On what the times were measured, in words, but for the load."""
        return (
            f"{self.cpus} CPUs ({self.machine}), Python {self.python}, jax {self.jax} on {self.backend}, "
            f"s5rl {self.s5rl}"
        )


def measure_costs(core: RecurrentCore) -> Costs:
    """Measures a core: the least of several wall times, which others on the machine disturb least.

    Args:
      core: the core.
    """
    agent = make_learner(core).bind(EnvironmentSpec.from_environment(ENVIRONMENT))
    keys = run_keys(0)
    state = agent.init(keys.init)
    params = agent.acting_params(state)
    num_slots = agent.config.unroll_length
    actors = start_actors(agent, ENVIRONMENT, keys, agent.config.num_envs)
    trajectory, _ = jax.jit(rollout, static_argnums=(0, 1, 4))(agent, ENVIRONMENT, params, actors, num_slots)
    update = jax.jit(agent.update)
    return Costs(
        parameters=_count(state.params["core"]),
        state=_count(jax.eval_shape(core.initial_state)),
        act_microseconds=_microseconds(lambda: _act(agent, params)) / ACTING_STEPS,
        update_microseconds=_microseconds(lambda: update(state, trajectory, keys.updates)),
        cpus=os.cpu_count() or 1,
        load=os.getloadavg()[0],
        machine=platform.machine(),
        backend=jax.default_backend(),
        python=platform.python_version(),
        jax=jax.__version__,
        s5rl=version("s5rl"),
    )


def _act(agent: Agent, params: Params) -> PyTree:
    """Acts in a compiled loop, in which little but acting takes time."""
    _, timestep = ENVIRONMENT.reset(jax.random.key(0))
    timestep = timestep._replace(step_type=timestep.step_type + 1)  # MID: nothing is reset
    return _act_in_loop(agent, params, timestep, agent.initial_actor_state())


def _loop(agent: Agent, params: Params, timestep: Any, memory: PyTree) -> tuple[PyTree, Array]:
    def body(memory: PyTree, index: Array) -> tuple[PyTree, Array]:
        # Other numbers at each step: a compiler would compute once what does not change.
        seen = jax.tree.map(lambda leaf: leaf + 0.001 * index, timestep.observation)
        output, memory = agent.act(params, timestep._replace(observation=seen), memory, jax.random.key(index))
        return memory, output.action

    return jax.lax.scan(body, memory, jax.numpy.arange(ACTING_STEPS))


_act_in_loop = jax.jit(_loop, static_argnums=0)


def _microseconds(function: Callable[[], Any]) -> float:
    """Returns the least time until the result is there, after a first call that compiles."""
    jax.block_until_ready(function())
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(function())
        times.append(1e6 * (time.perf_counter() - start))
    return min(times)


def _count(tree: PyTree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
