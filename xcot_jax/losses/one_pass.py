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

import jax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float

from xcot_jax import sharding
from xcot_jax.losses.plan import LossSlots, Objective, Plan, weight_totals
from xcot_jax.losses.scan import Axes, Gradients, Terms, local_loss
from xcot_jax.models.logits import LogitRule
from xcot_jax.pytree import pytree


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
    plan = Plan(objective, rule, frozen_head, mesh, device)
    loss, ce, kl = _loss(plan, hidden, head, scaled)
    return LossTerms(loss, jax.lax.stop_gradient(ce), jax.lax.stop_gradient(kl))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loss(
    plan: Plan,
    hidden: Float[Array, "B T D"],
    head: Float[Array, "D V"],
    slots: LossSlots,
) -> Terms:
    terms, _ = _evaluate(plan, hidden, head, slots, with_gradient=False)
    return terms


def _loss_forward(
    plan: Plan,
    hidden: Float[Array, "B T D"],
    head: Float[Array, "D V"],
    slots: LossSlots,
) -> tuple[Terms, Gradients | None]:
    return _evaluate(plan, hidden, head, slots, with_gradient=True)


def _loss_backward(
    plan: Plan, gradients: Gradients, cotangents: Terms
) -> tuple[Float[Array, "B T D"], Float[Array, "D V"] | None, None]:
    scale = cotangents[0]
    d_hidden, d_head = jax.tree.map(lambda x: x * scale.astype(x.dtype), gradients)
    return d_hidden, d_head, None


_loss.defvjp(_loss_forward, _loss_backward)


def _evaluate(
    plan: Plan,
    hidden: Float[Array, "B T D"],
    head: Float[Array, "D V"],
    slots: LossSlots,
    *,
    with_gradient: bool,
) -> tuple[Terms, Gradients | None]:
    """Loss, CE and KL entries and, if asked for, the gradients; over the mesh if there is one."""
    mesh = plan.mesh
    if mesh is None:
        return local_loss(plan, hidden, head, slots, with_gradient=with_gradient, axes=Axes())
    head_spec = sharding.partition_spec(mesh, ("embed", "vocab"), head.shape)
    # No collective over a single shard: chunks are skipped on some devices and not on others.
    embed_axis, vocab_axis = (a if a and mesh.shape[a] > 1 else None for a in head_spec)
    rows = PartitionSpec(sharding.BATCH_AXES)
    gradients = (rows, None if plan.frozen_head else head_spec) if with_gradient else None
    return jax.shard_map(
        functools.partial(
            local_loss,
            plan,
            with_gradient=with_gradient,
            axes=Axes(
                rows=tuple(axis for axis in sharding.BATCH_AXES if mesh.shape[axis] > 1),
                embed=embed_axis,
                vocab=vocab_axis,
            ),
        ),
        mesh=mesh,
        in_specs=(rows, head_spec, rows),
        out_specs=((PartitionSpec(), rows, rows), gradients),
        check_vma=False,
    )(hidden, head, slots)
