"""The shims, each in a process of its own: they change the modules of other packages."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

from s5rl.acme import compat


def is_installed(distribution):
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


HAS_ACME = is_installed("dm-acme")
NEEDS_ACME = pytest.mark.skipif(not HAS_ACME, reason="dm-acme is not installed: make test-acme runs this")


def run(code):
    """Runs Python code and returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_importing_s5rl_puts_nothing_in_place():
    code = """
import sys
import jax
import s5rl
from s5rl.acme import compat, is_first, networks, time_limit
print(hasattr(jax, "tree_map"), hasattr(jax, "pxla"), hasattr(jax.numpy, "DeviceArray"))
print([name for name in ("acme", "launchpad", "gym", "reverb", "tensorflow") if name in sys.modules])
"""
    assert run(code) == ["False False False", "[]"]


@NEEDS_ACME
def test_install_says_what_it_did_and_acme_can_be_imported():
    code = """
from s5rl.acme import compat
for shim in compat.install():
    print(shim)
print(compat.install())
compat.require()
import acme, acme.agents.jax.actors, acme.jax.networks, acme.jax.variable_utils, acme.wrappers
"""
    *shims, second = run(code)
    assert second == "()"
    names = [shim.split(": ")[0] for shim in shims]
    assert len(set(names)) == len(names) > 0
    assert set(names) <= {shim.name for shim in compat.SHIMS}
    assert "jax.tree_map: acme asks for this name, which JAX has removed" in shims
    assert "module launchpad: `import acme` imports it, and it has no wheels for this Python" in shims


@NEEDS_ACME
def test_what_is_there_is_left_alone():
    code = """
import sys, types
import jax
sys.modules["launchpad"] = launchpad = types.ModuleType("launchpad")
jax.tree_map = tree_map = lambda function, *trees: None
from s5rl.acme import compat
names = [shim.name for shim in compat.install()]
print("module launchpad" in names, "jax.tree_map" in names)
print(sys.modules["launchpad"] is launchpad, jax.tree_map is tree_map)
"""
    assert run(code) == ["False False", "True True"]


@NEEDS_ACME
def test_without_install_the_error_names_it():
    code = """
from s5rl.acme import compat
try:
    compat.require()
except ImportError as error:
    print(error)
"""
    (message,) = run(code)
    assert message.startswith(
        "Call s5rl.acme.compat.install() before `import acme`: here it misses module launchpad"
    )


@pytest.mark.skipif(HAS_ACME, reason="dm-acme is installed")
def test_without_acme_the_error_says_so():
    with pytest.raises(ImportError, match=r"dm-acme is not installed: docs/acme\.md says how"):
        compat.require()


@NEEDS_ACME
def test_shards_are_stacked():
    code = """
import jax
import numpy as np
from s5rl.acme import compat
compat.install()
from acme.jax import utils
replicated = utils.replicate_in_all_devices({"a": np.arange(3.0)})
print(replicated["a"].shape == (jax.local_device_count(), 3))
total = jax.pmap(lambda a: a.sum())(replicated["a"])
print(utils.get_from_first_device(total))
"""
    assert run(code) == ["True", "3.0"]
