"""Past sequences for Muesli, in a replay buffer of flashbax."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from s5rl.agents.memory_agent import MemoryAgent
from s5rl.agents.muesli_config import MuesliConfig
from s5rl.agents.muesli_sequences import MuesliSequences
from s5rl.networks import zero_observation
from s5rl.types import Params, PRNGKey, PyTree, Trajectory, restart


def init_replay(config: MuesliConfig, agent: MemoryAgent, params: Params) -> PyTree:
    """Returns an empty replay of `config.replay_capacity` sequences.

    Args:
      config: the settings.
      agent: bound to its environment.
      params: parameters, of which only the shapes matter.

    Raises:
      ImportError: flashbax is not installed.
    """
    rows = jax.eval_shape(lambda params: _rows_first(_example(agent, params)), params)
    return _buffer(config).init(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), rows))


def add_to_replay(config: MuesliConfig, replay: PyTree, sequences: MuesliSequences) -> PyTree:
    """Returns the replay with more sequences; the oldest ones make room."""
    return _buffer(config).add(replay, _rows_first(sequences))


def mix_with_replay(
    config: MuesliConfig, replay: PyTree, minibatch: MuesliSequences, key: PRNGKey
) -> MuesliSequences:
    """Returns a minibatch with sequences of a replay behind its own, a share of `config.replay_fraction`."""
    # Of the rows that are there: environments may bring another number than `config.num_envs`.
    num_new = minibatch.log_prob.shape[1]
    replayed = _buffer(config, config.num_replayed(num_new)).sample(replay, key).experience
    own = _rows_first(minibatch)
    return _rows_first(jax.tree.map(lambda *leaves: jnp.concatenate(leaves), own, replayed))


def _buffer(config: MuesliConfig, num_sampled: int = 1) -> Any:
    """Returns the functions of the replay, of which only `sample` depends on `num_sampled`."""
    try:
        import flashbax
    except ImportError as error:
        message = "replay_fraction above 0 needs flashbax, which is not installed: pip install 's5rl[replay]'"
        raise ImportError(message) from error
    return flashbax.make_item_buffer(
        max_length=config.replay_capacity,
        min_length=1,
        sample_batch_size=num_sampled,
        add_batches=True,
    )


def _rows_first(sequences: MuesliSequences) -> MuesliSequences:
    """Exchanges time and rows, but in the memory [N, ...], which has no time; twice, it changes nothing."""
    by_time = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), sequences._replace(core_state=()))
    return by_time._replace(core_state=sequences.core_state)


def _example(agent: MemoryAgent, params: Params) -> MuesliSequences:
    """Returns a sequence of one row, of the shapes that the agent's will have."""
    length = agent.config.unroll_length
    timestep = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (1, *leaf.shape)),
        restart(zero_observation(agent.inputs.environment_spec.observation)),
    )
    memory = agent.initial_actor_state(1)
    output, _ = agent.act(params, timestep, memory, jax.random.key(0))
    trajectory = Trajectory(
        _repeat(timestep, length + 1), _repeat(output.action, length), _repeat(output.extras, length), memory
    )
    return MuesliSequences.of(trajectory, agent.inputs.of_trajectory(trajectory))


def _repeat(tree: PyTree, length: int) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (length, *leaf.shape)), tree)
