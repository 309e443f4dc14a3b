"""Autoencode: watch cards being dealt, then name their suits in reverse order."""

from __future__ import annotations

import dataclasses
from typing import final

import dm_env
import jax
import jax.numpy as jnp
from dm_env import specs

from s5rl.envs.popgym import deck as cards
from s5rl.envs.popgym.base import PopgymEnvironment
from s5rl.types import Action, Array, Observation, PRNGKey, next_timestep, restart
from s5rl.validation import check_positive

PLAY, WATCH = 0, 1


@final
@dataclasses.dataclass(frozen=True)
class Autoencode(PopgymEnvironment):
    """Watch n cards, then name their suits in reverse order: +-1/n for each.

    An observation is (mode, suit): while watching (1, suit of the card just dealt), while playing (0, 0).
    The step that deals the last card already shows mode 0. The actions of the first n - 1 steps have no
    effect.

    Attributes:
      num_decks: n is 52 times as many.
    """

    num_decks: int = 1

    def __post_init__(self) -> None:
        check_positive(num_decks=self.num_decks)

    @property
    def num_cards(self) -> int:
        """The number n of cards."""
        return cards.CARDS_PER_DECK * self.num_decks

    @property
    def max_episode_length(self) -> int:
        """Every episode has n - 1 steps of watching and n of playing."""
        return 2 * self.num_cards - 1

    def sample_state(self, key: PRNGKey) -> cards.DeckState:
        """Deals the first card of a new deck."""
        return cards.begin_deck(key, self.num_decks)

    def begin(self, state: cards.DeckState) -> dm_env.TimeStep:
        """Deals the first card."""
        return restart(_watch(state.card(0), WATCH))

    def step(self, state: cards.DeckState, action: Action) -> tuple[cards.DeckState, dm_env.TimeStep]:
        """Deals a card, or hears the answer; see `JaxEnvironment.step`."""
        n = self.num_cards
        is_watching = state.time < n - 1
        after = state.after_a_step()
        watched = _watch(after.card(after.time), jnp.where(after.time == n - 1, PLAY, WATCH))
        # The last card dealt is asked for first, hence the deck is read from its front.
        asked_for = cards.suit(after.deck[jnp.maximum(state.time - (n - 1), 0)])
        reward = jnp.where(action == asked_for, 1 / n, -1 / n)
        observation = jax.tree.map(lambda seen: jnp.where(is_watching, seen, 0), watched)
        timestep = next_timestep(
            jnp.where(is_watching, 0.0, reward), observation, terminated=after.time == self.max_episode_length
        )
        return after, timestep

    def observation_spec(self) -> tuple[specs.DiscreteArray, specs.DiscreteArray]:
        """Returns the specs of mode (0 play, 1 watch) and suit."""
        return specs.DiscreteArray(2, name="mode"), cards.suit_spec("suit")

    def action_spec(self) -> specs.DiscreteArray:
        """Returns the spec of a suit."""
        return cards.suit_spec("action")

    def render(self, state: cards.DeckState) -> str:
        """Returns the cards dealt so far, those that are still asked for."""
        n, time = self.num_cards, int(state.time)
        left = time + 1 if time < n else 2 * n - 1 - time
        mode = "watch" if time < n - 1 else "play"
        return f"{mode}: " + " ".join(cards.card_text(int(state.card(i))) for i in range(left))


def _watch(card: Array, mode: Array | int) -> Observation:
    return jnp.asarray(mode, jnp.int32), cards.suit(card)
