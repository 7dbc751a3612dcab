"""The loss of one chunk of slots: softmax, cross-entropy, divergence, and their gradient.

The vocabulary may be at hand as a whole, a shard of it on each device, or one part after the other.
What is a sum over it is therefore returned as the sum over the columns at hand, and closed by those
who know the others.
"""

from __future__ import annotations

import dataclasses
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from xcot_jax.losses.plan import Objective
from xcot_jax.models.logits import LogitRule

Terms: TypeAlias = tuple[Float[Array, ""], Float[Array, "*n C"], Float[Array, "*n C-1"]]
"""Loss, and the entries of CE and KL."""

Exponents: TypeAlias = tuple[Float[Array, "*n C 1"], tuple[Float[Array, "*n C 1"], ...]]
"""The largest logit z, and the sum of exp((z - largest) / T) for each temperature T in use."""

Normaliser: TypeAlias = tuple[Float[Array, "*n C 1"], Float[Array, "*n C 1"]]
"""The largest of z / T, and the log of the sum of exponentials of what lies below it."""

Sums: TypeAlias = tuple[Float[Array, "*n C"], Float[Array, "*n C-1"]]
"""Log-probability of the targets, and KL(teacher || student), summed over columns."""


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which columns of the head are at hand.

    Attributes:
      first: the first of them.
      total: columns of the whole head.
    """

    first: int | Int[Array, ""]
    total: int

    def logits(
        self, rule: LogitRule, states: Float[Array, "n C D"], weights: Float[Array, "D V"]
    ) -> Float[Array, "n C V"]:
        """Logits of the columns, whose weights are given."""
        products = jnp.einsum("ncd,dv->ncv", states, weights, preferred_element_type=jnp.float32)
        return rule.apply(products, first_column=self.first, columns=self.total)

    def holds(self, targets: Int[Array, "n C"], width: int) -> Bool[Array, "n C V"]:
        """Where the targets stand among `width` columns at hand."""
        return (jnp.arange(width) + self.first)[None, None, :] == targets[..., None]


def distils(objective: Objective, slot_columns: int) -> bool:
    """Whether there is a divergence to compute between so many columns of a slot."""
    return objective.beta > 0 and slot_columns > 1


def temperatures(objective: Objective, slot_columns: int) -> tuple[float, ...]:
    """1, and that of the distillation where it is another."""
    warm = distils(objective, slot_columns) and objective.temperature != 1.0
    return (1.0, objective.temperature) if warm else (1.0,)


def softened(z: Float[Array, "*shape"], temperature: float) -> Float[Array, "*shape"]:
    """z / T, without an operation where T is 1."""
    return z if temperature == 1.0 else z / temperature


def exponents(
    z: Float[Array, "n C V"], top: Float[Array, "*n C 1"], temperatures: tuple[float, ...]
) -> tuple[Float[Array, "*n C 1"], ...]:
    """Sums of exp((z - top) / T) over the columns at hand, a temperature at a time."""
    return tuple(
        jnp.exp(softened(z, t) - softened(top, t)).sum(axis=-1, keepdims=True) for t in temperatures
    )


def merged(one: Exponents, other: Exponents, temperatures: tuple[float, ...]) -> Exponents:
    """Those of two sets of columns together."""
    top = jnp.maximum(one[0], other[0])

    def part(top_of: Float[Array, "*n C 1"], total: Float[Array, "*n C 1"], t: float) -> jax.Array:
        return total * jnp.exp(softened(top_of - top, t))

    totals = zip(one[1], other[1], temperatures, strict=True)
    return top, tuple(part(one[0], a, t) + part(other[0], b, t) for a, b, t in totals)


def normalisers(exponents: Exponents, temperatures: tuple[float, ...]) -> tuple[Normaliser, ...]:
    """Of exponents over all columns, a temperature at a time."""
    top, totals = exponents
    pairs = zip(totals, temperatures, strict=True)
    return tuple((softened(top, t), jnp.log(total)) for total, t in pairs)


def log_softmax(z: Float[Array, "n C V"], normaliser: Normaliser) -> Float[Array, "n C V"]:
    """Log-probabilities; each use computes them anew from the logits."""
    # Two subtractions of like numbers: smaller rounding than z - logsumexp(z). Behind the barrier
    # each use computes it anew from the logits, which is cheaper than to store and read it.
    top, log_sum = jax.lax.optimization_barrier(normaliser)
    return (z - top) - log_sum


def sums(
    z: Float[Array, "n C V"],
    is_target: Bool[Array, "n C V"],
    norms: tuple[Normaliser, ...],
    objective: Objective,
) -> Sums:
    """What the columns at hand add to the terms."""
    at_target = jnp.where(is_target, log_softmax(z, norms[0]), 0.0).sum(axis=-1)
    if not distils(objective, z.shape[1]):
        return at_target, jnp.zeros((z.shape[0], z.shape[1] - 1), jnp.float32)
    log_p = log_softmax(softened(z, objective.temperature), norms[-1])
    teacher, students = log_p[:, :1], log_p[:, 1:]
    # The last two sum to zero but for rounding: with them the normalisers' rounding cancels.
    divergence = jnp.exp(teacher) * (teacher - students) + jnp.exp(students) - jnp.exp(teacher)
    # One exp may differ from another in the last bit; identical views shall not.
    return at_target, jnp.where(teacher == students, 0.0, divergence).sum(axis=-1)


def terms(sums: Sums, ce_weight: Float[Array, "*n C"], kd_weight: Float[Array, "*n C-1"]) -> Terms:
    """Loss, CE and KL of sums over the whole vocabulary."""
    at_target, divergence = sums
    ce = jnp.where(ce_weight != 0, -at_target, 0.0)
    kl = jnp.where(kd_weight != 0, jnp.maximum(divergence, 0.0), 0.0)
    return (ce_weight * ce).sum() + (kd_weight * kl).sum(), ce, kl


def d_logits(
    z: Float[Array, "n C V"],
    is_target: Bool[Array, "n C V"],
    norms: tuple[Normaliser, ...],
    ce_weight: Float[Array, "n C"],
    kd_weight: Float[Array, "n C-1"],
    objective: Objective,
) -> Float[Array, "n C V"]:
    """The gradient of the loss in the logits of the columns at hand."""
    p = jnp.exp(log_softmax(z, norms[0]))
    gradient = ce_weight[..., None] * (p - is_target.astype(jnp.float32))
    if not distils(objective, z.shape[1]):
        return gradient
    if len(norms) > 1:
        p = jnp.exp(log_softmax(softened(z, objective.temperature), norms[1]))
    # Weights hold beta T^2; the inner derivative of z / T leaves beta T.
    scale = jnp.pad(kd_weight, ((0, 0), (1, 0))) / objective.temperature
    return gradient + scale[..., None] * (p - p[:, :1])
