"""Attention of packed rows a block of queries at a time, against the keys that block can see.

Packed segments are far shorter than their rows, so most of what causality leaves of a row's scores
lies between segments. Each block of queries is multiplied with as many blocks of keys as reach back
to the first one visible to it: one of a few sizes, since compiled shapes are static. Blocks of a
size are taken in one loop, whatever their order in the row. The backward pass builds the scores of
a block again from the saved normalisers (Dao et al., arXiv 2205.14135, section 3.1); nothing of
size `[T, T]` is ever stored.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from xcot_jax.models.attention_mesh import on_each_device
from xcot_jax.models.attention_rule import SAVED, AttentionRule, alibi_slopes, mask_bias

BLOCK = 128
"""Queries in a block, and the unit of the keys it is multiplied with; measured on CPU."""

FINE_BLOCKS = 4
"""Up to so many blocks of keys every number of them has a program; beyond, twice the one before."""

_Arrays: TypeAlias = tuple[jax.Array, ...]

_Saved: TypeAlias = tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]


def blocked_attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    *,
    segments: Int[Array, "B T"],
    rule: AttentionRule,
) -> Float[Array, "B T N H"]:
    """Attention of packed rows with themselves, as `attention.attention` defines it.

    Every segment has to be contiguous in its row, with positions growing from left to right: then
    causality, window and ALiBi's distances may go by column. Scores and softmax are fp32. Padding
    gives finite values without meaning.
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
    rows, tokens, heads, width = q.shape
    kv_heads, added = k.shape[2], -q.shape[1] % BLOCK
    q = (q * jnp.asarray(rule.scale, q.dtype)).reshape(rows, tokens, kv_heads, -1, width)
    q = q.transpose(0, 2, 3, 1, 4)
    k, v = k.swapaxes(1, 2), v.swapaxes(1, 2)
    if added:
        wide = ((0, 0), (0, added), (0, 0))
        q = jnp.pad(q, ((0, 0), (0, 0), *wide))
        k, v = (jnp.pad(array, ((0, 0), *wide)) for array in (k, v))
        segments = jnp.pad(segments, wide[:2])
    mixed = _attend(rule, q, k, v, segments)[:, :, :, :tokens]
    return mixed.transpose(0, 3, 1, 2, 4).reshape(rows, tokens, heads, width)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(
    rule: AttentionRule,
    q: Float[Array, "B K G T H"],
    k: Float[Array, "B K T H"],
    v: Float[Array, "B K T H"],
    segments: Int[Array, "B T"],
) -> Float[Array, "B K G T H"]:
    return _forward(rule, q, k, v, segments)[0]


def _forward(
    rule: AttentionRule,
    q: Float[Array, "B K G T H"],
    k: Float[Array, "B K T H"],
    v: Float[Array, "B K T H"],
    segments: Int[Array, "B T"],
) -> tuple[Float[Array, "B K G T H"], _Saved]:
    """The mixtures, and what the backward pass needs: the last is the log of each softmax's sum."""
    each_row = functools.partial(_row_forward, rule)
    mixed, log_sums = jax.lax.map(lambda row: each_row(*row), (q, k, v, segments))
    mixed, log_sums = checkpoint_name(mixed, SAVED), checkpoint_name(log_sums, SAVED)
    return mixed, (q, k, v, segments, mixed, log_sums)


def _backward(
    rule: AttentionRule, saved: _Saved, d_mixed: Float[Array, "B K G T H"]
) -> tuple[Float[Array, "B K G T H"], Float[Array, "B K T H"], Float[Array, "B K T H"], None]:
    each_row = functools.partial(_row_backward, rule)
    return (*jax.lax.map(lambda row: each_row(*row), (*saved, d_mixed)), None)


