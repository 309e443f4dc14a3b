"""What the agents use of dm-acme, imported in one place, which says what to do where that fails."""

from __future__ import annotations

try:
    from acme import core as core
    from acme import specs as specs
    from acme import types as types
    from acme.jax.variable_utils import VariableClient as VariableClient
    from acme.utils import counting as counting
    from acme.utils import loggers as loggers
except (AttributeError, ImportError) as error:
    raise ImportError(
        f"dm-acme cannot be imported here: {error}. Install it with `pip install --no-deps dm-acme==0.4.0`, "
        "and call s5rl.acme.compat.install() before the first import of acme or of s5rl.acme.agents."
    ) from error
