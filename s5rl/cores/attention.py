"""The attention core: a transformer with a rolling memory of keys and values."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, TypedDict, final

import jax
import jax.numpy as jnp

from s5rl.cores import checks, layers
from s5rl.cores.base import CheckedCore
from s5rl.cores.rolling_attention import attend, attend_ring, visibility
from s5rl.types import Array, Params, PRNGKey
from s5rl.validation import check_bool, check_positive


class AttentionState(TypedDict):
    """What an `AttentionCore` of L layers remembers: rings, of which a step writes one slot only.

    Where the state is the carry of a scan, or donated, that slot is written in place, and so are the zeros
    of a row that is reset: what a step moves does not grow with the window.
    """

    keys: tuple[Array, ...]
    """L of [B, num_heads, window, head_size]; zeros in empty slots."""
    values: tuple[Array, ...]
    """L of [B, num_heads, window, head_size]; zeros in empty slots."""
    position: Array
    """int32 [B]: the slot that the next step writes; the slots before it, cyclically, are filled."""
    length: Array
    """int32 [B]: number of filled slots."""


@final
@dataclasses.dataclass(frozen=True)
class AttentionCore(CheckedCore):
    """A pre-norm transformer whose every layer sees the last `window` steps since the last reset.

    A layer is h = x + Attention(LN(x)), y = h + MLP(LN(h)); with gating, each sum is replaced by the GRU-like
    gate of GTrXL. Full attention is `window` >= length of the episode. Inputs of another width than
    `model_size` are first projected linearly.

    Attributes:
      num_layers: number of layers.
      num_heads: number of heads; divides `model_size`.
      model_size: number of features between layers, and of the output.
      window: number of steps that are remembered, the current one among them.
      mlp_ratio: width of the hidden layer of an MLP, in multiples of `model_size`.
      gating: whether GTrXL's gates take the place of the residual sums.

    Raises:
      ValueError: a size is not positive, `num_heads` does not divide `model_size`, or `gating` is not a bool.

    Source: Vaswani et al. 2017; Parisotto et al. 2020 (GTrXL), sections 3.1 and 3.2 (identity map reordering,
    gated recurrent unit gating).
    """

    num_layers: int = 2
    num_heads: int = 4
    model_size: int = 256
    window: int = 128
    mlp_ratio: int = 4
    gating: bool = False

    def __post_init__(self) -> None:
        check_positive(
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            model_size=self.model_size,
            window=self.window,
            mlp_ratio=self.mlp_ratio,
        )
        check_bool("gating", self.gating)
        if self.model_size % self.num_heads:
            raise ValueError(
                "num_heads must divide model_size, "
                f"got num_heads={self.num_heads} and model_size={self.model_size}."
            )

    @classmethod
    def bsuite(cls) -> AttentionCore:
        """Returns one layer of the size of Table 3, which sees the longest episode of memory_len."""
        return cls(num_layers=1, model_size=256, window=128)

    @classmethod
    def popgym(cls) -> AttentionCore:
        """Returns the size of Table 4's recurrent layer; the paper did not run attention there."""
        return cls(num_layers=2, model_size=256, window=128)

    @classmethod
    def projected_dm_control(cls) -> AttentionCore:
        """Returns the size of Table 5's memory; the paper did not run attention there."""
        return cls(num_layers=4, model_size=256, window=1024)

    @property
    def output_size(self) -> int:
        """Number of features of an output: `model_size`."""
        return self.model_size

    def init(self, key: PRNGKey, input_size: int) -> Params:
        """Returns fresh parameters for inputs of `input_size` features."""
        return layers.stack(
            key,
            self._init_layer,
            num_layers=self.num_layers,
            input_size=input_size,
            model_size=self.model_size,
        )

    def initial_state(self, batch_size: int | None = None) -> AttentionState:
        """Returns an empty memory."""
        batch = () if batch_size is None else (batch_size,)
        shape = (*batch, self.num_heads, self.window, self.model_size // self.num_heads)
        # Every leaf has a buffer of its own, since a buffer may be donated only once.
        keys, values = (tuple(jnp.zeros(shape, float) for _ in range(self.num_layers)) for _ in range(2))
        position, length = (jnp.zeros(batch, jnp.int32) for _ in range(2))
        return AttentionState(keys=keys, values=values, position=position, length=length)

    def _step(self, prepared: Params, inputs: Array, state: AttentionState) -> tuple[Array, AttentionState]:
        ages = (state["position"][:, None] - jnp.arange(self.window)) % self.window
        length = jnp.minimum(state["length"] + 1, self.window)
        visible = ages < length[:, None]
        hidden = self._project(prepared, inputs)
        new_keys, new_values = [], []
        for index in range(self.num_layers):
            layer = prepared[f"layer_{index}"]
            queries, keys, values = self._attention_inputs(layer, hidden)
            keys = _write(state["keys"][index], state["position"], keys)
            values = _write(state["values"][index], state["position"], values)
            attended = attend_ring(queries, keys, values, layer["age_bias"], ages, visible)
            hidden = self._layer_outputs(layer, hidden, attended)
            new_keys.append(keys)
            new_values.append(values)
        position = (state["position"] + 1) % self.window
        return hidden, AttentionState(
            keys=tuple(new_keys), values=tuple(new_values), position=position, length=length
        )

    def _unroll(
        self,
        prepared: Params,
        inputs: Array,
        state: AttentionState,
        should_reset: Array | None,
    ) -> tuple[Array, AttentionState]:
        num_steps, batch_size, _ = inputs.shape
        if should_reset is None:
            should_reset = jnp.zeros((num_steps, batch_size), jnp.bool_)
        flags = should_reset.T
        # Long sequences are cut into blocks of `window` queries, each of which sees one block back: the cost
        # grows with T * window, not with T * T.
        block = min(self.window, num_steps)
        num_blocks = -(-num_steps // block)
        padding = num_blocks * block - num_steps
        segments = jnp.pad(jnp.cumsum(flags, axis=1, dtype=jnp.int32), ((0, 0), (0, padding)))
        slots = jnp.arange(self.window)
        in_memory = jnp.where(slots >= self.window - state["length"][:, None], 0, -1).astype(jnp.int32)
        visible = visibility(_blocks(segments, block), _with_memory(segments, in_memory, block), self.window)

        steps_since = _steps_since_reset(flags)[:, -1]
        is_carried = steps_since > num_steps
        filled = jnp.where(is_carried, state["length"] + num_steps, steps_since)
        length = jnp.minimum(filled, self.window).astype(jnp.int32)
        written = jnp.where(is_carried, state["position"] + num_steps, steps_since)
        position = (written % self.window).astype(jnp.int32)
        # As in a scan of steps, only a reset clears slots.
        is_kept = is_carried[:, None] | (slots >= self.window - length[:, None])

        hidden = self._project(prepared, inputs).swapaxes(0, 1)
        new_keys, new_values = [], []
        for index in range(self.num_layers):
            layer = prepared[f"layer_{index}"]
            queries, keys, values = self._attention_inputs(layer, hidden)
            old_keys, old_values = (
                _in_order(x[index], state["position"]) for x in (state["keys"], state["values"])
            )
            new_keys.append(_into_ring(_remember(old_keys, keys, is_kept), position))
            new_values.append(_into_ring(_remember(old_values, values, is_kept), position))
            queries, keys, values = (_pad_time(x, padding) for x in (queries, keys, values))
            attended = attend(
                _blocks(queries, block),
                _with_memory(keys, old_keys, block),
                _with_memory(values, old_values, block),
                layer["age_bias"],
                visible,
            )
            attended = attended.reshape(batch_size, num_blocks * block, *attended.shape[2:])
            hidden = self._layer_outputs(layer, hidden, attended[:, :num_steps])
        final_state = AttentionState(
            keys=tuple(new_keys), values=tuple(new_values), position=position, length=length
        )
        return hidden.swapaxes(0, 1), final_state

    def _init_layer(self, key: PRNGKey) -> dict[str, Any]:
        keys = jax.random.split(key, 8)
        size, wide = self.model_size, self.mlp_ratio * self.model_size
        params: dict[str, Any] = {
            "attention_norm": layers.layer_norm(size),
            "query": layers.linear(keys[0], size, size),
            "key": layers.linear(keys[1], size, size),
            "value": layers.linear(keys[2], size, size),
            "attended": layers.linear(keys[3], size, size),
            "age_bias": jnp.zeros((self.num_heads, self.window), float),
            "mlp_norm": layers.layer_norm(size),
            "mlp_in": layers.linear(keys[4], size, wide),
            "mlp_out": layers.linear(keys[5], wide, size),
        }
        if self.gating:
            params["attention_gate"] = _init_gate(keys[6], size)
            params["mlp_gate"] = _init_gate(keys[7], size)
        return params

    def _project(self, params: Params, inputs: Array) -> Array:
        if "projection" not in params:
            checks.check_input_size(inputs, self.model_size)
            return inputs
        checks.check_input_size(inputs, params["projection"]["weights"].shape[0])
        return layers.apply_linear(params["projection"], inputs)

    def _attention_inputs(self, layer: dict[str, Any], hidden: Array) -> tuple[Array, Array, Array]:
        """Returns queries, keys and values, [..., num_heads, head_size] each, of hidden [..., model_size]."""
        normed = layers.apply_layer_norm(layer["attention_norm"], hidden)
        shape = (*hidden.shape[:-1], self.num_heads, self.model_size // self.num_heads)
        query, key, value = (layers.apply_linear(layer[name], normed) for name in ("query", "key", "value"))
        return query.reshape(shape), key.reshape(shape), value.reshape(shape)

    def _layer_outputs(self, layer: dict[str, Any], hidden: Array, attended: Array) -> Array:
        """Returns what a layer makes of its inputs [..., model_size] and of what its heads attended to."""
        attended = layers.apply_linear(layer["attended"], attended.reshape(hidden.shape))
        hidden = self._merge(layer, "attention_gate", hidden, attended)
        normed = layers.apply_layer_norm(layer["mlp_norm"], hidden)
        expanded = jax.nn.gelu(layers.apply_linear(layer["mlp_in"], normed))
        updated = layers.apply_linear(layer["mlp_out"], expanded)
        return self._merge(layer, "mlp_gate", hidden, updated)

    def _merge(self, layer: dict[str, Any], gate: str, stream: Array, update: Array) -> Array:
        """Returns the residual sum, or GTrXL's gate in its place."""
        if not self.gating:
            return stream + update
        return _apply_gate(layer[gate], stream, jax.nn.relu(update))


def _init_gate(key: PRNGKey, size: int) -> dict[str, Array]:
    key_update, key_stream, key_candidate = jax.random.split(key, 3)
    return {
        "update": layers.lecun(key_update, size, 3 * size, 2 * size),
        "stream": layers.lecun(key_stream, size, 2 * size, 2 * size),
        "candidate": layers.lecun(key_candidate, size, size, 2 * size),
        # GTrXL starts the gates near the identity: a bias of 2 keeps the stream.
        "bias": jnp.full(size, 2.0, float),
    }


def _apply_gate(params: dict[str, Array], stream: Array, update: Array) -> Array:
    """Returns the GTrXL gate g(stream, update), all [..., F]: (1 - z) stream + z candidate."""
    from_update = jnp.split(update @ params["update"], 3, axis=-1)
    from_stream = jnp.split(stream @ params["stream"], 2, axis=-1)
    r = jax.nn.sigmoid(from_update[0] + from_stream[0])
    z = jax.nn.sigmoid(from_update[1] + from_stream[1] - params["bias"])
    candidate = jnp.tanh(from_update[2] + (r * stream) @ params["candidate"])
    return (1 - z) * stream + z * candidate


def _steps_since_reset(flags: Array) -> Array:
    """Returns, for flags [B, T], how many steps since the last reset, that step counted; else more than T."""
    num_steps = flags.shape[1]
    times = jnp.arange(num_steps)
    last_reset = jax.lax.cummax(jnp.where(flags, times, -1), axis=1)
    return jnp.where(last_reset < 0, num_steps + 1, times - last_reset + 1)


def _write(ring: Array, position: Array, new: Array) -> Array:
    """Returns the ring [B, N, W, D] with new [B, N, D] in the slots `position` [B]."""
    rows, heads = jnp.arange(ring.shape[0]), jnp.arange(ring.shape[1])
    # An update for each head: of a batch of one row, XLA for CPUs would otherwise make a single update, fuse
    # it with what reads the ring, and copy the ring for both.
    return ring.at[rows[:, None], heads, position[:, None]].set(new)


def _in_order(ring: Array, position: Array) -> Array:
    """Returns the slots of a ring [B, N, W, D] from the oldest to the newest, [B, W, N, D]."""
    return _roll(ring.swapaxes(1, 2), -position)


def _into_ring(memory: Array, position: Array) -> Array:
    """Returns a ring [B, N, W, D] from slots [B, W, N, D] in order, the newest before `position` [B]."""
    return _roll(memory, position).swapaxes(1, 2)


def _roll(memory: Array, shift: Array) -> Array:
    """Returns memory [B, W, ...] with each row moved by its own shift [B], cyclically."""
    return jax.vmap(functools.partial(jnp.roll, axis=0))(memory, shift)


def _remember(memory: Array, new: Array, is_kept: Array) -> Array:
    """Returns the last W slots of memory [B, W, ...] and new [B, T, ...], zeros where not kept, [B, W]."""
    joined = jnp.concatenate([memory, new], axis=1)
    return jnp.where(is_kept[..., None, None], joined[:, -memory.shape[1] :], 0.0)


def _pad_time(x: Array, padding: int) -> Array:
    """Returns x [B, T, ...] with zeros behind its end."""
    return jnp.pad(x, ((0, 0), (0, padding)) + ((0, 0),) * (x.ndim - 2))


def _blocks(x: Array, block: int) -> Array:
    """Returns x [B, T, ...] as blocks [B * T / block, block, ...]."""
    return x.reshape(x.shape[0] * (x.shape[1] // block), block, *x.shape[2:])


def _with_memory(x: Array, memory: Array, block: int) -> Array:
    """Returns each block of x [B, T, ...] behind the W slots before it, [B * T / block, W + block, ...].

    The first block is preceded by the memory [B, W, ...]; where there are more blocks, block is W.
    """
    batch_size, num_steps = x.shape[:2]
    blocks = x.reshape(batch_size, num_steps // block, block, *x.shape[2:])
    before = memory[:, None]
    if blocks.shape[1] > 1:
        before = jnp.concatenate([before, blocks[:, :-1]], axis=1)
    joined = jnp.concatenate([before, blocks], axis=2)
    return joined.reshape(joined.shape[0] * joined.shape[1], *joined.shape[2:])
