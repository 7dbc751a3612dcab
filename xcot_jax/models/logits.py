"""What a model family does to the output head's products before the softmax."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

PADDING = -1e30  # Logit of a column that is no word; finite, so that differences stay finite.


@dataclasses.dataclass(frozen=True)
class LogitRule:
    """From the products x = h W of hidden states and head to logits z, in fp32:

        y = scale x
        z = softcap tanh(y / softcap)  with a softcap (Gemma 2, arXiv 2408.00118, section 2), else y

    The head may have more columns than there are words, so that it divides over the mesh. These
    stand last, their logits are `PADDING`, and neither probability nor gradient reaches them.

    Attributes:
      vocab_size: words; columns from here on are padding.
      scale: factor of the products.
      softcap: bound of the logits; 0 for none.
    """

    vocab_size: int
    scale: float = 1.0
    softcap: float = 0.0

    def apply(
        self,
        products: Float[Array, "*rows V"],
        *,
        first_column: int | Int[Array, ""] = 0,
        columns: int | None = None,
    ) -> Float[Array, "*rows V"]:
        """Logits of products with the head or with a shard of it; `products` if nothing is to do.

        Args:
          products: hidden states times head; fp32 sums.
          first_column: the shard's first column in the head.
          columns: columns of the whole head; those of `products` if None.
        """
        logits = products.astype(jnp.float32)
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.softcap:
            logits = self.softcap * jnp.tanh(logits / self.softcap)
        if (columns or products.shape[-1]) > self.vocab_size:
            column = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
            logits = jnp.where(column + first_column < self.vocab_size, logits, PADDING)
        return logits

    def d_products(
        self, d_logits: Float[Array, "*rows V"], logits: Float[Array, "*rows V"]
    ) -> Float[Array, "*rows V"]:
        """The chain rule: d loss / d products = d loss / d logits * d logits / d products.

        Args:
          d_logits: gradient of a loss in the logits, which is 0 on padding, as it is for every
            function of their softmax.
          logits: what `apply` returned; the slope is a function of them.
        """
        if self.softcap:
            # Padding lies far below -softcap, and its square would overflow.
            level = jnp.maximum(logits / self.softcap, -1.0)
            return d_logits * (self.scale * (1.0 - level) * (1.0 + level))
        return d_logits if self.scale == 1.0 else d_logits * self.scale
