"""dm_env's own tests on all 48 environments of POPGym, behind `as_dm_env`."""

from __future__ import annotations

from environments import conformance

from s5rl.envs import as_dm_env
from s5rl.envs.popgym import ENVIRONMENTS

for _name, _environment in ENVIRONMENTS.items():
    globals()[f"Test{_name}"] = conformance(
        f"Test{_name}",
        lambda e=_environment: as_dm_env(e, seed=0),
        num_actions=30,  # a test of its own reaches the end of each
    )
