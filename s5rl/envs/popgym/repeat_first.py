"""RepeatFirst: name the suit of the first card, again and again."""

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


@final
@dataclasses.dataclass(frozen=True)
class RepeatFirst(PopgymEnvironment):
    """Cards are dealt one after the other; each action pays +-1/(n - 1) for the suit of the first one.

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
        """Deals the card to remember."""
        return restart(cards.suit(state.card(0)))

    def step(self, state: cards.DeckState, action: Action) -> tuple[cards.DeckState, dm_env.TimeStep]:
        """Hears the answer and deals the next card; see `JaxEnvironment.step`."""
        scale = 1 / self.max_episode_length
        state = state.after_a_step()
        is_right = action == cards.suit(state.card(0))
        timestep = next_timestep(
            jnp.where(is_right, scale, -scale),
            cards.suit(state.card(state.time)),
            terminated=state.time == self.max_episode_length,
        )
        return state, timestep

    def observation_spec(self) -> specs.DiscreteArray:
        """Returns the spec of the suit of the latest card."""
        return cards.suit_spec("suit")

    def action_spec(self) -> specs.DiscreteArray:
        """Returns the spec of a suit."""
        return cards.suit_spec("action")

    def render(self, state: cards.DeckState) -> str:
        """Returns the first card and the latest one."""
        first, latest = (cards.card_text(int(state.card(i))) for i in (0, int(state.time)))
        return f"{cards.progress_text(int(state.time) + 1, state.deck)}: {latest}, first: {first}"
