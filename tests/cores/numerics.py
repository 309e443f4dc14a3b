"""What the oracles share: closeness as the design measures it, and layers written in numpy."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from s5rl.cores import RecurrentCore

X64 = 1e-10
FP32 = 1e-5
GRADIENT = 1e-4


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
    """Asserts equal trees of equal shapes, and max |a - b| <= tolerance max |b| for every array."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert np.shape(a) == np.shape(b)
        deviation = np.max(np.abs(np.asarray(a) - np.asarray(b)), initial=0.0)
        assert deviation <= tolerance * np.max(np.abs(b), initial=1e-30)


def noise(tree: Any, seed: int = 0) -> Any:
    """Returns random normal numpy arrays in the place of all leaves."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: 0.5 * rng.standard_normal(leaf.shape).astype(leaf.dtype), tree)


def random_params(core: RecurrentCore, input_size: int) -> Any:
    """Returns parameters of which none is 0 or 1, as fresh ones may be; without a compilation."""
    return noise(jax.eval_shape(lambda: core.init(jax.random.key(0), input_size)))


def sequence(num_steps: int, batch_size: int, num_features: int, seed: int = 0) -> tuple[Any, Any]:
    """Returns random inputs [T, B, F] and flags [T, B], set in the middle and here and there."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((num_steps, batch_size, num_features))
    flags = rng.random((num_steps, batch_size)) < 0.2
    flags[num_steps // 2, 0] = True
    return inputs, flags


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def gelu(x: np.ndarray) -> np.ndarray:
    """The tanh form."""
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def linear(params: Any, x: np.ndarray) -> np.ndarray:
    return x @ np.asarray(params["weights"]) + np.asarray(params["bias"])


def layer_norm(params: Any, x: np.ndarray) -> np.ndarray:
    normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return normed * np.asarray(params["scale"]) + np.asarray(params["offset"])
