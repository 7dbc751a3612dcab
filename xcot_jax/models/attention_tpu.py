"""Causal attention within segments by JAX's TPU kernel, which never stores the scores."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
from jaxtyping import Array, Float, Int

from xcot_jax.models.attention_mesh import on_each_device
from xcot_jax.models.attention_rule import SAVED, AttentionRule

_LANES = 128
"""Tokens come in multiples of this; rows are padded up to one."""

_BLOCKS = (512, 384, 256, 128)
"""Queries and keys in a tile, the largest first that divides a row. At 512 a tile's products take
longer than its start; beyond, causality leaves out less of a row of 1,024 tokens."""


def supports(
    q_shape: tuple[int, ...], kv_shape: tuple[int, ...], rule: AttentionRule, dtype: Any
) -> bool:
    """Whether `splash_attention` computes this, and does so better than the plain form.

    Args:
      q_shape: [B, T, N, H]. kv_shape: [B, S, K, H].
      rule: ALiBi's bias is not known to the kernel.
      dtype: type of the products.
    """
    tokens, keys = q_shape[1], kv_shape[1]
    known_type = jnp.dtype(dtype) in (jnp.bfloat16, jnp.float32)
    return tokens == keys and tokens >= _LANES and known_type and not rule.alibi


def splash_attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    *,
    segments: Int[Array, "B T"],
    rule: AttentionRule,
    interpret: bool = False,
) -> Float[Array, "B T N H"]:
    """Attention of packed rows with themselves, as `attention.attention` defines it.

    Every segment has to be contiguous in its row, with positions growing from left to right: then
    causality and the window may go by column. Tiles above the diagonal or left of the window are
    never computed; tiles between different segments are. Scores and softmax are fp32. Padding
    gives finite values without meaning.

    Under a mesh in context each device computes its own rows and heads (`on_each_device`).

    Args:
      q: queries. k, v: keys and values, of which every N / K query heads share a head.
      segments: the segment of each token, 0 for padding.
      rule: scale, soft cap and window; ALiBi is not supported.
      interpret: runs the kernel on CPU, slowly, for tests.
    """
    tokens = q.shape[1]
    added = -tokens % _LANES
    q = q * jnp.asarray(rule.scale, q.dtype)
    if added:
        wide = ((0, 0), (0, added), (0, 0), (0, 0))
        q, k, v = (jnp.pad(array, wide) for array in (q, k, v))
        segments = jnp.pad(segments, ((0, 0), (0, added)))
    kernel = functools.partial(_local, rule=rule, interpret=interpret)
    return on_each_device(kernel, q, k, v, segments)[:, :tokens]


def _local(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    segments: Int[Array, "B T"],
    *,
    rule: AttentionRule,
    interpret: bool,
) -> Float[Array, "B T N H"]:
    """One device's rows and heads."""
    kernel = _kernel(q.shape[1], q.shape[2], rule.window, rule.softcap, interpret)
    by_head = (array.swapaxes(1, 2) for array in (q, k, v))
    ids = splash.SegmentIds(q=segments, kv=segments)
    mixed = jax.vmap(kernel)(*by_head, ids)
    return mixed.swapaxes(1, 2).astype(v.dtype)


@functools.cache
def _kernel(tokens: int, heads: int, window: int, softcap: float, interpret: bool) -> Any:
    """The kernel for rows of this length, with tables of the tiles it visits.

    The tables are made once for all layers, and are NumPy's: what is cached while one program is
    traced must not belong to its trace.
    """
    square = (tokens, tokens)
    mask = masks.LocalMask(square, (window - 1, 0), 0) if window else masks.CausalMask(square)
    block = next(size for size in _BLOCKS if tokens % size == 0)
    with jax.ensure_compile_time_eval():
        kernel = splash.make_splash_mha(
            masks.MultiHeadMask([mask] * heads),
            block_sizes=splash.BlockSizes(
                block_q=block,
                block_kv=block,
                block_q_dkv=block,
                block_kv_dkv=block,
                block_q_dq=block,
                block_kv_dq=block,
            ),
            attn_logits_soft_cap=softcap or None,
            head_shards=1,
            q_seq_shards=1,
            residual_checkpoint_name=SAVED,
            interpret=interpret,
        )
        return jax.tree.map(np.asarray, kernel)