def _row_forward(
    rule: AttentionRule,
    q: Float[Array, "K G T H"],
    k: Float[Array, "K T H"],
    v: Float[Array, "K T H"],
    segments: Int[Array, " T"],
) -> tuple[Float[Array, "K G T H"], Float[Array, "K G T"]]:
    """The mixtures of one row and the logs of the sums of its softmaxes."""
    slopes = jnp.asarray(alibi_slopes(q.shape[0] * q.shape[1])).reshape(q.shape[:2])

    def step(so_far: _Arrays, number: Int[Array, ""], size: int) -> _Arrays:
        here, first = _block_of(q, number), _first_key(number, size)
        keys, values = (jax.lax.dynamic_slice_in_dim(x, first, size, axis=1) for x in (k, v))
        visible, distance = _visible(segments, number, first, size, rule)
        products = _product("kgth,ksh->kgts", here, keys)
        scores, _ = _scores(
            products, visible[None, None], distance[None, None], slopes[:, :, None, None], rule
        )
        highest = scores.max(axis=-1, keepdims=True)
        weights = jnp.exp(scores - highest)
        total = weights.sum(axis=-1, keepdims=True)
        mixed = _product("kgts,ksh->kgth", weights.astype(v.dtype), values) / total
        log_sums = (highest + jnp.log(total))[..., 0]
        return _put(so_far[0], mixed, number), _put(so_far[1], log_sums, number)

    mixed, log_sums = jnp.zeros_like(q), jnp.zeros(q.shape[:3], jnp.float32)
    mixed, log_sums = _over_blocks(_reach(segments, rule), step, (mixed, log_sums))
    return mixed, log_sums


def _row_backward(
    rule: AttentionRule,
    q: Float[Array, "K G T H"],
    k: Float[Array, "K T H"],
    v: Float[Array, "K T H"],
    segments: Int[Array, " T"],
    mixed: Float[Array, "K G T H"],
    log_sums: Float[Array, "K G T"],
    d_mixed: Float[Array, "K G T H"],
) -> tuple[Float[Array, "K G T H"], Float[Array, "K T H"], Float[Array, "K T H"]]:
    """The gradients of one row's queries, keys and values."""
    slopes = jnp.asarray(alibi_slopes(q.shape[0] * q.shape[1])).reshape(q.shape[:2])
    # Of each query's softmax: the sum of weights times their gradients.
    inner = (d_mixed.astype(jnp.float32) * mixed.astype(jnp.float32)).sum(axis=-1)

    def step(so_far: _Arrays, number: Int[Array, ""], size: int) -> _Arrays:
        here, d_here = _block_of(q, number), _block_of(d_mixed, number)
        log_sum, inner_here = _block_of(log_sums, number), _block_of(inner, number)
        first = _first_key(number, size)
        keys, values = (jax.lax.dynamic_slice_in_dim(x, first, size, axis=1) for x in (k, v))
        # Scores lie keys first here: two of the three gradients then need no transposed copy.
        visible, distance = _visible(segments, number, first, size, rule)
        products = _product("ksh,kgth->ksgt", keys, here)
        scores, slope = _scores(
            products,
            visible.T[None, :, None],
            distance.T[None, :, None],
            slopes[:, None, :, None],
            rule,
        )
        weights = jnp.exp(scores - log_sum[:, None])
        d_values = _product("ksgt,kgth->ksh", weights.astype(v.dtype), d_here)
        d_weights = _product("ksh,kgth->ksgt", values, d_here)
        d_scores = weights * (d_weights - inner_here[:, None])
        if slope is not None:
            d_scores *= slope
        d_scores = d_scores.astype(k.dtype)
        d_keys = _product("ksgt,kgth->ksh", d_scores, here)
        d_q = _product("ksgt,ksh->kgth", d_scores, keys)
        return (
            _put(so_far[0], d_q, number),
            _add_at(so_far[1], d_keys, first),
            _add_at(so_far[2], d_values, first),
        )

    zeros = jnp.zeros(k.shape, jnp.float32)
    start = (jnp.zeros_like(q), zeros, zeros)
    d_q, d_k, d_v = _over_blocks(_reach(segments, rule), step, start)
    return d_q, d_k.astype(k.dtype), d_v.astype(v.dtype)


_attend.defvjp(_forward, _backward)


def _block_of(x: Float[Array, "K G T *width"], number: Int[Array, ""]) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(x, number * BLOCK, BLOCK, axis=2)


def _put(
    x: Float[Array, "K G T *width"], block: Float[Array, "K G t *width"], number: Int[Array, ""]
) -> Float[Array, "K G T *width"]:
    return jax.lax.dynamic_update_slice_in_dim(x, block.astype(x.dtype), number * BLOCK, axis=2)


