"""IMPALA of dm-acme 0.4.0 with a memory of s5rl, on bsuite's memory length, with Reverb in this process.

    python examples/acme_impala.py --core s5

Only the network is not Acme's. docs/acme.md says how dm-acme is installed.
"""

from __future__ import annotations

from collections.abc import Sequence

import acme_memory_length
from acme import Actor, specs
from acme.agents.jax import impala
from acme.utils import loggers

from s5rl import RecurrentCore
from s5rl.acme.networks import make_impala_networks

EPISODES = 3000


def make_agent(environment_spec: specs.EnvironmentSpec, core: RecurrentCore, seed: int) -> Actor:
    """Returns an agent that acts and learns."""
    networks = make_impala_networks(environment_spec, core)
    config = impala.IMPALAConfig(
        seed=seed,
        sequence_length=acme_memory_length.EPISODE_LENGTH + 1,
        sequence_period=acme_memory_length.EPISODE_LENGTH,
        learning_rate=2e-3,
        max_gradient_norm=1.0,
    )
    return impala.IMPALAFromConfig(
        environment_spec,
        networks.forward_fn,
        networks.unroll_init_fn,
        networks.unroll_fn,
        networks.initial_state_init_fn,
        networks.initial_state_fn,
        config,
        logger=loggers.NoOpLogger(),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains with what the command line asks for."""
    acme_memory_length.main(make_agent, EPISODES, str(__doc__), arguments)


if __name__ == "__main__":
    main()
