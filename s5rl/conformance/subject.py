"""A core under test: the data of a case, and the functions of the core, compiled once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np

from s5rl.conformance.case import Case
from s5rl.cores import RecurrentCore
from s5rl.cores.checks import check_hashable
from s5rl.types import Array, CoreState, Params, PyTree

WARM_UP = 3
"""Number of steps before a case, so that it starts from a state that is not the initial one."""

Unroll = Callable[[Params, Array, CoreState, Array], tuple[Array, CoreState]]


class Data(NamedTuple):
    """What a core is called with, in numpy, and what weighs its results into a loss."""

    inputs: np.ndarray
    """[T, B, F]."""
    state: CoreState
    """[B, ...] the state before the first input."""
    flags: np.ndarray
    """bool [T, B]."""
    output_weights: np.ndarray
    """[T, B, output_size]."""
    state_weights: list[np.ndarray]
    """[B, ...] for each floating leaf of the final state."""


class Gradients(NamedTuple):
    """Of the weighted sum of outputs and final state, to the floating leaves."""

    params: PyTree
    inputs: Array
    state: PyTree


class Result(NamedTuple):
    """What a call returns."""

    outputs: Array
    """[T, B, output_size]."""
    final_state: CoreState
    """[B, ...]."""
    gradients: Gradients


@final
class Subject:
    """A core under test; every law is tried on the same compiled functions.

    Attributes:
      core: the core.
      input_size: number of features of its inputs.
      params: fresh parameters in which nothing is zero altogether.
      step: `core.step`, compiled.
      unroll: `core.unroll`, compiled.
      step_over_rows: `core.step` without a batch axis, under vmap over the rows, compiled.
      unroll_over_rows: `core.unroll` without a batch axis, under vmap over the rows, compiled.
    """

    def __init__(self, core: RecurrentCore, input_size: int = 3) -> None:
        """Makes the parameters; functions are compiled when they are first called.

        Args:
          core: the core.
          input_size: number of features of its inputs.

        Raises:
          UnhashableCoreError: the core is not hashable.
        """
        check_hashable(core)
        self.core = core
        self.input_size = input_size
        self.params = self.make_params(seed=0)
        self.step = compiled(core.step)
        self.unroll = compiled(core.unroll)
        self.step_over_rows = compiled(jax.vmap(core.step, in_axes=(None, 0, 0, 0)))
        self.unroll_over_rows = compiled(jax.vmap(core.unroll, in_axes=(None, 1, 0, 1), out_axes=(1, 0)))
        whole, scan = differentiated(core.unroll), differentiated(functools.partial(scan_of_step, core))
        self._whole, self._scan = compiled(whole), compiled(scan)
        self._over_seeds = compiled(jax.vmap(whole, in_axes=(0, None)))
        self._cut = compiled(
            lambda cut, *args: differentiated(functools.partial(_unroll_in_two, core, cut))(*args),
            static_argnums=0,
        )

    @functools.cached_property
    def prepared(self) -> Any:
        """What the core prepares of the parameters."""
        return compiled(self.core.prepare)(self.params)

    def make_params(self, seed: int) -> Params:
        """Returns parameters in which nothing is zero: a fault in a bias that is zero would not show."""
        params = jax.device_get(self.core.init(jax.random.key(seed), self.input_size))
        random = np.random.default_rng(seed)

        def fill(leaf: np.ndarray) -> np.ndarray:
            noise = 0.1 * random.standard_normal(np.shape(leaf))
            return leaf if np.any(leaf) or not is_float(leaf) else noise.astype(leaf.dtype)

        return jax.tree.map(fill, params)

    def data(self, case: Case) -> Data:
        """Returns random inputs and weights for a case, behind a few steps from the initial state."""
        random = np.random.default_rng(case.seed)
        state = self.core.initial_state(case.batch_size)
        for _ in range(WARM_UP):
            _, state = self.step(self.params, self.random(random, case.batch_size), state)
        state = jax.device_get(state)
        return Data(
            inputs=self.random(random, case.length, case.batch_size),
            state=state,
            flags=case.flags,
            output_weights=_normal(random, (case.length, case.batch_size, self.core.output_size)),
            state_weights=[_normal(random, leaf.shape) for leaf in floats(state)],
        )

    def random(self, random: np.random.Generator, *axes: int) -> np.ndarray:
        """Returns random inputs [*axes, F]."""
        return _normal(random, (*axes, self.input_size))

    def whole(self, data: Data) -> Result:
        """Returns what `unroll` makes of the data."""
        return jax.device_get(self._whole(self._like(data), data))

    def scan(self, data: Data) -> Result:
        """Returns what a scan of `step` over prepared parameters makes of the data."""
        return jax.device_get(self._scan(self._like(data), data))

    def in_two(self, data: Data, cut: int) -> Result:
        """Returns what two calls of `unroll` make of the data before and behind the cut."""
        return jax.device_get(self._cut(cut, self._like(data), data))

    def over_seeds(self, params: Params, data: Data) -> Result:
        """Returns what `unroll` under vmap makes of the data, for parameters with a leading axis."""
        return jax.device_get(self._over_seeds(params, data))

    def _like(self, data: Data) -> Params:
        """Returns the parameters in the float type of the data."""
        return cast_floats(self.params, data.inputs.dtype)


def scan_of_step(
    core: RecurrentCore, params: Params, inputs: Array, state: CoreState, flags: Array
) -> tuple[Array, CoreState]:
    """Returns what `unroll` has to return, by one `step` after the other."""
    prepared = core.prepare(params)

    def body(state: CoreState, slot: tuple[Array, Array]) -> tuple[CoreState, Array]:
        outputs, state = core.step(prepared, slot[0], state, slot[1])
        return state, outputs

    final_state, outputs = jax.lax.scan(body, state, (inputs, flags))
    return outputs, final_state


def differentiated(unroll: Unroll) -> Callable[[Params, Data], Result]:
    """Returns a function that calls `unroll` and adds the gradients of the weighted sum of its results."""

    def call(params: Params, data: Data) -> Result:
        def loss(param_floats: PyTree, inputs: Array, state_floats: PyTree) -> tuple[Array, Any]:
            state = _with_floats(data.state, state_floats)
            outputs, final_state = unroll(
                _with_floats(params, param_floats), inputs, state, jnp.asarray(data.flags)
            )
            pairs = zip(data.state_weights, floats(final_state), strict=True)
            total = jnp.sum(data.output_weights * outputs)
            return total + sum(jnp.sum(weights * leaf) for weights, leaf in pairs), (outputs, final_state)

        arguments = floats(params), data.inputs, floats(data.state)
        gradients, (outputs, final_state) = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(*arguments)
        return Result(outputs, final_state, Gradients(*gradients))

    return call


def is_float(leaf: Any) -> bool:
    """Returns whether an array is of a floating type, bfloat16 included."""
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))


def floats(tree: PyTree) -> list[Any]:
    """Returns the floating leaves."""
    return [leaf for leaf in jax.tree.leaves(tree) if is_float(leaf)]


def map_floats(change: Callable[[Any], Any], tree: PyTree) -> PyTree:
    """Returns the nest with its floating leaves changed."""
    return jax.tree.map(lambda leaf: change(leaf) if is_float(leaf) else leaf, tree)


def cast_floats(tree: PyTree, dtype: Any) -> PyTree:
    """Returns the nest of numpy arrays with its floating leaves in another type."""
    return map_floats(lambda leaf: np.asarray(leaf).astype(dtype), tree)


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """Returns the function under jit, compiled without the optimisations that would take most of the time."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0}, **options)


def _with_floats(tree: PyTree, leaves: list[Any]) -> PyTree:
    remaining = iter(leaves)
    return map_floats(lambda _: next(remaining), tree)


def _unroll_in_two(
    core: RecurrentCore, cut: int, params: Params, inputs: Array, state: CoreState, flags: Array
) -> tuple[Array, CoreState]:
    before, state = core.unroll(params, inputs[:cut], state, flags[:cut])
    behind, state = core.unroll(params, inputs[cut:], state, flags[cut:])
    return jnp.concatenate([before, behind]), state


def _normal(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32)
