"""A device's rows against its shard of the head, a chunk of slots at a time.

Where the gathered head and its gradient would take much of a device's memory, the head is gathered
a part of the vocabulary at a time, twice: first for the normalisers of all slots, then for loss and
gradients. Logits are then computed twice, a fourth product of the head's size beside three.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from xcot_jax.losses import softmax
from xcot_jax.losses.plan import LossSlots, Plan
from xcot_jax.losses.softmax import Columns
from xcot_jax.models.logits import PADDING
from xcot_jax.pytree import pytree

T = TypeVar("T")

SUM_BYTES = 2**28
"""Most of the head's gradient that is summed over devices at once."""

Terms: TypeAlias = tuple[Float[Array, ""], Float[Array, "B S C"], Float[Array, "B S C-1"]]
"""The loss, and the entries of CE and KL."""

Gradients: TypeAlias = tuple[Float[Array, "B T D"], Float[Array, "D_shard V_shard"] | None]
"""The gradients of the loss in hidden states and in the head, unless it is frozen."""

_DStates: TypeAlias = Float[Array, "*n C D"] | None
_DHead: TypeAlias = Float[Array, "D_shard V"] | None
_DWeights: TypeAlias = Float[Array, "D V"] | None

_Found: TypeAlias = tuple[
    Float[Array, ""],
    Float[Array, "chunks n C"],
    Float[Array, "chunks n C-1"],
    _DStates,
    _DHead,
]
"""Loss, CE, KL, and the gradients in states and head; the head's is summed over `embed` only."""


@dataclasses.dataclass(frozen=True)
class Axes:
    """Mesh axes of more than one device, if any.

    Attributes:
      rows: those that rows are spread over.
      embed: the one that the head's width is spread over.
      vocab: the one that the vocabulary is spread over.
    """

    rows: tuple[str, ...] = ()
    embed: str | None = None
    vocab: str | None = None

    def over_vocabulary(self, x: T) -> T:
        """Arrays summed over the vocabulary's shards."""
        return jax.lax.psum(x, self.vocab) if self.vocab else x

    def columns(self, width: int) -> Columns:
        """The device's shard of the vocabulary, of so many columns."""
        if not self.vocab:
            return Columns(0, width)
        return Columns(
            jax.lax.axis_index(self.vocab) * width, jax.lax.axis_size(self.vocab) * width
        )

    def gathered(self, head: Float[Array, "D_shard V"]) -> Float[Array, "D V"]:
        """The columns' whole weights."""
        if not self.embed:
            return head
        return jax.lax.all_gather(head, self.embed, axis=0, tiled=True)

    def scattered_sum(self, d_weights: Float[Array, "D V"]) -> Float[Array, "D_shard V"]:
        """The gradients' sum over `embed`, of which each device gets its part of D."""
        return _scattered_sum(d_weights, self.embed) if self.embed else d_weights


@pytree
class _Chunked:
    """Slots in chunks, with their hidden states."""

    states: Float[Array, "*n C D"]
    targets: Int[Array, "*n C"]
    ce_weight: Float[Array, "*n C"]
    kd_weight: Float[Array, "*n C-1"]

    def used(self) -> Bool[Array, ""]:
        """Whether anything of the chunk counts."""
        return jnp.any(self.ce_weight != 0) | jnp.any(self.kd_weight != 0)


