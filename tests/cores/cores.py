"""The one list of all cores, in small sizes: a new core that joins it is tested at once."""

from __future__ import annotations

import haiku as hk
import jax.numpy as jnp

from s5rl.cores import AttentionCore, FeedForwardCore, GRUCore, HaikuCore, LRUCore, LSTMCore, ResettableS5Core

INPUT_SIZE = 3


def haiku_lstm():
    return hk.LSTM(5)


def haiku_stack():
    return hk.DeepRNN([hk.Linear(6), hk.GRU(5), hk.LSTM(4)])


class StartsAtOne(hk.VanillaRNN):
    """A module whose initial state is not zero: a reset to zeros would show."""

    def __init__(self):
        super().__init__(3)

    def initial_state(self, batch_size):
        return jnp.ones_like(super().initial_state(batch_size))


CORES = {
    "feed_forward": FeedForwardCore((6, 5)),
    "lstm": LSTMCore(5),
    "gru": GRUCore(5),
    "attention_short_window": AttentionCore(num_layers=2, num_heads=2, model_size=6, window=3, mlp_ratio=2),
    "attention_long_window": AttentionCore(num_layers=1, num_heads=1, model_size=4, window=12, gating=True),
    "s5": ResettableS5Core(state_size=6, model_size=4, num_layers=2),
    "s5_bilinear_blocks": ResettableS5Core(
        state_size=8, model_size=4, num_layers=1, discretization="bilinear", blocks=2, norm="pre"
    ),
    "s5_associative": ResettableS5Core(
        state_size=6,
        model_size=4,
        num_layers=2,
        activation="half_glu",
        norm="post",
        implementation="associative",
    ),
    "s5_gelu": ResettableS5Core(
        state_size=4, model_size=INPUT_SIZE, num_layers=1, activation="gelu", implementation="sequential"
    ),
    "s5_chunked": ResettableS5Core(
        state_size=4,
        model_size=INPUT_SIZE,
        num_layers=1,
        activation="gelu",
        implementation="chunked",
        chunk_length=3,
    ),
    "s5_timed": ResettableS5Core(state_size=4, model_size=4, num_layers=1, norm="pre", timed_inputs=True),
    "lru": LRUCore(state_size=6, model_size=4, num_layers=1),
    "haiku_lstm": HaikuCore(haiku_lstm),
    "haiku_stack": HaikuCore(haiku_stack),
    "haiku_starts_at_one": HaikuCore(StartsAtOne),
}
