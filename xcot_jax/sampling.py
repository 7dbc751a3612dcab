"""The next token of each row: the most likely one, or one drawn with the row's own randomness."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from xcot_jax.pytree import pytree

_BITS_OF_ONE = 0x3F800000
"""1.0 in fp32, read as an integer; the bits of numbers from 0 to 1 are in their order."""


@pytree
class Sampling:
    """How each row's tokens are chosen.

    Attributes:
      temperature: logits are divided by it; 0: the most likely token each time.
      top_p: tokens are drawn from the fewest that hold this share of the probability (Holtzman et
        al., arXiv 1904.09751); tokens as likely as the last of them are among them.
      seed: of the row's draws.
    """

    temperature: Float[Array, " B"]
    top_p: Float[Array, " B"]
    seed: UInt32[Array, " B"]


def choose(
    logits: Float[Array, "B V"], sampling: Sampling, number: Int[Array, " B"]
) -> Int[Array, " B"]:
    """One token a row, which depends on nothing but that row's arguments.

    Args:
      logits: in fp32.
      sampling: of each row.
      number: how many tokens the row had drawn before; with its seed it makes the randomness.
    """
    drawn = sampling.temperature > 0

    def draw(logits: Float[Array, "B V"]) -> Int[Array, " B"]:
        scaled = logits / jnp.where(drawn, sampling.temperature, 1.0)[:, None]
        partial = jnp.any(drawn & (sampling.top_p < 1))
        scaled = jax.lax.cond(partial, _nucleus, lambda scaled, _: scaled, scaled, sampling.top_p)
        # The largest of logits with Gumbel noise is a draw from their softmax.
        noise = jax.vmap(_noise, in_axes=(0, 0, None))(sampling.seed, number, logits.shape[1])
        return _largest(scaled + jnp.where(drawn[:, None], noise, 0.0))

    return jax.lax.cond(jnp.any(drawn), draw, _largest, logits)


def _largest(logits: Float[Array, "B V"]) -> Int[Array, " B"]:
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)


def _noise(seed: UInt32[Array, ""], number: Int[Array, ""], words: int) -> Float[Array, " V"]:
    key = jax.random.fold_in(jax.random.key(seed), number)
    return jax.random.gumbel(key, (words,), jnp.float32)


def _nucleus(logits: Float[Array, "B V"], top_p: Float[Array, " B"]) -> Float[Array, "B V"]:
    """The logits of each row's likeliest tokens that hold `top_p` together; -inf for the others.

    The least probability among them is found bit by bit, in 30 sums over the row: to sort the
    vocabulary takes longer.
    """
    shares = jax.nn.softmax(logits, axis=-1)
    bits = jax.lax.bitcast_convert_type(shares, jnp.int32)

    def kept(least: Int[Array, " B"]) -> Bool[Array, "B V"]:
        return bits >= least[:, None]

    def halve(_: Int[Array, ""], bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds  # Tokens from `low` on hold enough; those from `high` on do not.
        middle = (low + high) // 2
        enough = jnp.where(kept(middle), shares, 0.0).sum(axis=-1) >= top_p
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    zeros = jnp.zeros(logits.shape[0], jnp.int32)
    low, _ = jax.lax.fori_loop(0, 30, halve, (zeros, zeros + (_BITS_OF_ONE + 1)))
    # The likeliest stays even where nothing is asked for.
    low = jnp.minimum(low, bits.max(axis=-1))
    return jnp.where(kept(low), logits, -jnp.inf)
