"""The one-pass objective: instruction loss and cross-lingual distillation from one set of logits.

    L = sum(w_ce CE) / sum(w_ce)  +  beta T^2 sum(w_kd KL(p_teacher^T || p_student^T)) / sum(w_kd)

(xCoT, section 3, equations 4-6; the teacher is the model's own high-resource reading, held
constant). Logits exist only for loss slots and only a chunk at a time. A slot holds the teacher's
and the students' predictions of the same answer token side by side, so the teacher's logits are
those its own cross-entropy needs, and distillation adds no matrix product. The gradient has a
closed form,

    dL/dz = w_ce (p - onehot) + w_kd T (p_student^T - p_teacher^T),
    dL/dx = dL/dz dz/dx  for logits z made of the head's products x (`models.logits.LogitRule`),

and is taken in the forward scan: loss weights are normalised beforehand, so nothing of size
[tokens, vocabulary] is ever stored.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, Shaped

from xcot_jax import devices, sharding
from xcot_jax.models.logits import LogitRule
from xcot_jax.pytree import pytree

MEMORY_SHARE = 32
"""Logits of one chunk, in fp32, take at most one part in this many of a device's memory."""

SUM_BYTES = 2**28
"""Most of the head's gradient that is summed over devices at once."""

CHUNK_ROWS = {"cpu": 128}
"""Hidden states in a chunk, by platform, where memory allows them; elsewhere 2,048. Each chunk
reads the head and adds to its gradient once, which takes as long as the products of some hundred
states on accelerators; a larger chunk than needed wastes half of itself at the end of a batch."""


@pytree
class LossSlots:
    """Where in each row which token is predicted; column 0 is the teacher's.

    Attributes:
      positions: index in the row of the hidden state that predicts the target.
      targets: token ids.
      ce_weight: weight of the entry's cross-entropy; 0 for an empty entry.
      kd_weight: weight of the divergence between column 0 and columns 1 to C-1.
    """

    positions: Int[Array | np.ndarray, "B S C"]
    targets: Int[Array | np.ndarray, "B S C"]
    ce_weight: Float[Array | np.ndarray, "B S C"]
    kd_weight: Float[Array | np.ndarray, "B S C-1"]


@dataclasses.dataclass(frozen=True)
class Objective:
    """The constants of the loss; hashable, so that a step compiles once for each.

    Attributes:
      beta: weight of the distillation term; at 0 it is not computed at all.
      temperature: softmax temperature T of the distillation term.
      chunk_slots: slots a device evaluates at once; 0 picks a number by platform and memory.
    """

    beta: float = 0.0
    temperature: float = 1.0
    chunk_slots: int = 0


@pytree
class LossTerms:
    """The loss, and what each entry contributed to it before weighting, in nats.

    Attributes:
      loss: the objective; the only differentiable part.
      ce: cross-entropy; 0 where the weight is.
      kl: KL(teacher || student) at the objective's temperature; 0 where the weight is.
    """

    loss: Float[Array, ""]
    ce: Float[Array, "B S C"]
    kl: Float[Array, "B S C-1"]