def _reach(segments: Int[Array, " T"], rule: AttentionRule) -> Int[Array, " blocks"]:
    """How many columns each block of queries sees, from its last one back to the first it needs."""
    column = jnp.arange(segments.shape[0])
    begins = jnp.concatenate([jnp.ones(1, bool), segments[1:] != segments[:-1]])
    first = jax.lax.cummax(jnp.where(begins, column, 0))
    if rule.window:
        first = jnp.maximum(first, column - rule.window + 1)
    first = jnp.where(segments > 0, first, column)  # What padding sees has no meaning.
    return (jnp.arange(1, first.shape[0] // BLOCK + 1) * BLOCK) - first.reshape(-1, BLOCK).min(1)


def _over_blocks(
    reach: Int[Array, " blocks"], step: Callable[[_Arrays, Array, int], _Arrays], start: _Arrays
) -> _Arrays:
    """Takes the blocks one by one, in a loop for each number of keys that they are multiplied with.

    One loop that chose among sizes would hand its arrays through a conditional, which copies them.

    Args:
      reach: columns that each block sees.
      step: from the arrays, a block's number and its number of keys to the arrays.
      start: the arrays before the first.
    """
    tokens = reach.shape[0] * BLOCK
    sizes = [BLOCK]
    while sizes[-1] < tokens:
        larger = sizes[-1] + BLOCK if sizes[-1] < FINE_BLOCKS * BLOCK else 2 * sizes[-1]
        sizes.append(min(larger, tokens))
    kind = jnp.searchsorted(jnp.asarray(sizes), reach)
    order = jnp.argsort(kind)
    ends = jnp.cumsum(jnp.bincount(kind, length=len(sizes)))
    arrays, begin = start, jnp.zeros((), ends.dtype)
    for size, end in zip(sizes, ends, strict=True):
        arrays = jax.lax.fori_loop(
            begin, end, lambda n, so_far, size=size: step(so_far, order[n], size), arrays
        )
        begin = end
    return arrays


def _first_key(number: Int[Array, ""], size: int) -> Int[Array, ""]:
    """The first of the keys of a block: they end with it, but for blocks near the row's start."""
    return jnp.maximum((number + 1) * BLOCK - size, 0)


def _visible(
    segments: Int[Array, " T"],
    number: Int[Array, ""],
    first: Int[Array, ""],
    size: int,
    rule: AttentionRule,
) -> tuple[Bool[Array, "t s"], Int[Array, "t s"]]:
    """Which query of the block sees which of `size` keys from column `first`, and how far back."""
    query, key = number * BLOCK + jnp.arange(BLOCK), first + jnp.arange(size)
    of_queries = jax.lax.dynamic_slice_in_dim(segments, number * BLOCK, BLOCK)
    of_keys = jax.lax.dynamic_slice_in_dim(segments, first, size)
    distance = query[:, None] - key[None, :]
    visible = (of_queries[:, None] == of_keys[None, :]) & (distance >= 0)
    return visible & (distance < rule.window) if rule.window else visible, distance


def _scores(
    products: Float[Array, "*shape"],
    visible: Bool[Array, "*part"],
    distance: Int[Array, "*part"],
    slopes: Float[Array, "*heads"],
    rule: AttentionRule,
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"] | None]:
    """Masked scores, and their derivative in the products where a soft cap bends them.

    All arguments have the axes of `products`, of length 1 where they do not vary.
    """
    scores, slope = products, None
    if rule.softcap:
        level = jnp.tanh(products / rule.softcap)
        scores, slope = rule.softcap * level, 1.0 - level * level
    if rule.alibi:
        scores -= slopes * distance.astype(jnp.float32)
    return scores + mask_bias(visible), slope


def _product(form: str, a: Float[Array, "*a"], b: Float[Array, "*b"]) -> Float[Array, "*ab"]:
    """A product with fp32 sums."""
    return jnp.einsum(form, a, b, preferred_element_type=jnp.float32)


def _add_at(
    total: Float[Array, "K T H"], part: Float[Array, "K s H"], start: Int[Array, ""]
) -> Float[Array, "K T H"]:
    """The total with a part added to its columns from `start` on."""
    before = jax.lax.dynamic_slice_in_dim(total, start, part.shape[1], axis=1)
    return jax.lax.dynamic_update_slice_in_dim(total, before + part, start, axis=1)
