"""What dm-acme 0.4.0 misses in today's packages, put in place by one explicit call.

The release is of February 2022. What it expects of other packages has been renamed or removed since; each
shim below puts one such thing back, only where it is missing. Importing s5rl changes nothing.

    from s5rl.acme import compat

    compat.install()
    import acme
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import importlib.util
import inspect
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Shim(NamedTuple):
    """One thing that is put back."""

    name: str
    """What is put in place."""
    reason: str
    """Why dm-acme needs it."""
    is_needed: Callable[[], bool]
    """Whether it is missing here."""
    put: Callable[[], None]
    """Puts it in place."""

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def install() -> tuple[Shim, ...]:
    """Puts in place what dm-acme 0.4.0 misses here; call it before `import acme`.

    A second call finds nothing missing.

    Returns:
      The shims that were needed and are now in place; `str` of one says what it is and why.
    """
    needed = []
    # One by one and in order: what a package misses is seen by importing it, which needs the shims before.
    for shim in SHIMS:
        if shim.is_needed():
            shim.put()
            needed.append(shim)
    return tuple(needed)


def require() -> None:
    """Raises an ImportError that says what to do, unless `import acme` works here."""
    try:
        importlib.metadata.version("dm-acme")
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(
            "dm-acme is not installed: docs/acme.md says how it is with Reverb, for IMPALA and R2D2, and "
            "docs/acme_agents.md without, for s5rl's own agents."
        ) from error
    if missing := next((shim for shim in SHIMS if shim.is_needed()), None):
        raise ImportError(f"Call s5rl.acme.compat.install() before `import acme`: here it misses {missing}.")


def require_reverb() -> None:
    """Raises an ImportError that says what to do, unless Reverb is installed."""
    if not _is_installed("reverb"):
        raise ImportError(
            "IMPALA and R2D2 need Reverb: docs/acme.md says how it is installed beside dm-acme."
        )


def _is_installed(module: str) -> bool:
    return module in sys.modules or importlib.util.find_spec(module) is not None


def _put_module(name: str, **contents: Any) -> types.ModuleType:
    """Puts a module in place of one that is not installed."""
    module = types.ModuleType(name, "Put in place by s5rl.acme.compat.")
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(module).update(contents)
    sys.modules[name] = module
    return module


def _put_launchpad() -> None:
    def ignore_stop_handler(handler: Any) -> None:
        """Does nothing: only a launcher of Launchpad would call the handler."""

    _put_module(
        "launchpad",
        register_stop_handler=ignore_stop_handler,
        unregister_stop_handler=ignore_stop_handler,
        Program=object,  # named in a signature of acme's distributed layout
    )


def _put_gym() -> None:
    # Only what the wrappers of gym name while they are imported; nothing can be wrapped by them.
    _put_module("gym", Env=object, Space=object, spaces=_put_module("gym.spaces"))


def _device_put_sharded(shards: Sequence[Any], devices: Sequence[jax.Device]) -> Any:
    """Returns the shards stacked, each on its device."""
    mesh = jax.sharding.Mesh(np.asarray(devices), ("shard",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("shard"))
    return jax.tree.map(lambda *leaves: jax.device_put(jnp.stack(leaves), sharding), *shards)


def _misses_float8_name() -> bool:
    if not _is_installed("tensorflow") or "tensorflow" in sys.modules:
        return False
    import ml_dtypes

    return not hasattr(ml_dtypes, "float8_e4m3b11")


def _put_float8_name() -> None:
    import ml_dtypes

    ml_dtypes.float8_e4m3b11 = ml_dtypes.float8_e4m3b11fnuz  # type: ignore[attr-defined, unused-ignore]


def _takes_no_signature_timeout() -> bool:
    if not _is_installed("reverb"):
        return False
    import reverb

    return "get_signature_timeout_ms" not in inspect.signature(reverb.Client.trajectory_writer).parameters


def _drop_signature_timeout() -> None:
    import reverb

    trajectory_writer = reverb.Client.trajectory_writer

    def without_timeout(client: Any, *args: Any, get_signature_timeout_ms: int = 0, **kwargs: Any) -> Any:
        """Returns a writer; this version of Reverb waits for signatures by its own rules."""
        del get_signature_timeout_ms
        return trajectory_writer(client, *args, **kwargs)

    reverb.Client.trajectory_writer = without_timeout


def _misses_substrates() -> bool:
    import tensorflow_probability

    return not hasattr(tensorflow_probability, "substrates")


def _import_substrates() -> None:
    import tensorflow_probability.substrates.jax  # noqa: F401


def _removed(owner: types.ModuleType, name: str, value: Any) -> Shim:
    """Puts back a name that JAX has removed."""
    return Shim(
        f"{owner.__name__}.{name}",
        "acme asks for this name, which JAX has removed",
        lambda: not hasattr(owner, name),
        lambda: setattr(owner, name, value),
    )


SHIMS = (
    Shim(
        "module launchpad",
        "`import acme` imports it, and it has no wheels for this Python",
        lambda: not _is_installed("launchpad"),
        _put_launchpad,
    ),
    Shim(
        "module gym",
        "acme.wrappers imports it, and it is not installed",
        lambda: not _is_installed("gym"),
        _put_gym,
    ),
    _removed(jax, "xla", types.SimpleNamespace(Device=jax.Device, DeviceArray=jax.Array)),
    _removed(jax, "pxla", types.SimpleNamespace(ShardedDeviceArray=jax.Array)),
    _removed(jnp, "DeviceArray", jax.Array),
    _removed(jax, "tree_map", jax.tree.map),
    _removed(jax, "tree_multimap", jax.tree.map),
    _removed(jax, "tree_flatten", jax.tree.flatten),
    _removed(jax, "tree_leaves", jax.tree.leaves),
    _removed(jax, "device_put_sharded", _device_put_sharded),
    Shim(
        "ml_dtypes.float8_e4m3b11",
        "TensorFlow 2.14, which Reverb needs, asks for this name; ml_dtypes 0.5 has another for it",
        _misses_float8_name,
        _put_float8_name,
    ),
    Shim(
        "tensorflow_probability.substrates.jax",
        "acme.jax.networks asks for it without importing it",
        _misses_substrates,
        _import_substrates,
    ),
    Shim(
        "reverb.Client.trajectory_writer without get_signature_timeout_ms",
        "acme's adders pass this argument, which Reverb has removed",
        _takes_no_signature_timeout,
        _drop_signature_timeout,
    ),
)
"""All shims, in the order in which they are put in place."""