def weight_totals(slots: LossSlots) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The divisors of the two terms: weight sums over all rows of all devices, at least 1e-6."""
    return jnp.maximum(slots.ce_weight.sum(), 1e-6), jnp.maximum(slots.kd_weight.sum(), 1e-6)


def one_pass_loss(
    hidden: Float[Array, "B T D"],
    head: Float[Array, "D V"],
    slots: LossSlots,
    objective: Objective,
    *,
    rule: LogitRule | None = None,
    frozen_head: bool = False,
    totals: tuple[Float[Array, ""], Float[Array, ""]] | None = None,
    mesh: Mesh | None = None,
) -> LossTerms:
    """Instruction and distillation loss of packed rows.

    Args:
      hidden: final hidden states in the compute type; logits are products in that type with fp32
        sums.
      head: output head in its master type; its gradient has that type and is summed in fp32.
      slots: what is predicted where.
      objective: beta, temperature and chunking.
      rule: what becomes of the head's products; None if they are the logits.
      frozen_head: whether the head is constant; its gradient is not computed then, and is zero.
      totals: divisors of the two terms; those of `slots` if None. Microbatches pass the whole
        batch's.
      mesh: rows are spread over its "data" and "fsdp" axes and the vocabulary over "tensor"; the
        head is gathered along "fsdp" once before the chunks and its gradient is reduced once after
        them.

    Returns:
      The terms; `loss` is differentiable in `hidden` and `head`.

    Raises:
      ValueError: if the head has fewer columns than the rule has words.
    """
    rule = rule or LogitRule(head.shape[1])
    if head.shape[1] < rule.vocab_size:
        raise ValueError(f"a head of {head.shape[1]} columns for {rule.vocab_size} words")
    ce_total, kd_total = totals if totals is not None else weight_totals(slots)
    scaled = dataclasses.replace(
        slots,
        ce_weight=slots.ce_weight / ce_total,
        kd_weight=slots.kd_weight * (objective.beta * objective.temperature**2) / kd_total,
    )
    device = mesh.devices.flat[0] if mesh is not None else jax.devices()[0]
    if mesh is not None and mesh.size == 1:
        mesh = None
    plan = _Plan(objective, rule, frozen_head, mesh, device)
    loss, ce, kl = _loss(plan, hidden, head, scaled)
    return LossTerms(loss, jax.lax.stop_gradient(ce), jax.lax.stop_gradient(kl))


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What a program is compiled for."""

    objective: Objective
    rule: LogitRule
    frozen_head: bool
    mesh: Mesh | None
    device: Any  # One of them, or what a topology tells of it.

    def chunk_slots(self, columns: int, vocabulary: int) -> int:
        """Slots evaluated at once against a shard of the vocabulary."""
        if self.objective.chunk_slots:
            return self.objective.chunk_slots
        rows = CHUNK_ROWS.get(self.device.platform, 2_048)
        if kind := devices.kind_of(self.device):
            rows = min(rows, kind.memory // (MEMORY_SHARE * 4 * vocabulary))
        return max(rows // columns, 8)


_Terms: TypeAlias = tuple[Float[Array, ""], Float[Array, "B S C"], Float[Array, "B S C-1"]]
"""The loss, and the entries of CE and KL."""

_Gradients: TypeAlias = tuple[Float[Array, "B T D"], Float[Array, "D V"] | None]
"""The gradients of the loss in hidden states and in the head, unless it is frozen."""

_Normaliser: TypeAlias = tuple[Float[Array, "n C 1"], Float[Array, "n C 1"]]
"""The largest logit, and the log of the sum of exponentials of what lies below it."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loss(
    plan: _Plan,
    hidden: Float[Array, "B T D"],
    head: Float[Array, "D V"],
    slots: LossSlots,
) -> _Terms:
    terms, _ = _evaluate(plan, hidden, head, slots, with_gradient=False)
    return terms


def _loss_forward(
    plan: _Plan,
    hidden: Float[Array, "B T D"],
    head: Float[Array, "D V"],
    slots: LossSlots,
) -> tuple[_Terms, _Gradients | None]:
    return _evaluate(plan, hidden, head, slots, with_gradient=True)


def _loss_backward(
    plan: _Plan, gradients: _Gradients, cotangents: _Terms
) -> tuple[Float[Array, "B T D"], Float[Array, "D V"] | None, None]:
    scale = cotangents[0]
    d_hidden, d_head = jax.tree.map(lambda x: x * scale.astype(x.dtype), gradients)
    return d_hidden, d_head, None


_loss.defvjp(_loss_forward, _loss_backward)


def _evaluate(
    plan: _Plan,
    hidden: Float[Array, "B T D"],
    head: Float[Array, "D V"],
    slots: LossSlots,
    *,
    with_gradient: bool,
) -> tuple[_Terms, _Gradients | None]:
    """Loss, CE and KL entries and, if asked for, the gradients; over the mesh if there is one."""
    mesh = plan.mesh
    if mesh is None:
        return _local(plan, hidden, head, slots, with_gradient=with_gradient)
    head_spec = sharding.partition_spec(mesh, ("embed", "vocab"), head.shape)
    # No collective over a single shard: chunks are skipped on some devices and not on others.
    embed_axis, vocab_axis = (a if a and mesh.shape[a] > 1 else None for a in head_spec)
    rows = PartitionSpec(sharding.BATCH_AXES)
    gradients = (rows, None if plan.frozen_head else head_spec) if with_gradient else None
    return jax.shard_map(
        functools.partial(
            _local,
            plan,
            with_gradient=with_gradient,
            row_axes=tuple(axis for axis in sharding.BATCH_AXES if mesh.shape[axis] > 1),
            embed_axis=embed_axis,
            vocab_axis=vocab_axis,
        ),
        mesh=mesh,
        in_specs=(rows, head_spec, rows),
        out_specs=((PartitionSpec(), rows, rows), gradients),
        check_vma=False,
    )(hidden, head, slots)


def _local(
    plan: _Plan,
    hidden: Float[Array, "B T D"],
    head: Float[Array, "D_shard V_shard"],
    slots: LossSlots,
    *,
    with_gradient: bool,
    row_axes: tuple[str, ...] = (),
    embed_axis: str | None = None,
    vocab_axis: str | None = None,
) -> tuple[_Terms, tuple[Float[Array, "B T D"], Float[Array, "D_shard V_shard"] | None] | None]:
    """One device's rows against its shard of the vocabulary."""
    rows, slot_count, columns = slots.positions.shape
    width = hidden.shape[-1]
    train_head = with_gradient and not plan.frozen_head
    weights = head.astype(hidden.dtype)
    if embed_axis:
        weights = jax.lax.all_gather(weights, embed_axis, axis=0, tiled=True)

    # Slots are ordered slot-major over the rows, so that what rows leave empty fills whole chunks
    # at the end, which are skipped.
    total = rows * slot_count
    chunks = -(-total // plan.chunk_slots(columns, weights.shape[1]))
    chunk = -(-total // chunks)  # Equal chunks, so that none is filled up.

    def in_chunks(
        x: Shaped[Array | np.ndarray, "B S *entry"],
    ) -> Shaped[Array, "chunks n *entry"]:
        flat = x.swapaxes(0, 1).reshape(total, *x.shape[2:])
        flat = jnp.pad(flat, [(0, chunks * chunk - total)] + [(0, 0)] * (flat.ndim - 1))
        return flat.reshape(chunks, chunk, *x.shape[2:])

    def from_chunks(x: Shaped[Array, "chunks n *entry"]) -> Shaped[Array, "B S *entry"]:
        flat = x.reshape(chunks * chunk, *x.shape[2:])[:total]
        return flat.reshape(slot_count, rows, *x.shape[2:]).swapaxes(0, 1)

    row_index = jnp.arange(rows)[:, None, None]
    states = in_chunks(hidden[row_index, slots.positions])
    targets, ce_weight = in_chunks(slots.targets), in_chunks(slots.ce_weight)
    inputs = (states, targets, ce_weight, in_chunks(slots.kd_weight))
    evaluate = functools.partial(
        _chunk, plan, weights, vocab_axis=vocab_axis, with_gradient=with_gradient
    )

    def step(
        carry: tuple[Float[Array, ""], Float[Array, "*weights"]],
        x: tuple[
            Float[Array, "n C D"], Int[Array, "n C"], Float[Array, "n C"], Float[Array, "n C-1"]
        ],
    ) -> tuple[tuple[Float[Array, ""], Float[Array, "*weights"]], tuple[Array, ...]]:
        loss, d_weights = carry
        states, targets, ce_weight, kd_weight = x

        def skip() -> tuple[Array, ...]:
            zeros = jnp.zeros(targets.shape, jnp.float32)
            empty = (jnp.zeros((), jnp.float32), zeros, zeros[:, 1:])
            return (*empty, jnp.zeros_like(states), d_weights) if with_gradient else empty

        def run() -> tuple[Array, ...]:
            terms, d_products = evaluate(states, targets, ce_weight, kd_weight)
            if d_products is None:
                return terms
            # One flat array for both products: of another shape XLA on CPU would make it twice.
            d_flat = d_products.reshape(-1, d_products.shape[-1])
            d_states = jnp.einsum("rv,dv->rd", d_flat, weights, preferred_element_type=jnp.float32)
            d_states = d_states.astype(states.dtype).reshape(states.shape)
            if not train_head:
                return (*terms, d_states, d_weights)
            d_weights_here = jnp.einsum(
                "rd,rv->dv", states.reshape(-1, width), d_flat, preferred_element_type=jnp.float32
            )
            return (*terms, d_states, d_weights + d_weights_here)

        used = jnp.any(ce_weight != 0) | jnp.any(kd_weight != 0)
        loss_here, ce, kl, *gradients = jax.lax.cond(used, run, skip)
        if not with_gradient:
            return (loss + loss_here, d_weights), (ce, kl)
        d_states, d_weights = gradients
        return (loss + loss_here, d_weights), (ce, kl, d_states)

    d_weights = jnp.zeros(weights.shape if train_head else (), jnp.float32)
    (loss, d_weights), (ce, kl, *d_states) = jax.lax.scan(
        step, (jnp.zeros((), jnp.float32), d_weights), inputs
    )
    if row_axes:
        loss = jax.lax.psum(loss, row_axes)
    ce, kl = from_chunks(ce), from_chunks(kl)
    if not with_gradient:
        return (loss, ce, kl), None

    at_slots = from_chunks(d_states[0]).astype(jnp.float32)
    if vocab_axis:
        at_slots = jax.lax.psum(at_slots, vocab_axis)
    d_hidden = jnp.zeros((*hidden.shape[:2], width), jnp.float32)
    d_hidden = d_hidden.at[row_index, slots.positions].add(at_slots).astype(hidden.dtype)
    if not train_head:
        return (loss, ce, kl), (d_hidden, None)
    if embed_axis:
        d_weights = _scattered_sum(d_weights, embed_axis)
    if others := tuple(axis for axis in row_axes if axis != embed_axis):
        d_weights = jax.lax.psum(d_weights, others)
    return (loss, ce, kl), (d_hidden, d_weights.astype(head.dtype))


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


def _chunk(
    plan: _Plan,
    weights: Float[Array, "D V"],
    states: Float[Array, "n C D"],
    targets: Int[Array, "n C"],
    ce_weight: Float[Array, "n C"],
    kd_weight: Float[Array, "n C-1"],
    *,
    vocab_axis: str | None,
    with_gradient: bool,
) -> tuple[
    tuple[Float[Array, ""], Float[Array, "n C"], Float[Array, "n C-1"]],
    Float[Array, "n C V"] | None,
]:
    """Loss, CE, KL and d loss / d products (in the compute type) of one chunk of slots."""
    objective, rule = plan.objective, plan.rule
    width = weights.shape[1]
    first = jax.lax.axis_index(vocab_axis) * width if vocab_axis else 0
    columns = jax.lax.axis_size(vocab_axis) * width if vocab_axis else width

    def over_vocabulary(x: Float[Array, "*any"]) -> Float[Array, "*any"]:
        return jax.lax.psum(x, vocab_axis) if vocab_axis else x

    def normaliser(z: Float[Array, "n C V"]) -> _Normaliser:
        top = z.max(axis=-1, keepdims=True)
        top = jax.lax.pmax(top, vocab_axis) if vocab_axis else top
        return top, jnp.log(over_vocabulary(jnp.exp(z - top).sum(axis=-1, keepdims=True)))

    def log_softmax(z: Float[Array, "n C V"], normaliser: _Normaliser) -> Float[Array, "n C V"]:
        # Two subtractions of like numbers: smaller rounding than z - logsumexp(z). Behind the
        # barrier each use computes it anew from the logits, which is cheaper than to store and
        # read it.
        top, log_sum = jax.lax.optimization_barrier(normaliser)
        return (z - top) - log_sum

    products = jnp.einsum("ncd,dv->ncv", states, weights, preferred_element_type=jnp.float32)
    logits = rule.apply(products, first_column=first, columns=columns)
    is_target = (jnp.arange(width) + first)[None, None, :] == targets[..., None]
    norm = normaliser(logits)
    at_target = jnp.where(is_target, log_softmax(logits, norm), 0.0).sum(axis=-1)
    ce = jnp.where(ce_weight != 0, -over_vocabulary(at_target), 0.0)
    loss = (ce_weight * ce).sum()
    kl = jnp.zeros(kd_weight.shape, jnp.float32)
    distil = objective.beta > 0 and kd_weight.shape[1] > 0
    if distil:
        warm = logits / objective.temperature if objective.temperature != 1.0 else logits
        warm_norm = norm if objective.temperature == 1.0 else normaliser(warm)
        log_p = log_softmax(warm, warm_norm)
        teacher, students = log_p[:, :1], log_p[:, 1:]
        # The last two sum to zero but for rounding: with them the normalisers' rounding cancels.
        divergence = jnp.exp(teacher) * (teacher - students) + jnp.exp(students) - jnp.exp(teacher)
        # One exp may differ from another in the last bit; identical views shall not.
        divergence = jnp.where(teacher == students, 0.0, divergence).sum(axis=-1)
        divergence = jnp.maximum(over_vocabulary(divergence), 0.0)
        kl = jnp.where(kd_weight != 0, divergence, 0.0)
        loss += (kd_weight * kl).sum()

    d_products = None
    if with_gradient:
        p = jnp.exp(log_softmax(logits, norm))
        d_logits = ce_weight[..., None] * (p - is_target.astype(jnp.float32))
        if distil:
            p = p if objective.temperature == 1.0 else jnp.exp(log_softmax(warm, warm_norm))
            # Weights hold beta T^2; the inner derivative of z / T leaves beta T.
            scale = jnp.pad(kd_weight, ((0, 0), (1, 0))) / objective.temperature
            d_logits += scale[..., None] * (p - p[:, :1])
        d_products = rule.d_products(d_logits, logits).astype(states.dtype)
    return (loss, ce, kl), d_products
