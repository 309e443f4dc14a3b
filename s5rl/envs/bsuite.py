"""The environments of bsuite, with bsuite's own logging."""

from __future__ import annotations

import inspect
from pathlib import Path

import dm_env

from s5rl.envs.names import unknown_name


def make_bsuite(
    bsuite_id: str,
    *,
    seed: int | None = None,
    results_dir: str | Path | None = None,
    overwrite: bool = False,
) -> dm_env.Environment:
    """Returns an environment of bsuite.

    Args:
      bsuite_id: an experiment and the index of its setting, such as "memory_len/22".
      seed: of the episodes, in place of the one in bsuite's setting (several of one setting are then
        different); without effect on bandit, discounting_chain and deep_sea_stochastic, which take none.
        None for bsuite's: 0 for memory_len, memory_size and umbrella_distract, else another one each time.
      results_dir: where bsuite writes its CSV log of this id; None means no log.
      overwrite: whether an existing log of this id in `results_dir` may be replaced.

    Raises:
      ImportError: bsuite is not installed.
      ValueError: an unknown id, or a log that exists and may not be replaced.
    """
    try:
        from bsuite import bsuite, sweep
        from bsuite.logging import csv_logging
    except ImportError as error:
        raise ImportError("bsuite is not installed: pip install 's5rl[bsuite]'") from error

    if bsuite_id not in sweep.SETTINGS:
        raise unknown_name("bsuite id", bsuite_id, sweep.SETTINGS)
    experiment, _ = bsuite.unpack_bsuite_id(bsuite_id)
    settings = dict(sweep.SETTINGS[bsuite_id])
    takes_seed = "seed" in inspect.signature(bsuite.EXPERIMENT_NAME_TO_ENVIRONMENT[experiment]).parameters
    if seed is not None and takes_seed:
        settings["seed"] = seed
    environment = bsuite.load(experiment, settings)
    if results_dir is None:
        return environment
    return csv_logging.wrap_environment(environment, bsuite_id, str(results_dir), overwrite)


def bsuite_ids() -> tuple[str, ...]:
    """Returns the ids of bsuite's sweep in its order; none where bsuite is not installed."""
    try:
        from bsuite import sweep
    except ImportError:
        return ()
    return tuple(sweep.SWEEP)
