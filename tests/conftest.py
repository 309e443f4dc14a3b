"""What holds for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def free_compiled_programs() -> Iterator[None]:
    """Frees what a file compiled: thousands of programs exhaust a process's memory maps, and XLA crashes."""
    yield
    jax.clear_caches()
