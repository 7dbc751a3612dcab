"""Keys and values of the tokens read so far, each row at its own place, and attention to them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xcot_jax import sharding
from xcot_jax.models.attention import attend_to_keys
from xcot_jax.models.attention_rule import AttentionRule
from xcot_jax.models.config import ModelConfig
from xcot_jax.pytree import pytree

CACHE_AXES: sharding.LogicalAxes = ("batch", "kv_heads", None, None)
"""Logical axes of a layer's keys and of its values."""


@pytree
class Cache:
    """Keys and values, column `n` of a row those of its token `n`.

    What lies beyond a row's last token has no meaning and is never seen. Layers lie in arrays of
    their own, and heads before columns: one array for all layers is copied whole at every step on
    CPU, which makes decoding four times slower.

    Attributes:
      keys, values: for each layer `[B, K, S, H]` in the compute type; S is the capacity.
    """

    keys: tuple[Float[Array, "B K S H"], ...]
    values: tuple[Float[Array, "B K S H"], ...]

    @staticmethod
    def empty(config: ModelConfig, rows: int, capacity: int) -> Cache:
        """A cache of so many rows and columns, spread over the mesh in context."""
        shape = (rows, config.kv_heads, capacity, config.head_width)
        layers = [jnp.zeros(shape, config.dtype) for _ in range(2 * config.layers)]
        layers = [sharding.constrain(layer, CACHE_AXES) for layer in layers]
        return Cache(tuple(layers[: config.layers]), tuple(layers[config.layers :]))

    @property
    def capacity(self) -> int:
        """Columns, written or not."""
        return self.keys[0].shape[2]

    def resized(self, capacity: int) -> Cache:
        """The same with columns added on the right, or left out there."""

        def of(layer: Float[Array, "B K S H"]) -> Float[Array, "B K capacity H"]:
            added = max(0, capacity - layer.shape[2])
            layer = jnp.pad(layer[:, :, :capacity], ((0, 0), (0, 0), (0, added), (0, 0)))
            return sharding.constrain(layer, CACHE_AXES)

        return Cache(tuple(map(of, self.keys)), tuple(map(of, self.values)))

    def with_rows(self, rows: Int[Array, " R"], new: Cache) -> Cache:
        """The same with the first columns of some rows replaced.

        Args:
          rows: where to; rows beyond the cache are left out.
          new: R rows of no more columns.
        """

        def placed(
            layer: Float[Array, "B K S H"], part: Float[Array, "R K T H"]
        ) -> Float[Array, "B K S H"]:
            written = layer.at[rows, :, : part.shape[2]].set(part, mode="drop")
            return sharding.constrain(written, CACHE_AXES)

        return Cache(
            keys=tuple(map(placed, self.keys, new.keys)),
            values=tuple(map(placed, self.values, new.values)),
        )


def write(
    layer: Float[Array, "B K S H"], new: Float[Array, "B 1 K H"], columns: Int[Array, " B"]
) -> Float[Array, "B K S H"]:
    """A layer's keys or values with one more token a row, each in its own column."""

    def in_row(
        row: Float[Array, "K S H"], token: Float[Array, "1 K H"], column: Int[Array, ""]
    ) -> Float[Array, "K S H"]:
        return jax.lax.dynamic_update_slice_in_dim(row, token.swapaxes(0, 1), column, axis=1)

    return sharding.constrain(jax.vmap(in_row)(layer, new, columns), CACHE_AXES)


def cached_attention(
    q: Float[Array, "B 1 N H"],
    keys: Float[Array, "B K S H"],
    values: Float[Array, "B K S H"],
    *,
    positions: Int[Array, " B"],
    rule: AttentionRule,
) -> Float[Array, "B 1 N H"]:
    """What one token a row sees of that row's columns, its own last.

    Args:
      q: queries. keys, values: of one layer, those of the tokens themselves among them.
      positions: column of each row's token.
      rule: how scores are made.
    """
    columns = jnp.arange(keys.shape[2], dtype=positions.dtype)
    distance = (positions[:, None] - columns[None, :])[:, None]
    visible = distance >= 0
    if rule.window:
        visible &= distance < rule.window
    return attend_to_keys(q, keys, values, distance, visible, rule)
