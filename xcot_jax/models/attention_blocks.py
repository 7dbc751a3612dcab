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
from typing import TypeAlias

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
    slopes = jnp.asarray(alibi_slopes(q.shape[1] * q.shape[2])).reshape(q.shape[1:3])

    def step(carry: tuple[()], block: tuple[Array, Array]) -> tuple[tuple[()], tuple[Array, Array]]:
        row, number = block
        here = jax.lax.dynamic_slice_in_dim(q[row], number * BLOCK, BLOCK, axis=2)

        def attend(first: Int[Array, ""], size: int) -> tuple[Array, Array]:
            keys = jax.lax.dynamic_slice_in_dim(k[row], first, size, axis=1)
            values = jax.lax.dynamic_slice_in_dim(v[row], first, size, axis=1)
            visible, distance = _visible(segments[row], number, first, size, rule)
            products = _product("kgth,ksh->kgts", here, keys)
            scores, _ = _scores(
                products, visible[None, None], distance[None, None], slopes[:, :, None, None], rule
            )
            highest = scores.max(axis=-1, keepdims=True)
            weights = jnp.exp(scores - highest)
            total = weights.sum(axis=-1, keepdims=True)
            mixed = _product("kgts,ksh->kgth", weights.astype(v.dtype), values) / total
            return mixed.astype(v.dtype), (highest + jnp.log(total))[..., 0]

        return carry, _by_reach(_reach(segments[row], number, rule), q.shape[3], attend)

    _, (mixed, log_sums) = jax.lax.scan(step, (), _blocks(q))
    mixed = checkpoint_name(_rows_of(mixed, q.shape[0]), SAVED)
    log_sums = checkpoint_name(_rows_of(log_sums, q.shape[0]), SAVED)
    return mixed, (q, k, v, segments, mixed, log_sums)


def _backward(
    rule: AttentionRule, saved: _Saved, d_mixed: Float[Array, "B K G T H"]
) -> tuple[Float[Array, "B K G T H"], Float[Array, "B K T H"], Float[Array, "B K T H"], None]:
    q, k, v, segments, mixed, log_sums = saved
    wide = d_mixed.astype(jnp.float32) * mixed.astype(jnp.float32)
    inner = wide.sum(axis=-1)  # Of each query's softmax: the sum of weights times their gradients.
    slopes = jnp.asarray(alibi_slopes(q.shape[1] * q.shape[2])).reshape(q.shape[1:3])
    zeros = functools.partial(jnp.zeros, dtype=jnp.float32)

    def step(
        carry: tuple[Array, Array], block: tuple[Array, Array]
    ) -> tuple[tuple[Array, Array], Array]:
        row, number = block
        of_block = functools.partial(
            jax.lax.dynamic_slice_in_dim, start_index=number * BLOCK, slice_size=BLOCK, axis=2
        )
        here, d_here = of_block(q[row]), of_block(d_mixed[row])
        log_sum, inner_here = of_block(log_sums[row]), of_block(inner[row])

        def attend(first: Int[Array, ""], size: int) -> tuple[tuple[Array, Array], Array]:
            keys = jax.lax.dynamic_slice_in_dim(k[row], first, size, axis=1)
            values = jax.lax.dynamic_slice_in_dim(v[row], first, size, axis=1)
            # Scores lie keys first here: two of the three gradients then need no transposed copy.
            visible, distance = _visible(segments[row], number, first, size, rule)
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
            return _add_at(carry, (d_keys, d_values), row, first), d_here_q

        return _by_reach(_reach(segments[row], number, rule), q.shape[3], attend)

    (d_k, d_v), d_q = jax.lax.scan(step, (zeros(k.shape), zeros(v.shape)), _blocks(q))
    return _rows_of(d_q, q.shape[0]), d_k.astype(k.dtype), d_v.astype(v.dtype), None


_attend.defvjp(_forward, _backward)


def _blocks(q: Float[Array, "B K G T H"]) -> tuple[Int[Array, " blocks"], Int[Array, " blocks"]]:
    """The row and the number in its row of each block of queries."""
    each = q.shape[3] // BLOCK
    every = jnp.arange(q.shape[0] * each)
    return every // each, every % each


def _rows_of(
    blocks: Float[Array, "blocks K G t *width"], rows: int
) -> Float[Array, "B K G T *width"]:
    """Blocks of queries put together to rows."""
    x = jnp.moveaxis(blocks.reshape(rows, -1, *blocks.shape[1:]), 1, 3)
    return x.reshape(*x.shape[:3], -1, *x.shape[5:])


def _reach(
    segments: Int[Array, " T"], number: Int[Array, ""], rule: AttentionRule
) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """The first column that a query of the block sees, and the column after its last query."""
    column = jnp.arange(segments.shape[0])
    begins = jnp.concatenate([jnp.ones(1, bool), segments[1:] != segments[:-1]])
    first = jax.lax.cummax(jnp.where(begins, column, 0))
    if rule.window:
        first = jnp.maximum(first, column - rule.window + 1)
    first = jnp.where(segments > 0, first, column)  # What padding sees has no meaning.
    stop = (number + 1) * BLOCK
    return jax.lax.dynamic_slice_in_dim(first, stop - BLOCK, BLOCK).min(), stop


def _by_reach(
    reach: tuple[Int[Array, ""], Int[Array, ""]],
    tokens: int,
    attend: Callable[[Int[Array, ""], int], tuple],
) -> tuple:
    """Calls `attend` with the first column and the number of keys, the smallest that suffices."""
    first, stop = reach
    sizes = [BLOCK]
    while sizes[-1] < tokens:
        sizes.append(min(2 * sizes[-1], tokens))
    branches = [functools.partial(_from_stop, attend, size) for size in sizes]
    which = jnp.searchsorted(jnp.asarray(sizes), stop - first)
    return jax.lax.switch(which, branches, stop)


def _from_stop(
    attend: Callable[[Int[Array, ""], int], tuple], size: int, stop: Int[Array, ""]
) -> tuple:
    return attend(jnp.maximum(stop - size, 0), size)


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
    totals: tuple[Float[Array, "B K T H"], Float[Array, "B K T H"]],
    added: tuple[Float[Array, "K s H"], Float[Array, "K s H"]],
    row: Int[Array, ""],
    first: Int[Array, ""],
) -> tuple[Float[Array, "B K T H"], Float[Array, "B K T H"]]:
    """Gradients of keys and values with those of some columns of a row added in place."""

    def add(total: jax.Array, part: jax.Array) -> jax.Array:
        where = (row, 0, first, 0)
        before = jax.lax.dynamic_slice(total, where, (1, *part.shape))
        return jax.lax.dynamic_update_slice(total, before + part[None], where)

    return add(totals[0], added[0]), add(totals[1], added[1])
