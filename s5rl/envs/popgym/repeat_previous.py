"""RepeatPrevious: name the suit of the card that was dealt a number of turns ago."""

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
class RepeatPrevious(PopgymEnvironment):
    """Cards are dealt one after the other; an action pays +-1/(n - k) for the suit of the k-th latest one.

    With k = 1 the latest card itself is asked for, the one in sight. Until k cards have been dealt, nothing
    is paid.

    Attributes:
      num_decks: n is 52 times as many.
      k: which card is asked for, counted back from the latest one, which is number 1.
      paper_compatible: whether to be the variant on which the paper's results were measured: the card asked
        for lies one turn further back, and episodes have n steps instead of n - 1, the last of which shows
        no new card. Only for comparison with those results; it is not popgym's environment.

    Source of the variant: Lu et al. 2023, section 4.2, and its published environments.
    """

    num_decks: int = 1
    k: int = 4
    paper_compatible: bool = False

    def __post_init__(self) -> None:
        check_positive(num_decks=self.num_decks, k=self.k)
        if self.k >= self.num_cards:
            raise ValueError(f"k must be below the number of cards, {self.num_cards}, got {self.k}.")

    @property
    def num_cards(self) -> int:
        """The number n of cards."""
        return cards.CARDS_PER_DECK * self.num_decks

    @property
    def max_episode_length(self) -> int:
        """Every episode has n - 1 steps, n in the paper's variant."""
        return self.num_cards - (not self.paper_compatible)

    def sample_state(self, key: PRNGKey) -> cards.DeckState:
        """Deals the first card of a new deck."""
        return cards.begin_deck(key, self.num_decks)

    def begin(self, state: cards.DeckState) -> dm_env.TimeStep:
        """Deals the first card."""
        return restart(cards.suit(state.card(0)))

    def step(self, state: cards.DeckState, action: Action) -> tuple[cards.DeckState, dm_env.TimeStep]:
        """Hears the answer and deals the next card; see `JaxEnvironment.step`."""
        scale = 1 / (self.num_cards - self.k)
        asked_for = state.time - self.k + (not self.paper_compatible)
        state = state.after_a_step()
        is_right = action == cards.suit(state.card(jnp.maximum(asked_for, 0)))
        timestep = next_timestep(
            jnp.where(asked_for < 0, 0.0, jnp.where(is_right, scale, -scale)),
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
        """Returns the cards from the one asked for to the latest one."""
        latest = min(int(state.time), self.num_cards - 1)
        first = max(int(state.time) - self.k + (not self.paper_compatible), 0)
        shown = " ".join(cards.card_text(int(state.card(i))) for i in range(first, latest + 1))
        return f"{cards.progress_text(latest + 1, state.deck)}: {shown}"
