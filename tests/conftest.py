"""What holds for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True, scope="session")
def keep_programs_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Chooses a folder for compiled programs, so that commands and processes do not take that of the user."""
    if jax.config.jax_compilation_cache_dir is None:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path_factory.mktemp("programs"))
        jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])


@pytest.fixture(autouse=True, scope="module")
def free_compiled_programs() -> Iterator[None]:
    """Frees what a file compiled: thousands of programs exhaust a process's memory maps, and XLA crashes."""
    yield
    jax.clear_caches()
