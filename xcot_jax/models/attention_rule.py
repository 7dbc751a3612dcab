"""How attention scores are made: what differs between model families, whatever the kernel."""

from __future__ import annotations

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

SAVED = "attention"
"""Name of what kernels keep for their backward pass, for remat policies: where a policy does not
save it, they run a second time."""

_MASKED = -1e30
"""Added to forbidden scores: far below any score, and finite, so that a row that may see nothing
becomes an average rather than NaN."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionRule:
    """How scores are made of queries and keys, beside segments and causality.

    Attributes:
      scale: what products of queries and keys are multiplied by.
      softcap: scores become `softcap tanh(score / softcap)` (Gemma 2, arXiv 2408.00118); 0: not.
      window: a query sees this many tokens, itself included (Mistral, arXiv 2310.06825); 0: all.
      alibi: whether scores fall linearly with distance, by a slope of each head's own
        (Press et al., arXiv 2108.12409).
    """

    scale: float
    softcap: float = 0.0
    window: int = 0
    alibi: bool = False


def alibi_slopes(heads: int) -> np.ndarray:
    """Each head's slope, `[N]` in fp32: a geometric series, as of the largest power of two below.

    Further heads take every other slope of twice that power (arXiv 2108.12409, section 3).
    """
    power = 2 ** math.floor(math.log2(heads))
    slopes = [2.0 ** (-8.0 * (head + 1) / power) for head in range(power)]
    slopes += [2.0 ** (-4.0 * (2 * head + 1) / power) for head in range(heads - power)]
    return np.array(slopes, np.float32)


def mask_bias(visible: Bool[Array, "*any"]) -> Float[Array, "*any"]:
    """What is added to scores so that keys which are not visible get no weight."""
    return jnp.where(visible, 0.0, jnp.float32(_MASKED))
