"""Memories: one interface, its laws in `s5rl.conformance`, and the cores."""

from s5rl.cores.attention import AttentionCore
from s5rl.cores.base import CheckedCore, RecurrentCore
from s5rl.cores.feed_forward import FeedForwardCore
from s5rl.cores.from_haiku import HaikuCore
from s5rl.cores.gated import GRUCore, LSTMCore
from s5rl.cores.linear_recurrence import linear_recurrence, reset_operator
from s5rl.cores.s5 import ResettableS5Core
