"""Attention of packed rows a block of queries at a time, against the keys that block can see.

Packed segments are far shorter than their rows, so most of what causality leaves of a row's scores
lies between segments. Each block of queries is multiplied with as many blocks of keys as reach back
to the first one visible to it: one of a few sizes, since compiled shapes are static. The backward
pass builds the scores of a block again from the saved normalisers (Dao et al., arXiv 2205.14135,
section 3.1); nothing of size `[T, T]` is ever stored.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from xcot_jax.models.attention_mesh import on_each_device
from xcot_jax.models.attention_rule import SAVED, AttentionRule, alibi_slopes, mask_bias

BLOCK = 128
"""Queries in a block, and the unit of the keys it is multiplied with; measured on CPU."""

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
    first = _first_seen(segments, rule)

    def step(carry: tuple[()], number: Int[Array, ""]) -> tuple[tuple[()], tuple[Array, Array]]:
        here = _block_of(q, number)

        def attend(start: Int[Array, ""], size: int) -> tuple[Array, Array]:
            keys, values = (jax.lax.dynamic_slice_in_dim(x, start, size, axis=1) for x in (k, v))
            visible, distance = _visible(segments, number, start, size, rule)
            products = _product("kgth,ksh->kgts", here, keys)
            scores, _ = _scores(
                products, visible[None, None], distance[None, None], slopes[:, :, None, None], rule
            )
            highest = scores.max(axis=-1, keepdims=True)
            weights = jnp.exp(scores - highest)
            total = weights.sum(axis=-1, keepdims=True)
            mixed = _product("kgts,ksh->kgth", weights.astype(v.dtype), values) / total
            return mixed.astype(v.dtype), (highest + jnp.log(total))[..., 0]

        return carry, _by_reach(first, number, attend)

    _, blocks = jax.lax.scan(step, (), jnp.arange(q.shape[2] // BLOCK))
    mixed, log_sums = map(_joined, blocks)
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
    first = _first_seen(segments, rule)
    # Of each query's softmax: the sum of weights times their gradients.
    inner = (d_mixed.astype(jnp.float32) * mixed.astype(jnp.float32)).sum(axis=-1)

    def step(
        totals: tuple[Array, Array], number: Int[Array, ""]
    ) -> tuple[tuple[Array, Array], Array]:
        here, d_here = _block_of(q, number), _block_of(d_mixed, number)
        log_sum, inner_here = _block_of(log_sums, number), _block_of(inner, number)

        def attend(start: Int[Array, ""], size: int) -> tuple[tuple[Array, Array], Array]:
            keys, values = (jax.lax.dynamic_slice_in_dim(x, start, size, axis=1) for x in (k, v))
            # Scores lie keys first here: two of the three gradients then need no transposed copy.
            visible, distance = _visible(segments, number, start, size, rule)
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
            d_here_q = _product("ksgt,ksh->kgth", d_scores, keys).astype(q.dtype)
            return (
                _add_at(totals[0], d_keys, start),
                _add_at(totals[1], d_values, start),
            ), d_here_q

        return _by_reach(first, number, attend)

    zeros = jnp.zeros(k.shape, jnp.float32)
    (d_k, d_v), d_q = jax.lax.scan(step, (zeros, zeros), jnp.arange(q.shape[2] // BLOCK))
    return _joined(d_q), d_k.astype(k.dtype), d_v.astype(v.dtype)


_attend.defvjp(_forward, _backward)


def _block_of(x: Float[Array, "K G T *width"], number: Int[Array, ""]) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(x, number * BLOCK, BLOCK, axis=2)


def _joined(blocks: Float[Array, "blocks K G t *width"]) -> Float[Array, "K G T *width"]:
    """Blocks of queries put together to a row."""
    x = jnp.moveaxis(blocks, 0, 2)
    return x.reshape(*x.shape[:2], -1, *x.shape[4:])


def _first_seen(segments: Int[Array, " T"], rule: AttentionRule) -> Int[Array, " T"]:
    """The first column that each column's query sees."""
    column = jnp.arange(segments.shape[0])
    begins = jnp.concatenate([jnp.ones(1, bool), segments[1:] != segments[:-1]])
    first = jax.lax.cummax(jnp.where(begins, column, 0))
    if rule.window:
        first = jnp.maximum(first, column - rule.window + 1)
    return jnp.where(segments > 0, first, column)  # What padding sees has no meaning.


def _by_reach(
    first: Int[Array, " T"],
    number: Int[Array, ""],
    attend: Callable[[Int[Array, ""], int], tuple[Any, Any]],
) -> tuple[Any, Any]:
    """Calls `attend` with the first column and the number of keys, the smallest that suffices."""
    sizes = [BLOCK]
    while sizes[-1] < first.shape[0]:
        sizes.append(min(2 * sizes[-1], first.shape[0]))
    stop = (number + 1) * BLOCK
    reach = stop - jax.lax.dynamic_slice_in_dim(first, stop - BLOCK, BLOCK).min()
    branches = [lambda stop, size=size: attend(jnp.maximum(stop - size, 0), size) for size in sizes]
    return jax.lax.switch(jnp.searchsorted(jnp.asarray(sizes), reach), branches, stop)


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
