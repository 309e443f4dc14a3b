"""R2D2 of dm-acme 0.4.0 with a memory of s5rl, on bsuite's memory length, with Reverb in this process.

    python examples/acme_r2d2.py --core s5

Only the network is not Acme's. docs/acme.md says how dm-acme is installed.
"""

from __future__ import annotations

from collections.abc import Sequence

import acme_memory_length
from acme import Actor, specs
from acme.agents.jax import r2d2
from acme.jax.layouts import local_layout
from acme.utils import loggers

from s5rl import RecurrentCore
from s5rl.acme.networks import make_r2d2_networks

EPISODES = 300
BATCH_SIZE = 16


def make_agent(environment_spec: specs.EnvironmentSpec, core: RecurrentCore, seed: int) -> Actor:
    """Returns an agent that acts and learns."""
    config = r2d2.R2D2Config(
        batch_size=BATCH_SIZE,
        burn_in_length=0,
        trace_length=acme_memory_length.EPISODE_LENGTH,
        sequence_period=acme_memory_length.EPISODE_LENGTH,
        min_replay_size=1,  # sequences, before the first batch
        samples_per_insert=0.0,  # LocalLayout holds the ratio
        target_update_period=100,
        variable_update_period=1,  # learner steps; the default of 400 acts with old parameters for long
        num_epsilons=8,
        prefetch_size=1,
        num_parallel_calls=1,
    )
    networks = make_r2d2_networks(environment_spec, core, batch_size=BATCH_SIZE)
    return local_layout.LocalLayout(
        seed=seed,
        environment_spec=environment_spec,
        builder=r2d2.R2D2Builder(networks, config, logger_fn=loggers.NoOpLogger),
        networks=networks,
        policy_network=r2d2.make_behavior_policy(networks, config),
        min_replay_size=200,  # steps, before the first update
        samples_per_insert=4.0,
        batch_size=BATCH_SIZE,
        checkpoint=False,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains with what the command line asks for."""
    acme_memory_length.main(make_agent, EPISODES, str(__doc__), arguments)


if __name__ == "__main__":
    main()
