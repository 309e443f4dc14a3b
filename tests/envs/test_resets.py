"""`replace_where`: right in every size of batch, and no work for rows that need none."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from environments import assert_equal

from s5rl.envs.resets import FEW, ROWS_TOGETHER, replace_where

calls: list[None] = []


def replace(row):
    """Moves on to the next count, and all else with it."""
    count = row["count"] + 1
    return {"count": count, "key": row["other"], "other": row["key"], "values": row["values"] * count}


def counted(row):
    """Replaces and counts its calls."""
    jax.debug.callback(lambda _: calls.append(None), row["count"])
    return row | {"count": row["count"] + 1}


def rows_of(*shape):
    """Returns rows of which each is different; they hold random keys, as states of environments do."""
    data = np.arange(4 * np.prod(shape), dtype=np.uint32).reshape(*shape, 2, 2)
    keys = jax.random.wrap_key_data(data)
    counts = jnp.arange(np.prod(shape), dtype=jnp.int32).reshape(shape)
    return {"count": counts, "key": keys[..., 0], "other": keys[..., 1], "values": jnp.ones((*shape, 3))}


@jax.jit
def expected(is_needed, rows):
    """Replaces all rows and selects."""

    def one(flag, row):
        return jax.tree.map(lambda new, old: jnp.where(flag, new, old), replace(row), row)

    for _ in range(is_needed.ndim):
        one = jax.vmap(one)
    return one(is_needed, rows)


MANY = 10 * ROWS_TOGETHER


@functools.cache
def compiled(replace, num_axes):
    """Returns `replace_where` for rows with so many batch axes."""

    def function(is_needed, row):
        return replace_where(replace, is_needed, row)

    for _ in range(num_axes):
        function = jax.vmap(function)
    return jax.jit(function)


@pytest.mark.parametrize(
    ("shape", "num_needed"),
    [
        *[((), 1), ((1,), 1), ((5,), 2), ((2, 2, 20), 40), ((4, MANY // 4), 3)],
        *[((MANY,), num_needed) for num_needed in (0, 1, 2, ROWS_TOGETHER + 1, MANY)],
    ],
    ids=str,
)
def test_equals_a_select(shape, num_needed):
    rows = rows_of(*shape)
    is_needed = np.zeros(shape, bool)
    chosen = np.random.default_rng(0).permutation(is_needed.size)[:num_needed]
    is_needed.reshape(-1)[chosen] = True
    assert_equal(compiled(replace, len(shape))(is_needed, rows), expected(is_needed, rows))


@pytest.mark.parametrize("is_nested", [False, True])
def test_how_many_rows_are_computed(is_nested):
    assert MANY // FEW <= ROWS_TOGETHER
    shape = (2, MANY // 2) if is_nested else (MANY,)
    rows = {"count": rows_of(*shape)["count"]}
    several = ROWS_TOGETHER
    for num_needed, num_computed in [(0, 0), (1, 1), (2, several), (several, several), (several + 1, MANY)]:
        is_needed = (np.arange(MANY) < num_needed).reshape(shape)
        calls.clear()
        jax.block_until_ready(compiled(counted, len(shape))(is_needed, rows))
        jax.effects_barrier()
        assert len(calls) == num_computed


def test_what_has_no_batch_axis_gets_one():
    rows = rows_of(3)
    one = {**rows, "values": jnp.arange(3.0)}
    axes = {"count": 0, "key": 0, "other": 0, "values": None}
    is_needed = np.array([False, True, False])
    got = jax.vmap(lambda flag, row: replace_where(replace, flag, row), in_axes=(0, axes))(is_needed, one)
    assert_equal(got, expected(is_needed, {**rows, "values": jnp.broadcast_to(jnp.arange(3.0), (3, 3))}))
    always = jax.vmap(lambda row: replace_where(replace, jnp.bool_(True), row))(rows)
    assert_equal(always, expected(np.ones(3, bool), rows))


def test_it_works_inside_a_scan_and_with_raw_keys():
    rows = rows_of(MANY)
    rows = {**rows, "key": jax.random.key_data(rows["key"]), "other": jax.random.key_data(rows["other"])}
    needs = np.random.default_rng(1).random((6, MANY)) < np.array([0, 0.01, 0.05, 0.5, 1, 0.003])[:, None]

    def body(rows, flags):
        return jax.vmap(lambda flag, row: replace_where(replace, flag, row))(flags, rows), None

    got, _ = jax.lax.scan(body, rows, needs)
    for flags in needs:
        rows = expected(flags, rows)
    assert_equal(got, rows)


def test_leaves_without_elements_pass():
    rows = {"count": jnp.zeros((2, 3), jnp.int32), "nothing": jnp.zeros((2, 3, 0))}
    got = compiled(counted, 2)(np.ones((2, 3), bool), rows)
    np.testing.assert_array_equal(got["count"], np.ones((2, 3)))
    assert got["nothing"].shape == (2, 3, 0)
