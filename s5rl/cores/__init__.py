"""Memories: one interface, its laws in `s5rl.conformance`, and the cores."""

from s5rl.cores.attention import AttentionCore as AttentionCore
from s5rl.cores.base import CheckedCore as CheckedCore
from s5rl.cores.base import RecurrentCore as RecurrentCore
from s5rl.cores.checks import UnhashableCoreError as UnhashableCoreError
from s5rl.cores.feed_forward import FeedForwardCore as FeedForwardCore
from s5rl.cores.from_haiku import HaikuCore as HaikuCore
from s5rl.cores.gated import GRUCore as GRUCore
from s5rl.cores.gated import LSTMCore as LSTMCore
from s5rl.cores.lru import LRUCore as LRUCore
from s5rl.cores.s5 import ResettableS5Core as ResettableS5Core
