"""Causal attention within segments by cuDNN's fused kernel, which never stores the scores."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xcot_jax.models.attention_mesh import on_each_device
from xcot_jax.models.attention_rule import AttentionRule

_WIDEST = {True: 256, False: 128}
"""Widest head, by whether the GPU is of the Hopper generation (compute capability 9) or later."""

_TOKENS = 128
"""Rows shorter than this gain nothing from a fused kernel."""


def supports(
    q_shape: tuple[int, ...],
    kv_shape: tuple[int, ...],
    rule: AttentionRule,
    dtype: Any,
    *,
    hopper: bool | None = None,
) -> bool:
    """Whether `cudnn_attention` computes this, and does so better than the plain form.

    Args:
      q_shape: [B, T, N, H]. kv_shape: [B, S, K, H].
      rule: soft caps and ALiBi's bias are not known to the kernel.
      dtype: type of the products, which has to have 16 bits.
      hopper: whether the GPU is of compute capability 9 or later; None: asks JAX's.
    """
    tokens, keys, width = q_shape[1], kv_shape[1], q_shape[3]
    half = jnp.dtype(dtype) in (jnp.bfloat16, jnp.float16)
    if not half or rule.softcap or rule.alibi or tokens != keys or tokens < _TOKENS:
        return False
    if hopper is None:
        hopper = _is_hopper()
    # With a mask, gradients want rows of even length.
    return width % 8 == 0 and width <= _WIDEST[hopper] and tokens % 2 == 0


def cudnn_attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    *,
    segments: Int[Array, "B T"],
    rule: AttentionRule,
) -> Float[Array, "B T N H"]:
    """Attention of packed rows with themselves, as `attention.attention` defines it.

    Every segment has to be contiguous in its row, with positions growing from left to right: then
    causality and the window go by column, and what they forbid is not computed. Segments are kept
    apart by a mask `[B, 1, T, T]`, which all heads share. Scores and softmax are fp32. Padding
    gives finite values without meaning.

    cuDNN can also be told where segments begin, without a mask; but JAX 0.10 offers that in private
    functions only, and gives cuDNN wrong offsets where query heads share keys (jax-ml/jax#39521).

    Under a mesh in context each device computes its own rows and heads (`on_each_device`).

    Args:
      q: queries. k, v: keys and values, of which every N / K query heads share a head.
      segments: the segment of each token, 0 for padding.
      rule: scale and window; what else it may hold is not supported.

    Raises:
      RuntimeError: from JAX, on a machine without cuDNN.
    """
    return on_each_device(functools.partial(_local, rule=rule), q, k, v, segments)


def _local(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    segments: Int[Array, "B T"],
    *,
    rule: AttentionRule,
) -> Float[Array, "B T N H"]:
    """One device's rows and heads."""
    same = segments[:, None, :, None] == segments[:, None, None, :]
    return jax.nn.dot_product_attention(
        q,
        k,
        v,
        mask=same,
        scale=rule.scale,
        is_causal=True,
        local_window_size=(rule.window - 1, 0) if rule.window else None,
        implementation="cudnn",
    )


@functools.cache
def _is_hopper() -> bool:
    """Whether the devices at hand are GPUs of compute capability 9 or later."""
    capability = getattr(jax.local_devices()[0], "compute_capability", "0.0")
    return float(capability) >= 9.0
