"""Concentration: find pairs among cards that lie face down."""

from __future__ import annotations

import dataclasses
import math
from typing import final

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from s5rl.envs.popgym import deck as cards
from s5rl.envs.popgym.base import PopgymEnvironment
from s5rl.types import Action, Array, PRNGKey, next_timestep, restart
from s5rl.validation import check_choice, check_positive

NOTHING = -1


@final
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ConcentrationState:
    """State of one episode.

    Attributes:
      deck: int16 [n], popgym's `deck.idx`: the card at each position of the board.
      face_up: bool [n], which positions have been matched, popgym's `deck["face_up_idx"]`.
      in_play: int32 [], the position flipped first, or -1; popgym's `deck["in_play_idx"]` between two steps.
      time: int32 [], steps taken.
    """

    deck: Array
    face_up: Array
    in_play: Array
    time: Array


@final
@dataclasses.dataclass(frozen=True)
class Concentration(PopgymEnvironment):
    """Flip two cards of n, one a step: 1/(n/2) if they match; else they are turned down again for 2/L.

    Flipping a card that lies face up costs 1/L for each card in play and ends the turn; the first flip of a
    turn pays 0. An observation is int32 [n]: the kind of each card in sight, the one just flipped included,
    and the number of kinds for those that lie face down. The episode terminates when all cards are face up,
    and is cut off after L = 2n steps.

    Attributes:
      num_decks: n is 52 times as many.
      kind: what matches: "colours" or "ranks".
    """

    num_decks: int = 1
    kind: str = "colours"

    def __post_init__(self) -> None:
        check_positive(num_decks=self.num_decks)
        check_choice("kind", self.kind, ("colours", "ranks"))

    @property
    def num_cards(self) -> int:
        """The number n of cards."""
        return cards.CARDS_PER_DECK * self.num_decks

    @property
    def max_episode_length(self) -> int:
        """L, as popgym has it."""
        n = self.num_cards
        return math.ceil(2 * n - n / (2 * n - 1))

    def sample_state(self, key: PRNGKey) -> ConcentrationState:
        """Shuffles the deck and lays it out."""
        return ConcentrationState(
            deck=cards.shuffled(key, self.num_decks),
            face_up=jnp.zeros(self.num_cards, jnp.bool_),
            in_play=jnp.int32(NOTHING),
            time=jnp.int32(0),
        )

    def begin(self, state: ConcentrationState) -> dm_env.TimeStep:
        """Shows the cards that are face up: none, usually."""
        return restart(self._observe(state.deck, state.face_up))

    def step(self, state: ConcentrationState, action: Action) -> tuple[ConcentrationState, dm_env.TimeStep]:
        """Flips a card; see `JaxEnvironment.step`."""
        positions = np.arange(self.num_cards)
        in_play = (positions == action) | (positions == state.in_play)
        is_second = state.in_play != NOTHING
        kinds = self._kinds(state.deck)
        is_up_already = jnp.any(in_play & state.face_up)
        kinds_match = kinds[action] == kinds[jnp.maximum(state.in_play, 0)]
        is_match = is_second & ~is_up_already & kinds_match & (action != state.in_play)
        failure = -jnp.where(is_second, 2.0, 1.0) / self.max_episode_length
        ends_turn = is_second | is_up_already
        after = ConcentrationState(
            deck=state.deck,
            face_up=state.face_up | (in_play & is_match),
            in_play=jnp.where(ends_turn, NOTHING, jnp.asarray(action, jnp.int32)),
            time=state.time + 1,
        )
        timestep = next_timestep(
            jnp.where(is_match, 1 / (self.num_cards // 2), jnp.where(ends_turn, failure, 0.0)),
            self._observe(state.deck, state.face_up | in_play),
            terminated=jnp.all(after.face_up),
            truncated=after.time >= self.max_episode_length,
        )
        return after, timestep

    def observation_spec(self) -> specs.BoundedArray:
        """Returns the spec of int32 [n]: a kind, or the number of kinds for face down."""
        return specs.BoundedArray((self.num_cards,), np.int32, 0, cards.KINDS[self.kind][1], name="cards")

    def action_spec(self) -> specs.DiscreteArray:
        """Returns the spec of a position on the board."""
        return specs.DiscreteArray(self.num_cards, name="position")

    def render(self, state: ConcentrationState) -> str:
        """Returns the board, 13 cards a row; cards face down as dots, the one in play in brackets."""

        def text(position: int) -> str:
            card = cards.card_text(int(state.deck[position]))
            if position == int(state.in_play):
                return f"[{card}]".rjust(5)
            return (card if state.face_up[position] else ".").rjust(4) + " "

        rows = np.arange(self.num_cards).reshape(-1, cards.NUM_RANKS)
        return "\n".join("".join(text(position) for position in row).rstrip() for row in rows)

    def _kinds(self, deck: Array) -> Array:
        return cards.KINDS[self.kind][0](deck)

    def _observe(self, deck: Array, visible: Array) -> Array:
        return jnp.where(visible, self._kinds(deck), cards.KINDS[self.kind][1])
