"""MultiarmedBandit: find the arm that pays best, in one episode."""

from __future__ import annotations

import dataclasses
from typing import final

import dm_env
import jax
import jax.numpy as jnp
from dm_env import specs

from s5rl.envs.popgym.base import PopgymEnvironment
from s5rl.envs.popgym.draws import Draw, uniform
from s5rl.types import Action, Array, PRNGKey, next_timestep, restart
from s5rl.validation import check_positive


@final
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MultiarmedBanditState:
    """State of one episode.

    Attributes:
      bandits: float32 [num_bandits], with which probability each arm pays.
      time: int32 [], steps taken.
      key: of the payouts; never changed.
    """

    bandits: Array
    time: Array
    key: PRNGKey


@final
@dataclasses.dataclass(frozen=True)
class MultiarmedBandit(PopgymEnvironment):
    """Pull an arm: 1/L if it pays, else -1/L. An observation is 1 if it paid, else 0.

    Every episode has new arms, whose probabilities are drawn from U[0, 1), and is cut off after L steps.

    Attributes:
      num_bandits: number of arms.
      episode_length: L.
      draw: where the numbers come from that payouts are drawn with; see `s5rl.envs.popgym.draws`.
    """

    num_bandits: int = 10
    episode_length: int = 200
    draw: Draw = dataclasses.field(default=uniform, repr=False)

    def __post_init__(self) -> None:
        check_positive(num_bandits=self.num_bandits, episode_length=self.episode_length)

    @property
    def max_episode_length(self) -> int:
        """Every episode has L steps."""
        return self.episode_length

    def sample_state(self, key: PRNGKey) -> MultiarmedBanditState:
        """Draws the arms."""
        arms_key, payouts_key = jax.random.split(key)
        bandits = jax.random.uniform(arms_key, (self.num_bandits,), "float32")
        return MultiarmedBanditState(bandits, jnp.int32(0), payouts_key)

    def begin(self, state: MultiarmedBanditState) -> dm_env.TimeStep:
        """Shows nothing."""
        return restart(jnp.int32(0))

    def step(
        self, state: MultiarmedBanditState, action: Action
    ) -> tuple[MultiarmedBanditState, dm_env.TimeStep]:
        """Pulls an arm; see `JaxEnvironment.step`."""
        pays = self.draw(state.key, state.time, ()) < state.bandits[action]
        time = state.time + 1
        timestep = next_timestep(
            jnp.where(pays, 1.0, -1.0) / self.episode_length,
            pays.astype(jnp.int32),
            truncated=time >= self.episode_length,
        )
        return dataclasses.replace(state, time=time), timestep

    def observation_spec(self) -> specs.DiscreteArray:
        """Returns the spec of a payout."""
        return specs.DiscreteArray(2, name="payout")

    def action_spec(self) -> specs.DiscreteArray:
        """Returns the spec of an arm."""
        return specs.DiscreteArray(self.num_bandits, name="arm")

    def render(self, state: MultiarmedBanditState) -> str:
        """Returns with which probability each arm pays."""
        arms = " ".join(f"{index}:{chance:.2f}" for index, chance in enumerate(state.bandits))
        return f"step {int(state.time)} of {self.episode_length}; arms {arms}"
