"""What `--core`, `--algorithm` and `--preset` choose."""

from __future__ import annotations

from typing import Any, NamedTuple

from s5rl.agents.make_agent import ALGORITHMS
from s5rl.conformance import load_core
from s5rl.cores import (
    AttentionCore,
    FeedForwardCore,
    GRUCore,
    LRUCore,
    LSTMCore,
    RecurrentCore,
    ResettableS5Core,
)
from s5rl.validation import check_choice

CORES: dict[str, type[RecurrentCore]] = {
    "s5": ResettableS5Core,
    "lru": LRUCore,
    "lstm": LSTMCore,
    "gru": GRUCore,
    "attention": AttentionCore,
    "feed_forward": FeedForwardCore,
}
"""By the name for `--core`."""
OWN_CORE = "MODULE:CORE"
DEFAULT = "default"
PRESETS = (DEFAULT, "popgym", "bsuite", "projected_dm_control")
"""The defaults of the classes, and the names of constructors with the paper's settings."""


class Choice(NamedTuple):
    """What the flags of `s5rl train` begin with."""

    config: Any
    """Of the algorithm."""
    core: RecurrentCore
    is_own_core: bool
    """Whether the core is the user's, and taken as it is."""


def choose(core: str, algorithm: str, preset: str) -> Choice:
    """Returns the settings that three words choose.

    Args:
      core: a key of `CORES`, or "MODULE:CORE".
      algorithm: a key of `ALGORITHMS`.
      preset: one of `PRESETS`.

    Raises:
      LoadError: there is no such MODULE:CORE.
      ValueError: a name is unknown, or a class has no such preset.
    """
    check_choice("--algorithm", algorithm, tuple(ALGORITHMS))
    check_choice("--preset", preset, PRESETS)
    _, config_class = ALGORITHMS[algorithm]
    config = _with_preset(config_class, preset)
    if ":" in core:
        return Choice(config, load_core(core), is_own_core=True)
    check_choice("--core", core, (*CORES, OWN_CORE))
    return Choice(config, _with_preset(CORES[core], preset), is_own_core=False)


def _with_preset(cls: type[Any], preset: str) -> Any:
    if preset == DEFAULT:
        return cls()
    if not hasattr(cls, preset):
        known = ", ".join(name for name in PRESETS if name == DEFAULT or hasattr(cls, name))
        raise ValueError(f"--preset {preset} is not there for {cls.__name__}, which has: {known}.")
    return getattr(cls, preset)()
