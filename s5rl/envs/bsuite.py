"""The environments of bsuite, with bsuite's own logging."""

from __future__ import annotations

from pathlib import Path

import dm_env

from s5rl.envs.names import unknown_name


def make_bsuite(
    bsuite_id: str, *, results_dir: str | Path | None = None, overwrite: bool = False
) -> dm_env.Environment:
    """Returns an environment of bsuite.

    Args:
      bsuite_id: an experiment and the index of its setting, such as "memory_len/22".
      results_dir: where bsuite writes its CSV log of this id; None means no log.
      overwrite: whether an existing log of this id in `results_dir` may be replaced.

    Raises:
      ImportError: bsuite is not installed.
      ValueError: an unknown id, or a log that exists and may not be replaced.
    """
    try:
        import bsuite
        from bsuite import sweep
    except ImportError as error:
        raise ImportError("bsuite is not installed: pip install 's5rl[bsuite]'") from error

    if bsuite_id not in sweep.SETTINGS:
        raise unknown_name("bsuite id", bsuite_id, sweep.SETTINGS)
    if results_dir is None:
        return bsuite.load_from_id(bsuite_id)
    return bsuite.load_and_record_to_csv(bsuite_id, str(results_dir), overwrite=overwrite)


def bsuite_ids() -> tuple[str, ...]:
    """Returns the ids of bsuite's sweep in its order; none where bsuite is not installed."""
    try:
        from bsuite import sweep
    except ImportError:
        return ()
    return tuple(sweep.SWEEP)
