"""The obvious form of the objective: all logits at once, autodiff, no chunks, no mesh."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def dense_loss(
    hidden,
    head,
    slots,
    *,
    beta,
    temperature,
    vocab_size=None,
    scale=1.0,
    softcap=0.0,
    logits_type=None,
):
    """The loss that `xcot_jax.losses.one_pass_loss` must equal.

    Logits are float64 for float64 inputs and else float32 sums, as a careful implementation has
    them; `logits_type=jnp.bfloat16` gives the common one, which rounds them first. The fields of
    `xcot_jax.models.logits.LogitRule` say what becomes of the products; padding is cut off.
    """
    accumulate = jnp.float64 if hidden.dtype == jnp.float64 else jnp.float32
    rows = jnp.arange(hidden.shape[0])[:, None, None]
    states = hidden[rows, slots.positions]
    logits = jnp.einsum(
        "bscd,dv->bscv",
        states,
        head[:, :vocab_size].astype(hidden.dtype),
        preferred_element_type=logits_type or accumulate,
    ).astype(accumulate)
    logits = scale * logits
    if softcap:
        logits = softcap * jnp.tanh(logits / softcap)
    log_p = jax.nn.log_softmax(logits)
    ce = -jnp.take_along_axis(log_p, slots.targets[..., None], axis=-1)[..., 0]
    ce_weight = slots.ce_weight.astype(accumulate)
    loss = (ce_weight * ce).sum() / jnp.maximum(ce_weight.sum(), 1e-6)
    if slots.kd_weight.shape[-1]:
        warm = jax.nn.log_softmax(logits / temperature)
        teacher = jax.lax.stop_gradient(warm[:, :, :1])
        kl = (jnp.exp(teacher) * (teacher - warm[:, :, 1:])).sum(-1)
        kd_weight = slots.kd_weight.astype(accumulate)
        loss += beta * temperature**2 * (kd_weight * kl).sum() / jnp.maximum(kd_weight.sum(), 1e-6)
    return loss
