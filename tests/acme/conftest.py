"""Makes dm-acme importable for the tests of this folder, where it is installed."""

from __future__ import annotations

import importlib.metadata

from s5rl.acme import compat

try:
    importlib.metadata.version("dm-acme")
except importlib.metadata.PackageNotFoundError:
    pass  # what needs it is skipped
else:
    compat.install()
