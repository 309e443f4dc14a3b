"""DistractedCue: what is seen, what is paid, and what can be reached behind noise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from s5rl.envs import DistractedCue


def play(environment, seeds, answers):
    """Observations [T, B, 3], rewards [T, B] and step types [T, B] of whole episodes with fixed answers."""
    state, timestep = jax.vmap(environment.reset)(jax.vmap(jax.random.key)(seeds))
    timesteps = [timestep]
    for _ in range(environment.memory_length + 1):
        state, timestep = jax.vmap(environment.step)(state, answers)
        timesteps.append(timestep)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *timesteps)
    return stacked.observation, stacked.reward, stacked.step_type


@pytest.mark.parametrize("length", [1, 4])
def test_the_cue_comes_first_and_the_question_at_its_time(length):
    seen, rewards, step_types = play(DistractedCue(length), jnp.arange(64), jnp.ones(64, jnp.int32))
    assert (seen[0, :, 0] == 1).all()
    assert (seen[1:, :, 0] == 0).all()
    assert (seen[:, :, 1] == (np.arange(length + 2) == length)[:, None]).all()
    assert set(np.unique(seen[:, :, 2])) == {-1.0, 1.0}
    assert (rewards[:-1] == 0).all()
    assert (rewards[-1] == seen[0, :, 2]).all()  # the answer 1 is right where the cue is 1
    assert (step_types[:-1] < 2).all()
    assert (step_types[-1] == 2).all()


def test_distractors_tell_nothing_of_the_cue():
    seen, _, _ = play(DistractedCue(5), jnp.arange(4000), jnp.ones(4000, jnp.int32))
    signs = seen[:, :, 2]
    correlations = (signs[0] * signs[1:]).mean(axis=1)
    assert np.abs(correlations).max() < 4 / np.sqrt(4000)
    assert np.abs((signs[1] * signs[2]).mean()) < 4 / np.sqrt(4000)


def test_noise_is_normal_and_bounds_what_can_be_reached():
    environment, num = DistractedCue(2, noise=0.5), 20_000
    clean, _, _ = play(DistractedCue(2), jnp.arange(num), jnp.zeros(num, jnp.int32))
    noisy, rewards, _ = play(environment, jnp.arange(num), jnp.zeros(num, jnp.int32))
    noise = (noisy - clean).reshape(-1)
    assert abs(noise.std() - 0.5) < 0.01
    assert abs(noise.mean()) < 0.01
    guess = np.where(noisy[0, :, 2] > 0, 1.0, -1.0)  # the best there is: the sign that was seen
    reached = (guess * -rewards[-1]).mean()  # the answer was always 0
    assert reached == pytest.approx(1 - 2 * norm.cdf(-1 / 0.5), abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"memory_length": 0}, "memory_length must be an integer of at least 1, got 0"),
        ({"memory_length": 3, "noise": -0.1}, "noise must be a number of at least 0, got -0.1"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DistractedCue(**arguments)
