"""Compiled programs that outlive their process."""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path

import jax
from jax.experimental.compilation_cache.compilation_cache import reset_cache
from platformdirs import user_cache_path

from s5rl.compat import can_load_programs

KEEP_SECONDS = 30 * 24 * 3600.0
"""How long a program stays in the user's cache folder, which would else grow without end."""


def enable_compilation_cache(folder: str | Path | None = None) -> Path | None:
    """Keeps compiled programs in a folder, from which later processes load them: JAX's own cache.

    Small programs are kept too. Results are the same to the last bit. A folder that cannot be used is a
    warning, and programs are compiled as ever.

    Args:
      folder: where; whoever can write there can run code in this process. None for the folder that
        JAX_COMPILATION_CACHE_DIR names, of which nothing is changed; without that, for `s5rl/compilation` in
        the user's cache folder, where programs stay for 30 days.

    Returns:
      The folder in use; None if there is none.
    """
    chosen: str | None = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if folder is None and chosen is not None:
        return Path(chosen)
    if not can_load_programs():
        warnings.warn("compiled programs are not kept: it takes jax 0.10 on macOS.", stacklevel=2)
        return None
    path = (
        user_cache_path("s5rl", appauthor=False) / "compilation"
        if folder is None
        else Path(folder).absolute()
    )
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
        if folder is None:
            _remove_old(path)
    except OSError as error:
        warnings.warn(f"compiled programs are not kept: {path} cannot be used: {error}.", stacklevel=2)
        return None
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    reset_cache()  # JAX does not look at its configuration again by itself
    return path


def _remove_old(folder: Path) -> None:
    oldest = time.time() - KEEP_SECONDS
    for file in folder.glob("*-cache"):
        if file.stat().st_mtime < oldest:
            file.unlink(missing_ok=True)
