"""The ladder: what chance and the best there is are worth, and which rungs words choose."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import pytest

from s5rl.report_card import FAMILIES, LADDER, select_tasks
from s5rl.report_card.learner import CONFIG

NUM_EPISODES = 2000
SMALLEST = [min(select_tasks([family]), key=lambda task: task.size) for family in FAMILIES]


@functools.partial(jax.jit, static_argnums=(0, 1))
def returns_of(environment, num_steps, seeds):
    """Returns [B] of an episode with random actions in each row, and whether it has ended."""

    def play(seed):
        reset_key, acting_key = jax.random.split(jax.random.key(seed))
        state, timestep = environment.reset(reset_key)

        def step(carry, action):
            state, total, is_done = carry
            state, timestep = environment.step(state, action)
            total = total + jnp.where(is_done, 0.0, timestep.reward)
            return (state, total, is_done | timestep.last()), None

        actions = jax.random.randint(acting_key, (num_steps,), 0, environment.action_spec().num_values)
        carry = state, jnp.zeros(()), timestep.last()
        (_, total, is_done), _ = jax.lax.scan(step, carry, actions)
        return total, is_done

    return jax.vmap(play)(seeds)


@pytest.mark.parametrize("task", SMALLEST, ids=lambda task: task.name)
def test_random_actions_score_0(task):
    returns, is_done = returns_of(task.environment, 64, jnp.arange(NUM_EPISODES))
    assert is_done.all()
    error = float(returns.std()) / NUM_EPISODES**0.5
    assert abs(task.score(float(returns.mean()))) < 4 * error
    assert task.score(task.optimum) == 1.0


def test_the_easiest_rung_needs_no_memory_and_an_episode_fits_into_an_unroll():
    assert LADDER[0].name == "chain/1"
    lengths = [getattr(task.environment, "memory_length", 50) + 1 for task in LADDER]
    assert max(lengths) + 1 <= CONFIG.unroll_length  # with the dead slot


def test_a_size_is_what_its_family_says():
    for task in LADDER:
        number = {"chain": "memory_length", "distractors": "memory_length", "noise": "noise"}.get(task.family)
        if number:
            assert getattr(task.environment, number) == task.size
    (noise,) = select_tasks(["noise"])
    assert noise.optimum == pytest.approx(0.9545, abs=1e-4)  # two standard deviations: 95.45 %


def test_words_choose_rungs_in_the_order_of_the_ladder():
    assert select_tasks(()) == LADDER
    assert [task.name for task in select_tasks(("noise", "chain/4"))] == ["chain/4", "noise/0.5"]
    with pytest.raises(ValueError, match=r"tasks must be families or names among chain/1, .* got 'chain/5'"):
        select_tasks(("chain/5",))
