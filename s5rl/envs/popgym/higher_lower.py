"""HigherLower: guess whether the next card is higher or lower."""

from __future__ import annotations

import dataclasses
from typing import final

import dm_env
import jax.numpy as jnp
from dm_env import specs

from s5rl.envs.popgym import deck as cards
from s5rl.envs.popgym.base import PopgymEnvironment
from s5rl.types import Action, PRNGKey, next_timestep, restart
from s5rl.validation import check_positive

HIGHER, LOWER = 0, 1


@final
@dataclasses.dataclass(frozen=True)
class HigherLower(PopgymEnvironment):
    """Guess whether the next card has a higher (action 0) or a lower rank (1): +-1/n, 0 for equal ranks.

    Who counts the cards guesses better towards the end of the deck.

    Attributes:
      num_decks: n is 52 times as many.
    """

    num_decks: int = 1

    def __post_init__(self) -> None:
        check_positive(num_decks=self.num_decks)

    @property
    def max_episode_length(self) -> int:
        """Every episode has n - 1 steps."""
        return cards.CARDS_PER_DECK * self.num_decks - 1

    def sample_state(self, key: PRNGKey) -> cards.DeckState:
        """Deals the first card of a new deck."""
        return cards.begin_deck(key, self.num_decks)

    def begin(self, state: cards.DeckState) -> dm_env.TimeStep:
        """Deals the first card."""
        return restart(cards.rank(state.card(0)))

    def step(self, state: cards.DeckState, action: Action) -> tuple[cards.DeckState, dm_env.TimeStep]:
        """Deals the next card and compares; see `JaxEnvironment.step`."""
        scale = 1 / (cards.CARDS_PER_DECK * self.num_decks)
        state = state.after_a_step()
        before, after = (cards.rank(state.card(turn)) for turn in (state.time - 1, state.time))
        is_right = (after > before) == (action == HIGHER)
        reward = jnp.where(after == before, 0.0, jnp.where(is_right, scale, -scale))
        timestep = next_timestep(reward, after, terminated=state.time == self.max_episode_length)
        return state, timestep

    def observation_spec(self) -> specs.DiscreteArray:
        """Returns the spec of the rank of the latest card."""
        return specs.DiscreteArray(cards.NUM_RANKS, name="rank")

    def action_spec(self) -> specs.DiscreteArray:
        """Returns the spec of the guess: 0 higher, 1 lower."""
        return specs.DiscreteArray(2, name="action")

    def render(self, state: cards.DeckState) -> str:
        """Returns the latest card."""
        latest = cards.card_text(int(state.card(int(state.time))))
        return f"{cards.progress_text(int(state.time) + 1, state.deck)}: {latest}"
