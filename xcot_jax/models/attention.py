"""Causal attention within segments, over packed rows and over a cache of earlier tokens."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from xcot_jax.models.config import AttentionKernel
from xcot_jax.pytree import pytree

PADDING = 0
"""The segment id of padding. Real segments count from 1."""

_MASKED = -1e30
"""Added to forbidden scores: far below any score, and finite, so that a row that may see nothing
becomes an average rather than NaN."""

_BLOCK = 128
"""Queries in a block of the blocked form; measured on CPU (64 to 128 is best at 512 tokens)."""


def attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K H"],
    *,
    query_positions: Int[Array, "B T"],
    key_positions: Int[Array, "B S"],
    query_segments: Int[Array, "B T"],
    key_segments: Int[Array, "B S"],
    kernel: AttentionKernel = "auto",
) -> Float[Array, "B T N H"]:
    """Scaled dot-product attention, in which a query sees its own segment up to its own position.

    Scores, softmax and their gradients are fp32; products take the type of `q`. Query head `n`
    reads key/value head `n // (N / K)`. What stands in other segments has no influence, to the
    bit. Rows of padding give finite values without meaning.

    Args:
      q: queries. k, v: keys and values; unused cache slots are marked by segment 0.
      query_positions, key_positions: place of each token in its segment.
      query_segments, key_segments: segment of each token, `PADDING` for none.
      kernel: "plain" builds all scores at once. "blocks" needs queries and keys to be the same
        tokens, in rows where position grows from left to right inside a segment: it leaves out the
        half of the products that causality forbids. "auto" takes "blocks" on CPU where it can and
        the rows are long.
    """
    if _use_blocks(kernel, q.shape[1], k.shape[1]):
        blocks = [
            (start, min(start + _BLOCK, q.shape[1])) for start in range(0, q.shape[1], _BLOCK)
        ]
    else:
        blocks = [(0, q.shape[1])]
    queries = _by_key_head(q, k.shape[2])
    keys, values = k.swapaxes(1, 2), v.swapaxes(1, 2)
    outputs = []
    for start, stop in blocks:
        seen = k.shape[1] if len(blocks) == 1 else stop
        visible = _visible(
            query_positions[:, start:stop],
            key_positions[:, :seen],
            query_segments[:, start:stop],
            key_segments[:, :seen],
        )
        outputs.append(
            _attend(queries[:, :, :, start:stop], keys[:, :, :seen], values[:, :, :seen], visible)
        )
    output = outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=3)
    return output.transpose(0, 3, 1, 2, 4).reshape(q.shape)


@pytree
class Cache:
    """Keys and values of the tokens read so far, one column a token.

    Layers lie in arrays of their own, and heads before columns: one array for all layers is copied
    whole at every step on CPU, which makes decoding four times slower.

    Attributes:
      keys, values: for each layer `[B, K, capacity, H]` in the compute type.
      positions: `[B, capacity]`, place of each token in its segment.
      segments: `[B, capacity]`, `PADDING` where a column is padding or not yet written.
    """

    keys: tuple[Float[Array, "B K capacity H"], ...]
    values: tuple[Float[Array, "B K capacity H"], ...]
    positions: Int[Array, "B capacity"]
    segments: Int[Array, "B capacity"]

    @property
    def capacity(self) -> int:
        """Columns, written or not."""
        return self.positions.shape[1]

    def grown(self, capacity: int) -> Cache:
        """The same with unwritten columns added on the right, up to `capacity`."""
        added = (0, capacity - self.capacity)
        wide = ((0, 0), (0, 0), added, (0, 0))
        return Cache(
            keys=tuple(jnp.pad(layer, wide) for layer in self.keys),
            values=tuple(jnp.pad(layer, wide) for layer in self.values),
            positions=jnp.pad(self.positions, ((0, 0), added)),
            segments=jnp.pad(self.segments, ((0, 0), added)),
        )


def cached_attention(
    q: Float[Array, "B T N H"],
    keys: Float[Array, "B K capacity H"],
    values: Float[Array, "B K capacity H"],
    *,
    query_positions: Int[Array, "B T"],
    key_positions: Int[Array, "B capacity"],
    query_segments: Int[Array, "B T"],
    key_segments: Int[Array, "B capacity"],
) -> Float[Array, "B T N H"]:
    """`attention` with the keys and values of one layer of a `Cache`."""
    visible = _visible(query_positions, key_positions, query_segments, key_segments)
    mixed = _attend(_by_key_head(q, keys.shape[1]), keys, values, visible)
    return mixed.transpose(0, 3, 1, 2, 4).reshape(q.shape)


def _use_blocks(kernel: AttentionKernel, queries: int, keys: int) -> bool:
    if kernel == "auto":
        return jax.default_backend() == "cpu" and queries == keys and queries > _BLOCK
    return kernel == "blocks"


def _by_key_head(q: Float[Array, "B T N H"], kv_heads: int) -> Float[Array, "B K G T H"]:
    """Scaled queries, grouped by the key/value head they share (G = N / K)."""
    rows, tokens, heads, width = q.shape
    q = q * jnp.asarray(width**-0.5, q.dtype)
    return q.reshape(rows, tokens, kv_heads, heads // kv_heads, width).transpose(0, 2, 3, 1, 4)


def _visible(
    query_positions: Int[Array, "B T"],
    key_positions: Int[Array, "B S"],
    query_segments: Int[Array, "B T"],
    key_segments: Int[Array, "B S"],
) -> Bool[Array, "B T S"]:
    same = query_segments[:, :, None] == key_segments[:, None, :]
    return same & (key_positions[:, None, :] <= query_positions[:, :, None])


def _attend(
    q: Float[Array, "B K G T H"],
    k: Float[Array, "B K S H"],
    v: Float[Array, "B K S H"],
    visible: Bool[Array, "B T S"],
) -> Float[Array, "B K G T H"]:
    """One block. The query heads of a key/value head form one longer matrix, so no key is copied.

    The weights are divided by their sum after the product with the values: a pass over `[T, H]`
    instead of `[T, S]`, a quarter of the time on CPU.
    """
    rows, kv_heads, groups, tokens, width = q.shape
    keys = k.shape[2]
    scores = jnp.einsum(
        "bkth,bksh->bkts",
        q.reshape(rows, kv_heads, groups * tokens, width),
        k,
        preferred_element_type=jnp.float32,
    ).reshape(rows, kv_heads, groups, tokens, keys)
    scores += jnp.where(visible, 0.0, jnp.float32(_MASKED))[:, None, None]
    highest = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
    weights = jnp.exp(scores - highest)
    total = weights.sum(axis=-1)
    mixed = jnp.einsum(
        "bkts,bksh->bkth",
        weights.astype(v.dtype).reshape(rows, kv_heads, groups * tokens, keys),
        v,
        preferred_element_type=jnp.float32,
    ).reshape(q.shape)
    return (mixed / total[..., None]).astype(v.dtype)
