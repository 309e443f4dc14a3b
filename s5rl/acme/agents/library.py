"""What the agents use of dm-acme, imported in one place, which says what to do where that fails."""

from __future__ import annotations

from s5rl.acme import compat

compat.require()

from acme import core as core
from acme import specs as specs
from acme.jax.variable_utils import VariableClient as VariableClient
from acme.utils import counting as counting
from acme.utils import loggers as loggers
