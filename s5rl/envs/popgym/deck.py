"""Playing cards: one or more decks of 52, shuffled together and dealt from the end.

A card is a number; its suit is `card % 4`, its rank `card % 52 // 4`, its colour `card % 2`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import final

import jax
import jax.numpy as jnp
from dm_env import specs

from s5rl.envs.popgym import draws
from s5rl.types import Array, PRNGKey
from s5rl.validation import check_choice

CARDS_PER_DECK = 52
NUM_SUITS = 4
NUM_RANKS = 13


@final
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DeckState:
    """State of an episode that deals one card a step.

    Attributes:
      deck: int16 [n], popgym's `deck.idx`; dealt from the end.
      is_decided: bool [], whether the cards not dealt yet are in the order in which they will come. If not,
        the next one is chosen when it is dealt: they are shuffled one card a step, not all when the episode
        begins.
      time: int32 [], steps taken.
      key: chooses the cards; never changed.
    """

    deck: Array
    is_decided: Array
    time: Array
    key: PRNGKey

    def card(self, turn: Array | int) -> Array:
        """Returns the card of this turn, counted from 0."""
        return dealt(self.deck, turn)

    def after_a_step(self) -> DeckState:
        """Deals one card, if any is left."""
        time = self.time + 1
        return dataclasses.replace(
            self, deck=deal(self.deck, time, draws.bits(self.key, time, ()), self.is_decided), time=time
        )


def begin_deck(key: PRNGKey, num_decks: int) -> DeckState:
    """Deals the first card of a new deck."""
    is_decided = jnp.bool_(False)
    deck = deal(new_deck(num_decks), jnp.int32(0), draws.bits(key, jnp.int32(0), ()), is_decided)
    return DeckState(deck, is_decided, jnp.int32(0), key)


def new_deck(num_decks: int) -> Array:
    """Returns all cards in order, int16 [52 * num_decks]."""
    return jnp.arange(CARDS_PER_DECK * num_decks, dtype=jnp.int16)


def deal(deck: Array, turn: Array, bits: Array, is_decided: Array) -> Array:
    """Chooses the card of a turn: it swaps places with one of those that have not been dealt.

    All turns together are the shuffle of Fisher and Yates, as numpy's `shuffle` does it, with which popgym
    shuffles.

    Args:
      deck: int16 [n].
      turn: int32 [], counted from 0; behind the last one nothing happens.
      bits: uint32 [], what chooses the card.
      is_decided: bool [], whether the card is chosen already.

    Returns:
      The deck, int16 [n].
    """
    position = jnp.maximum(deck.shape[0] - 1 - turn, 0)
    partner = jnp.where(is_decided, position, draws.below(position + 1, bits))
    pair = jnp.stack([position, partner])
    return deck.at[pair].set(deck[pair[::-1]])


def shuffled(key: PRNGKey, num_decks: int) -> Array:
    """Returns all cards in random order, int16 [52 * num_decks].

    On a CPU this is several times faster than a sort by random keys.
    """
    deck = new_deck(num_decks)
    bits = jax.random.bits(key, deck.shape, "uint32")

    def deal_one(turn: Array, deck: Array) -> Array:
        return deal(deck, turn, bits[turn], jnp.bool_(False))

    return jax.lax.fori_loop(0, len(deck), deal_one, deck)


def dealt(deck: Array, turn: Array | int) -> Array:
    """Returns the card that is dealt at this turn, counted from 0; the last one behind it."""
    return deck[jnp.maximum(deck.shape[0] - 1 - turn, 0)]


def suit(card: Array) -> Array:
    """Returns 0 to 3 for spades, diamonds, clubs, hearts, as int32."""
    return (card % NUM_SUITS).astype(jnp.int32)


def rank(card: Array) -> Array:
    """Returns 0 to 12 for ace, 2, ..., 10, jack, queen, king, as int32."""
    return (card % CARDS_PER_DECK // NUM_SUITS).astype(jnp.int32)


def colour(card: Array) -> Array:
    """Returns 0 for black and 1 for red, as int32."""
    return (card % 2).astype(jnp.int32)


KINDS: dict[str, tuple[Callable[[Array], Array], int]] = {
    "colours": (colour, 2),
    "suits": (suit, NUM_SUITS),
    "ranks": (rank, NUM_RANKS),
}
"""What cards may be told apart by: from a card to its kind, and the number of kinds."""


def check_kind(kind: str) -> None:
    """Raises a ValueError unless the kind is one of KINDS."""
    check_choice("kind", kind, tuple(KINDS))


def suit_spec(name: str) -> specs.DiscreteArray:
    """Returns the spec of one suit."""
    return specs.DiscreteArray(NUM_SUITS, name=name)


_NAMES = {
    "colours": ["black", "red"],
    "suits": ["♠", "♦", "♣", "♥"],
    "ranks": ["A", *map(str, range(2, 11)), "J", "Q", "K"],
}


def kind_text(kind: str, value: int) -> str:
    """Returns a colour, suit or rank as a person writes it."""
    return _NAMES[kind][int(value)]


def card_text(card: int) -> str:
    """Returns a card as a person writes it, such as "10♥"."""
    return _NAMES["ranks"][int(card) % CARDS_PER_DECK // NUM_SUITS] + _NAMES["suits"][int(card) % NUM_SUITS]


def progress_text(num_dealt: int, deck: Array) -> str:
    """Returns how far the deck has been dealt."""
    return f"card {num_dealt} of {deck.shape[0]}"
