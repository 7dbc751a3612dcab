"""The programs of generation: empty rows, prompts read and put into them, and decoding steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Bool, Int

from xcot_jax import sharding
from xcot_jax.models import transformer
from xcot_jax.models.cache import CACHE_AXES, Cache
from xcot_jax.pytree import pytree
from xcot_jax.sampling import Sampling, choose

STEPS = 32
"""Most steps in one call of `advance`: the host then looks at what came, and fills free rows."""

NOTHING = -1
"""Where `advance` reports no token."""


@pytree
class Prompts:
    """Prompts, and how they are to be continued.

    Attributes:
      tokens: one prompt a row, from the left.
      lengths: tokens of each prompt, at least one.
      limits: most tokens to generate, at least one.
      sampling: how they are chosen.
    """

    tokens: Int[Array, "R T"]
    lengths: Int[Array, " R"]
    limits: Int[Array, " R"]
    sampling: Sampling


@pytree
class Rows:
    """Rows between two steps; each is at a step of its own.

    Attributes:
      token: the last one chosen, which is not in the cache yet.
      position: its place in its row.
      produced: tokens chosen so far, this one included.
      limits: most of them.
      fresh: whether `token` was chosen by `read`, and is still to be reported.
      sampling: how tokens are chosen.
      cache: of the tokens before.
    """

    token: Int[Array, " B"]
    position: Int[Array, " B"]
    produced: Int[Array, " B"]
    limits: Int[Array, " B"]
    fresh: Bool[Array, " B"]
    sampling: Sampling
    cache: Cache


@dataclasses.dataclass(frozen=True)
class Decoding:
    """What is done with the rows of one model.

    Attributes:
      graph: the decoder's graph.
      eos_id: the token that ends a text.
    """

    graph: nnx.GraphDef[transformer.Transformer]
    eos_id: int

    def empty(self, params: transformer.Params, rows: int, capacity: int) -> Rows:
        """Rows that nothing is in, with a cache of so many columns."""
        config = transformer.apply(self.graph, params).config
        zeros = jnp.zeros(rows, jnp.int32)
        sampling = Sampling(
            temperature=jnp.zeros(rows, jnp.float32),
            top_p=jnp.ones(rows, jnp.float32),
            seed=jnp.zeros(rows, jnp.uint32),
        )
        cache = Cache.empty(config, rows, capacity)
        return Rows(zeros, zeros, zeros, zeros, zeros > 0, sampling, cache)

    def read(self, params: transformer.Params, prompts: Prompts) -> Rows:
        """Reads prompts and chooses the first token of each answer; R rows, as wide as prompts."""
        model = transformer.apply(self.graph, params)
        hidden, cache = model.prefill(prompts.tokens, prompts.lengths)
        zeros = jnp.zeros_like(prompts.lengths)
        return Rows(
            token=choose(model.logits(hidden), prompts.sampling, zeros),
            position=prompts.lengths,
            produced=zeros + 1,
            limits=prompts.limits,
            fresh=zeros == 0,
            sampling=prompts.sampling,
            cache=cache,
        )

    def advance(
        self,
        params: transformer.Params,
        rows: Rows,
        live: Bool[Array, " B"],
        enough: Int[Array, ""],
    ) -> tuple[Rows, Int[Array, "B report"]]:
        """Takes up to `STEPS` steps.

        Args:
          live: rows that are to go on; the others are left alone.
          enough: stop when so many rows are free.

        Returns:
          the rows; and of each the tokens that are new to the host, in `STEPS + 1` columns with
          `NOTHING` beside them, and in the last column whether the row is done.
        """
        model = transformer.apply(self.graph, params)

        def finished(rows: Rows) -> Bool[Array, " B"]:
            return (rows.token == self.eos_id) | (rows.produced >= rows.limits)

        def wanted(carry: tuple[Array, Array, Array, Rows]) -> Bool[Array, ""]:
            step, done, _, _ = carry
            return (step < STEPS) & (jnp.sum(done, dtype=jnp.int32) < enough)

        def advanced(carry: tuple[Array, Array, Array, Rows]) -> tuple[Array, Array, Array, Rows]:
            step, done, report, rows = carry
            hidden, cache = model.decode(rows.token, rows.position, rows.cache)
            token = choose(model.logits(hidden), rows.sampling, rows.produced)
            on = (~done).astype(jnp.int32)
            rows = dataclasses.replace(
                rows,
                token=jnp.where(done, rows.token, token),
                position=rows.position + on,
                produced=rows.produced + on,
                cache=cache,
            )
            new = jnp.where(done, NOTHING, token)[:, None]
            report = jax.lax.dynamic_update_slice(report, new, (jnp.int32(0), step + 1))
            return step + 1, done | finished(rows), report, rows

        first = jnp.where(live & rows.fresh, rows.token, NOTHING)
        report = jnp.full((first.shape[0], STEPS + 1), NOTHING).at[:, 0].set(first)
        start = (jnp.int32(0), ~live | finished(rows), report, rows)
        _, done, report, rows = jax.lax.while_loop(wanted, advanced, start)
        report = jnp.concatenate([report, done.astype(jnp.int32)[:, None]], axis=1)
        return dataclasses.replace(rows, fresh=jnp.zeros_like(rows.fresh)), report


def put(rows: Rows, read: Rows, where: Int[Array, " R"]) -> Rows:
    """The rows with those just read in place of some; where it is beyond them, one is left out."""
    placed = jax.tree.map(
        lambda old, new: old.at[where].set(new, mode="drop"), _alone(rows), _alone(read)
    )
    return dataclasses.replace(placed, cache=rows.cache.with_rows(where, read.cache))


def resized(rows: Rows, capacity: int) -> Rows:
    """The rows with a cache of so many columns."""
    return dataclasses.replace(rows, cache=rows.cache.resized(capacity))


def taken(rows: Rows, which: Int[Array, " R"]) -> Rows:
    """Some of the rows."""
    return jax.tree.map(lambda leaf: leaf[which], rows)


def _alone(rows: Rows) -> Rows:
    """The rows without their cache."""
    return dataclasses.replace(rows, cache=Cache((), ()))


@dataclasses.dataclass(frozen=True)
class Programs:
    """Jitted `Decoding.empty`, `Decoding.read`, `put`, `taken`, `resized` and `Decoding.advance`.

    Rows are spread over the data axes of a mesh, and their heads over its tensor axis; rows that
    are given to be changed are used up. Shardings are named, not left to the compiler: it would
    name the same ones differently, and compile again for each name.
    """

    empty: Callable[..., Rows]
    read: Callable[..., Rows]
    put: Callable[..., Rows]
    taken: Callable[..., Rows]
    resized: Callable[..., Rows]
    advance: Callable[..., tuple[Rows, jax.Array]]

    @staticmethod
    def of(decoding: Decoding, params: transformer.Params, mesh: Mesh) -> Programs:
        """The programs for these parameters on this mesh."""
        shapes = jax.eval_shape(
            lambda params: decoding.empty(params, sharding.batch_ways(mesh), 1), params
        )

        def place(leaf: jax.ShapeDtypeStruct) -> NamedSharding:
            axes = CACHE_AXES if leaf.ndim == len(CACHE_AXES) else ("batch",)
            return sharding.logical_to_sharding(mesh, axes, leaf.shape)

        rows = jax.tree.map(place, shapes)
        report = sharding.batch_sharding(mesh)
        return Programs(
            empty=jax.jit(decoding.empty, static_argnums=(1, 2), out_shardings=rows),
            read=jax.jit(decoding.read, out_shardings=rows),
            put=jax.jit(put, donate_argnums=0, out_shardings=rows),
            taken=jax.jit(taken, out_shardings=rows),
            resized=jax.jit(resized, static_argnums=1, out_shardings=rows),
            advance=jax.jit(decoding.advance, donate_argnums=1, out_shardings=(rows, report)),
        )
