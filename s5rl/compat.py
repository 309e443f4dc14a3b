"""What differs between the supported versions of JAX and optax, in one place."""

from __future__ import annotations

import inspect
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
import optax


def enable_x64() -> AbstractContextManager[None]:
    """Returns a context in which JAX's default float type is float64."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax import experimental  # its home before jax 0.8

    return experimental.enable_x64()  # type: ignore[attr-defined, unused-ignore]


def global_norm(tree: Any) -> jax.Array:
    """Returns the Euclidean norm of all leaves together, a scalar."""
    if hasattr(optax, "tree") and hasattr(optax.tree, "norm"):
        return optax.tree.norm(tree)
    return optax.global_norm(tree)  # its name before optax 0.2.6


def initialize_distributed(*where: Any, initialization_timeout: int, lost_after: int) -> None:
    """Calls `jax.distributed.initialize`, which leaves SIGTERM to those who had it before.

    Args:
      *where: address of the coordinator, number of processes, and index of this one.
      initialization_timeout: seconds to wait for the others.
      lost_after: seconds without a heartbeat after which a process is given up, and for which one that has
        ended waits for the others. An older JAX has its own, 100 and 300.
    """
    known = inspect.signature(jax.distributed.initialize).parameters
    names = ("heartbeat_timeout_seconds", "shutdown_timeout_seconds")
    timeouts: dict[str, Any] = {name: lost_after for name in names if name in known}
    timeouts["initialization_timeout"] = initialization_timeout
    before = signal.getsignal(signal.SIGTERM)
    if hasattr(jax.config, "jax_enable_preemption_service"):  # else JAX always takes the signal
        jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(*where, **timeouts)
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def supports_gpu_kernels() -> bool:
    """Returns whether this jax can lower Pallas kernels by Mosaic GPU, and every local GPU, if any, run them.

    It takes jax 0.9 (older ones cannot map such a kernel, or not in all ways) and NVIDIA GPUs of compute
    capability 9.0: for an older one, the compiler ends the whole process.
    """
    capabilities = [device.compute_capability for device in jax.local_devices() if device.platform == "gpu"]
    majors = [str(capability).partition(".")[0] for capability in capabilities]
    return jax.__version_info__ >= (0, 9) and all(x.isdecimal() and int(x) >= 9 for x in majors)


def can_load_programs() -> bool:
    """Returns whether compiled programs can be stored and loaded.

    On macOS, jaxlib before 0.10 is reported to crash when it loads large ones.
    """
    return sys.platform != "darwin" or jax.__version_info__ >= (0, 10)


def launch_gpu_kernel(
    program: Callable[..., None], grid: tuple[int, int], out_shape: Any, operands: tuple[jax.Array, ...]
) -> Any:
    """Returns what a Pallas kernel for NVIDIA GPUs writes; it works under `jax.vmap` too.

    Args:
      program: called with its place in the grid, and references to operands and results in global memory. Its
        threads must not read what others write: no barriers are inserted.
      grid: the number of programs along both axes.
      out_shape: `jax.ShapeDtypeStruct`s of the results.
      operands: arrays.

    Raises:
      NotImplementedError: not `supports_gpu_kernels()`.
    """
    if not supports_gpu_kernels():
        raise NotImplementedError(
            "Kernels for GPUs need jax 0.9 or newer and NVIDIA GPUs of compute capability 9.0 (Hopper) or "
            f"newer, got jax {jax.__version__} and {jax.local_devices()}."
        )
    from jax.experimental.pallas import mosaic_gpu  # slow to import, and not everywhere to be had

    def kernel(*references: Any) -> None:
        program(jax.lax.axis_index("row"), jax.lax.axis_index("column"), *references)

    is_new = "out_type" in inspect.signature(mosaic_gpu.kernel).parameters
    launch = mosaic_gpu.kernel(
        kernel,
        **{"out_type" if is_new else "out_shape": out_shape},
        grid=grid,
        grid_names=("row", "column"),
        compiler_params=mosaic_gpu.CompilerParams(unsafe_no_auto_barriers=True),
    )
    return launch(*operands)
