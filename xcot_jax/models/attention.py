"""Causal attention within segments, over packed rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from xcot_jax import sharding
from xcot_jax.errors import InputError
from xcot_jax.models.attention_blocks import BLOCK, blocked_attention
from xcot_jax.models.attention_rule import AttentionRule, alibi_slopes, mask_bias

AttentionKernel = Literal["auto", "plain", "blocks", "splash", "cudnn"]

PADDING = 0
"""The segment id of padding. Real segments count from 1."""


def attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K H"],
    *,
    query_positions: Int[Array, "B T"],
    key_positions: Int[Array, "B S"],
    query_segments: Int[Array, "B T"],
    key_segments: Int[Array, "B S"],
    rule: AttentionRule,
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
      rule: scale, soft cap, window and bias of the scores.
      kernel: "plain" builds all scores at once. The others never do, and need queries and keys to
        be the same tokens, in rows where each segment is contiguous and position grows by one from
        left to right inside it: "blocks" (any platform), "splash" (TPU), "cudnn" (GPU). "auto"
        is the fastest on the platform of the mesh in context. Where a platform's own kernel
        does not know the rule or rows are short, "blocks" or the plain form stands in.

    Raises:
      InputError: for a kernel of another platform.
    """
    if chosen := _choice(kernel, q, k, rule):
        return chosen(q, k, v, segments=query_segments, rule=rule)
    distance, visible = _visible(query_positions, key_positions, query_segments, key_segments, rule)
    return attend_to_keys(q, k.swapaxes(1, 2), v.swapaxes(1, 2), distance, visible, rule)


def attend_to_keys(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B K S H"],
    v: Float[Array, "B K S H"],
    distance: Int[Array, "B T S"],
    visible: Bool[Array, "B T S"],
    rule: AttentionRule,
) -> Float[Array, "B T N H"]:
    """`attention` to keys and values whose heads lie before their columns.

    Args:
      distance: how far each key lies behind each query.
      visible: whether that query sees it.
    """
    mixed = _attend(_by_key_head(q, k.shape[1], rule), k, v, distance, visible, rule)
    return mixed.transpose(0, 3, 1, 2, 4).reshape(q.shape)


def _choice(
    asked: AttentionKernel,
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    rule: AttentionRule,
) -> Callable[..., jax.Array] | None:
    """The kernel to be used; None for the plain form."""
    platform = sharding.platform()
    own = {"splash": "tpu", "cudnn": "gpu"}.get(asked, platform)
    if own != platform:
        raise InputError(
            f"model.attention_kernel={asked!r} runs on {own.upper()}, and this is "
            f"{platform.upper()}; leave it at 'auto'"
        )
    # The rooms of accelerators' kernels are opened only where they are used: they load slowly.
    if platform == "tpu" and asked in ("auto", "splash"):
        from xcot_jax.models import attention_tpu

        if attention_tpu.supports(q.shape, k.shape, rule, q.dtype):
            return attention_tpu.splash_attention
    if platform == "gpu" and asked in ("auto", "cudnn"):
        from xcot_jax.models import attention_gpu

        if attention_gpu.supports(q.shape, k.shape, rule, q.dtype):
            return attention_gpu.cudnn_attention
    # Where rows are short there is little to leave out.
    same = q.shape[1] == k.shape[1]
    blocks = asked == "blocks" or (asked != "plain" and same and q.shape[1] > BLOCK)
    return blocked_attention if blocks else None


def _by_key_head(
    q: Float[Array, "B T N H"], kv_heads: int, rule: AttentionRule
) -> Float[Array, "B K G T H"]:
    """Scaled queries, grouped by the key/value head they share (G = N / K)."""
    rows, tokens, heads, width = q.shape
    q = q * jnp.asarray(rule.scale, q.dtype)
    return q.reshape(rows, tokens, kv_heads, heads // kv_heads, width).transpose(0, 2, 3, 1, 4)


def _visible(
    query_positions: Int[Array, "B T"],
    key_positions: Int[Array, "B S"],
    query_segments: Int[Array, "B T"],
    key_segments: Int[Array, "B S"],
    rule: AttentionRule,
) -> tuple[Int[Array, "B T S"], Bool[Array, "B T S"]]:
    """How far each key lies behind each query, and whether that query sees it."""
    distance = query_positions[:, :, None] - key_positions[:, None, :]
    same = query_segments[:, :, None] == key_segments[:, None, :]
    visible = same & (distance >= 0)
    return distance, visible & (distance < rule.window) if rule.window else visible


def _attend(
    q: Float[Array, "B K G T H"],
    k: Float[Array, "B K S H"],
    v: Float[Array, "B K S H"],
    distance: Int[Array, "B T S"],
    visible: Bool[Array, "B T S"],
    rule: AttentionRule,
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
    if rule.softcap:
        scores = rule.softcap * jnp.tanh(scores / rule.softcap)
    if rule.alibi:
        slopes = jnp.asarray(alibi_slopes(kv_heads * groups)).reshape(1, kv_heads, groups, 1, 1)
        scores -= slopes * distance.astype(jnp.float32)[:, None, None]
    scores += mask_bias(visible)[:, None, None]
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
