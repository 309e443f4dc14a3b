"""CountRecall: say how often a kind of card has been dealt."""

from __future__ import annotations

import dataclasses
from typing import final

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from s5rl.envs.popgym import deck as cards
from s5rl.envs.popgym import draws
from s5rl.envs.popgym.base import PopgymEnvironment
from s5rl.types import Action, Array, PRNGKey, next_timestep, restart
from s5rl.validation import check_positive


@final
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CountRecallState:
    """State of one episode.

    Attributes:
      value_deck: int16 [n], the cards to count, popgym's `value_deck.idx`; dealt from the end.
      query_deck: int16 [n], the cards asked for, popgym's `query_deck.idx`; dealt from the end.
      is_decided: bool [], whether the cards not dealt yet are in order already; see `DeckState`.
      counts: int32 [v], how often each kind has been dealt, the card in sight included.
      time: int32 [], steps taken.
      key: chooses the cards; never changed.
    """

    value_deck: Array
    query_deck: Array
    is_decided: Array
    counts: Array
    time: Array
    key: PRNGKey


@final
@dataclasses.dataclass(frozen=True)
class CountRecall(PopgymEnvironment):
    """A card is dealt and a kind is asked for; an action pays +-1/(n - 1) for how often it has been dealt.

    An observation is int32 [2]: the kind of the card dealt, and the kind asked for. The card in sight counts.

    Attributes:
      num_decks: n is 52 times as many.
      kind: what is counted: "colours", "suits" or "ranks".
    """

    num_decks: int = 1
    kind: str = "colours"

    def __post_init__(self) -> None:
        check_positive(num_decks=self.num_decks)
        cards.check_kind(self.kind)

    @property
    def max_episode_length(self) -> int:
        """Every episode has n - 1 steps."""
        return cards.CARDS_PER_DECK * self.num_decks - 1

    def sample_state(self, key: PRNGKey) -> CountRecallState:
        """Deals and counts the first card, and asks the first question."""
        deck = cards.new_deck(self.num_decks)
        no_counts = jnp.zeros(cards.KINDS[self.kind][1], jnp.int32)
        return self._deal(CountRecallState(deck, deck, jnp.bool_(False), no_counts, jnp.int32(0), key))

    def begin(self, state: CountRecallState) -> dm_env.TimeStep:
        """Shows the first card and the first question."""
        return restart(self._observe(state))

    def step(self, state: CountRecallState, action: Action) -> tuple[CountRecallState, dm_env.TimeStep]:
        """Hears the answer and deals the next card; see `JaxEnvironment.step`."""
        scale = 1 / self.max_episode_length
        is_right = action == state.counts[self._observe(state)[1]]
        state = self._deal(dataclasses.replace(state, time=state.time + 1))
        timestep = next_timestep(
            jnp.where(is_right, scale, -scale),
            self._observe(state),
            terminated=state.time == self.max_episode_length,
        )
        return state, timestep

    def observation_spec(self) -> specs.BoundedArray:
        """Returns the spec of int32 [2]: the kind dealt and the kind asked for."""
        return specs.BoundedArray(
            (2,), np.int32, 0, cards.KINDS[self.kind][1] - 1, name="dealt and asked for"
        )

    def action_spec(self) -> specs.DiscreteArray:
        """Returns the spec of a count, from 0 to that of one kind in the whole deck."""
        num_cards = cards.CARDS_PER_DECK * self.num_decks
        return specs.DiscreteArray(num_cards // cards.KINDS[self.kind][1] + 1, name="action")

    def render(self, state: CountRecallState) -> str:
        """Returns the card dealt, the kind asked for, and the count of each kind."""
        value, query = (cards.kind_text(self.kind, kind) for kind in self._observe(state))
        counts = ", ".join(
            f"{cards.kind_text(self.kind, i)} {n}" for i, n in enumerate(state.counts.tolist())
        )
        progress = cards.progress_text(int(state.time) + 1, state.value_deck)
        return f"{progress}: {value}; how many {query}? (dealt: {counts})"

    def _kind(self, card: Array) -> Array:
        return cards.KINDS[self.kind][0](card)

    def _observe(self, state: CountRecallState) -> Array:
        decks = state.value_deck, state.query_deck
        return jnp.stack([self._kind(cards.dealt(deck, state.time)) for deck in decks])

    def _deal(self, state: CountRecallState) -> CountRecallState:
        """Deals the cards of this turn and counts the one."""
        bits = draws.bits(state.key, state.time, (2,))
        values, queries = (
            cards.deal(deck, state.time, bits[index], state.is_decided)
            for index, deck in enumerate((state.value_deck, state.query_deck))
        )
        is_dealt = np.arange(state.counts.shape[0]) == self._kind(cards.dealt(values, state.time))
        counts = state.counts + is_dealt.astype(jnp.int32)
        return dataclasses.replace(state, value_deck=values, query_deck=queries, counts=counts)