def local_loss(
    plan: Plan,
    hidden: Float[Array, "B T D"],
    head: Float[Array, "D_shard V_shard"],
    slots: LossSlots,
    *,
    with_gradient: bool,
    axes: Axes,
) -> tuple[Terms, Gradients | None]:
    """One device's rows against its shard of the vocabulary.

    Args:
      plan: what to compute, and in what pieces.
      hidden: final hidden states of the device's rows.
      head: the device's shard of the head, in its master type.
      slots: of the device's rows; weights are divided by their totals already.
      with_gradient: whether gradients are wanted.
      axes: the mesh's axes, inside a `shard_map` over it.
    """
    rows, slot_count, slot_columns = slots.positions.shape
    width, vocabulary = hidden.shape[-1], head.shape[1]
    train_head = with_gradient and not plan.frozen_head
    parts = 1
    if axes.embed:
        per_weight = hidden.dtype.itemsize + (4 if train_head else 0)
        parts = plan.head_parts(width, vocabulary, per_weight)

    # Slots are ordered slot-major over the rows, so that what rows leave empty fills whole chunks
    # at the end, which are skipped.
    total = rows * slot_count
    count = -(-total // plan.chunk_slots(slot_columns, vocabulary // parts))
    size = -(-total // count)  # Equal chunks, so that none is filled up.

    def in_chunks(
        x: Shaped[Array | np.ndarray, "B S *entry"],
    ) -> Shaped[Array, "chunks n *entry"]:
        flat = x.swapaxes(0, 1).reshape(total, *x.shape[2:])
        flat = jnp.pad(flat, [(0, count * size - total)] + [(0, 0)] * (flat.ndim - 1))
        return flat.reshape(count, size, *x.shape[2:])

    def from_chunks(x: Shaped[Array, "chunks n *entry"]) -> Shaped[Array, "B S *entry"]:
        flat = x.reshape(count * size, *x.shape[2:])[:total]
        return flat.reshape(slot_count, rows, *x.shape[2:]).swapaxes(0, 1)

    row_index = jnp.arange(rows)[:, None, None]
    chunked = _Chunked(
        in_chunks(hidden[row_index, slots.positions]),
        in_chunks(slots.targets),
        in_chunks(slots.ce_weight),
        in_chunks(slots.kd_weight),
    )
    evaluate = _whole_head if parts == 1 else functools.partial(_head_in_parts, parts)
    weights = head.astype(hidden.dtype)
    loss, ce, kl, d_states, d_head = evaluate(
        plan, axes, weights, chunked, with_gradient=with_gradient
    )
    if axes.rows:
        loss = jax.lax.psum(loss, axes.rows)
    found = loss, from_chunks(ce), from_chunks(kl)
    if d_states is None:
        return found, None

    at_slots = axes.over_vocabulary(from_chunks(d_states).astype(jnp.float32))
    d_hidden = jnp.zeros((*hidden.shape[:2], width), jnp.float32)
    d_hidden = d_hidden.at[row_index, slots.positions].add(at_slots).astype(hidden.dtype)
    if d_head is None:
        return found, (d_hidden, None)
    if others := tuple(axis for axis in axes.rows if axis != axes.embed):
        d_head = jax.lax.psum(d_head, others)
    return found, (d_hidden, d_head.astype(head.dtype))


def _whole_head(
    plan: Plan,
    axes: Axes,
    head: Float[Array, "D_shard V"],
    chunked: _Chunked,
    *,
    with_gradient: bool,
) -> _Found:
    """The head gathered at once: each chunk's logits are made once."""
    temperatures = softmax.temperatures(plan.objective, chunked.targets.shape[-1])
    weights, columns = axes.gathered(head), axes.columns(head.shape[1])

    def run(chunk: _Chunked, d_weights: _DWeights) -> tuple[softmax.Terms, _DStates, _DWeights]:
        logits = columns.logits(plan.rule, chunk.states, weights)
        is_target = columns.holds(chunk.targets, logits.shape[-1])
        top = logits.max(axis=-1, keepdims=True)
        top = jax.lax.pmax(top, axes.vocab) if axes.vocab else top
        totals = axes.over_vocabulary(softmax.exponents(logits, top, temperatures))
        norms = softmax.normalisers((top, totals), temperatures)
        sums = axes.over_vocabulary(softmax.sums(logits, is_target, norms, plan.objective))
        terms = softmax.terms(sums, chunk.ce_weight, chunk.kd_weight)
        if not with_gradient:
            return terms, None, None
        d_states, d_weights = _gradients(plan, chunk, weights, logits, is_target, norms, d_weights)
        return terms, d_states.astype(weights.dtype), d_weights

    def step(
        carry: tuple[Float[Array, ""], _DWeights], chunk: _Chunked
    ) -> tuple[tuple[Float[Array, ""], _DWeights], tuple[Array, Array, _DStates]]:
        loss, d_weights = carry

        def skip() -> tuple[softmax.Terms, _DStates, _DWeights]:
            zeros = jnp.zeros(chunk.targets.shape, jnp.float32)
            d_states = jnp.zeros_like(chunk.states) if with_gradient else None
            return (jnp.zeros((), jnp.float32), zeros, zeros[:, 1:]), d_states, d_weights

        (loss_here, ce, kl), d_states, d_weights = jax.lax.cond(
            chunk.used(), lambda: run(chunk, d_weights), skip
        )
        return (loss + loss_here, d_weights), (ce, kl, d_states)

    train_head = with_gradient and not plan.frozen_head
    d_weights = jnp.zeros(weights.shape, jnp.float32) if train_head else None
    (loss, d_weights), (ce, kl, d_states) = jax.lax.scan(
        step, (jnp.zeros((), jnp.float32), d_weights), chunked
    )
    d_head = None if d_weights is None else axes.scattered_sum(d_weights)
    return loss, ce, kl, d_states, d_head


def _head_in_parts(
    parts: int,
    plan: Plan,
    axes: Axes,
    head: Float[Array, "D_shard V"],
    chunked: _Chunked,
    *,
    with_gradient: bool,
) -> _Found:
    """The head gathered a part of the vocabulary at a time: each chunk's logits are made twice."""
    temperatures = softmax.temperatures(plan.objective, chunked.targets.shape[-1])
    width, shard = head.shape[1] // parts, axes.columns(head.shape[1])

    def gathered(part: Int[Array, ""]) -> tuple[Float[Array, "D V_part"], Columns]:
        weights = jax.lax.dynamic_slice_in_dim(head, part * width, width, axis=1)
        return axes.gathered(weights), Columns(shard.first + part * width, shard.total)

    def add_exponents(part: Int[Array, ""], known: softmax.Exponents) -> softmax.Exponents:
        weights, columns = gathered(part)

        def step(_: None, x: tuple[_Chunked, softmax.Exponents]) -> tuple[None, softmax.Exponents]:
            chunk, known = x

            def run() -> softmax.Exponents:
                logits = columns.logits(plan.rule, chunk.states, weights)
                top = logits.max(axis=-1, keepdims=True)
                here = top, softmax.exponents(logits, top, temperatures)
                return softmax.merged(known, here, temperatures)

            return None, jax.lax.cond(chunk.used(), run, lambda: known)

        return jax.lax.scan(step, None, (chunked, known))[1]

    entries = (*chunked.targets.shape, 1)
    nothing = jnp.full(entries, PADDING), tuple(jnp.zeros(entries) for _ in temperatures)
    exponents = jax.lax.fori_loop(0, parts, add_exponents, nothing)
    if axes.vocab:
        top = jax.lax.pmax(exponents[0], axes.vocab)
        _, totals = softmax.merged(exponents, (top, nothing[1]), temperatures)
        exponents = top, axes.over_vocabulary(totals)
    norms = softmax.normalisers(exponents, temperatures)

    def add_terms(
        part: Int[Array, ""], known: tuple[softmax.Sums, _DStates, _DHead]
    ) -> tuple[softmax.Sums, _DStates, _DHead]:
        sums, d_states, d_head = known
        weights, columns = gathered(part)

        def step(d_weights: _DWeights, x: tuple[Any, ...]) -> tuple[_DWeights, tuple[Any, ...]]:
            chunk, norms, sums, d_states = x

            def run() -> tuple[softmax.Sums, _DStates, _DWeights]:
                logits = columns.logits(plan.rule, chunk.states, weights)
                is_target = columns.holds(chunk.targets, logits.shape[-1])
                here = softmax.sums(logits, is_target, norms, plan.objective)
                added = jax.tree.map(jnp.add, sums, here)
                if d_states is None:
                    return added, None, None
                d_here, d_total = _gradients(
                    plan, chunk, weights, logits, is_target, norms, d_weights
                )
                return added, d_states + d_here, d_total

            sums, d_states, d_weights = jax.lax.cond(
                chunk.used(), run, lambda: (sums, d_states, d_weights)
            )
            return d_weights, (sums, d_states)

        d_weights = None if d_head is None else jnp.zeros(weights.shape, jnp.float32)
        d_weights, (sums, d_states) = jax.lax.scan(
            step, d_weights, (chunked, norms, sums, d_states)
        )
        if d_head is not None and d_weights is not None:
            d_head = jax.lax.dynamic_update_slice_in_dim(
                d_head, axes.scattered_sum(d_weights), part * width, axis=1
            )
        return sums, d_states, d_head

    zeros = jnp.zeros(chunked.targets.shape, jnp.float32)
    d_states = jnp.zeros(chunked.states.shape, jnp.float32) if with_gradient else None
    train_head = with_gradient and not plan.frozen_head
    d_head = jnp.zeros(head.shape, jnp.float32) if train_head else None
    sums, d_states, d_head = jax.lax.fori_loop(
        0, parts, add_terms, ((zeros, zeros[..., 1:]), d_states, d_head)
    )
    terms = softmax.terms(axes.over_vocabulary(sums), chunked.ce_weight, chunked.kd_weight)
    return *terms, None if d_states is None else d_states.astype(head.dtype), d_head


def _gradients(
    plan: Plan,
    chunk: _Chunked,
    weights: Float[Array, "D V"],
    logits: Float[Array, "n C V"],
    is_target: Bool[Array, "n C V"],
    norms: tuple[softmax.Normaliser, ...],
    d_weights: _DWeights,
) -> tuple[Float[Array, "n C D"], _DWeights]:
    """The gradient in a chunk's states, and what is known of that in the weights plus its share."""
    d_logits = softmax.d_logits(
        logits, is_target, norms, chunk.ce_weight, chunk.kd_weight, plan.objective
    )
    d_products = plan.rule.d_products(d_logits, logits).astype(weights.dtype)
    # One flat array for both products: of another shape XLA on CPU would make it twice.
    d_flat = d_products.reshape(-1, d_products.shape[-1])
    d_states = jnp.einsum("rv,dv->rd", d_flat, weights, preferred_element_type=jnp.float32)
    d_states = d_states.reshape(chunk.states.shape)
    if d_weights is None:
        return d_states, None
    states = chunk.states.reshape(d_states.shape[0] * d_states.shape[1], -1)
    d_here = jnp.einsum("rd,rv->dv", states, d_flat, preferred_element_type=jnp.float32)
    return d_states, d_weights + d_here


def _scattered_sum(x: Float[Array, "D V"], axis: str) -> Float[Array, "D_shard V"]:
    """The sum over a mesh axis, of which each device gets its part of D.

    A large array is summed a part of V at a time: for some topologies the TPU compiler makes the
    whole sum on every device before it scatters it, which takes a second array of that size.
    """
    scatter = functools.partial(
        jax.lax.psum_scatter, axis_name=axis, scatter_dimension=0, tiled=True
    )
    parts = 1
    while x.nbytes // parts > SUM_BYTES and x.shape[1] % (2 * parts) == 0:
        parts *= 2
    if parts == 1:
        return scatter(x)
    width = x.shape[1] // parts
    shape = (x.shape[0] // jax.lax.axis_size(axis), x.shape[1])

    def add_part(part: Int[Array, ""], done: Float[Array, "D_shard V"]) -> jax.Array:
        columns = jax.lax.dynamic_slice_in_dim(x, part * width, width, axis=1)
        return jax.lax.dynamic_update_slice_in_dim(done, scatter(columns), part * width, axis=1)

    return jax.lax.fori_loop(0, parts, add_part, jnp.zeros(shape, x.dtype))
