"""The decoder as Flax NNX modules, and its functional boundary: `init`, `apply`, `logical_axes`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from xcot_jax import sharding
from xcot_jax.models.attention import PADDING, attention
from xcot_jax.models.block import Block, Norm, matrix
from xcot_jax.models.cache import Cache, cached_attention, write
from xcot_jax.models.config import REMAT_POLICIES, LayerKind, ModelConfig
from xcot_jax.models.rotary import Angles, rotary_angles

Params: TypeAlias = dict[str, Any]
"""A nested dict of arrays, keyed by module and parameter names."""

_EMBEDDING_STD = 0.02


class Transformer(nnx.Module):
    """The decoder. Its blocks are one module whose parameters carry a leading layer axis.

    Parameters are cast where they are used, so the same ones serve any compute type.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs) -> None:
        self.config = config
        shape = (config.vocab_rows, config.width)
        self.embedding = matrix(rngs, shape, ("vocab", "embed"), _EMBEDDING_STD)
        if config.embedding_norm:
            self.embedding_norm = Norm(config, config.width)
        self.blocks = _stacked_blocks(config, rngs)
        self.final_norm = Norm(config, config.width)
        if not config.tied_head:
            self.head = matrix(rngs, shape[::-1], ("embed", "vocab"), _EMBEDDING_STD)

    def hidden_states(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"],
    ) -> Float[Array, "B T D"]:
        """What the head reads: the residual stream after the final norm, in the compute type.

        Args:
          tokens: packed rows.
          positions: place of each token in its segment, from 0.
          segment_ids: segment of each token, from 1; 0 is padding. Segments never see each other.
        """
        hidden, _ = self._read(tokens, positions, segment_ids, keep=False)
        return hidden

    def head_matrix(self) -> Float[Array, "D V"]:
        """The output head, its padding included; the transposed embedding where they are tied."""
        return self.embedding[...].T if self.config.tied_head else self.head[...]

    def logits(self, hidden: Float[Array, "*rows D"]) -> Float[Array, "*rows V"]:
        """Logits in fp32, products accumulated in fp32 whatever the compute type."""
        head = self.head_matrix().astype(hidden.dtype)
        products = jnp.matmul(hidden, head, preferred_element_type=jnp.float32)
        return self.config.logit_rule.apply(products)

    def prefill(
        self, tokens: Int[Array, "R T"], lengths: Int[Array, " R"]
    ) -> tuple[Float[Array, "R D"], Cache]:
        """Reads prompts.

        Args:
          tokens: one prompt a row, from the left.
          lengths: tokens of each prompt, at least one.

        Returns:
          the hidden states of the prompts' last tokens, and a cache of T columns.
        """
        columns = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None, :]
        segments = jnp.where(columns < lengths[:, None], 1, PADDING).astype(jnp.int32)
        positions = jnp.broadcast_to(columns, tokens.shape)
        hidden, carried = self._read(tokens, positions, segments, keep=True)
        last = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)
        cache = Cache(
            keys=tuple(key.swapaxes(1, 2) for key, _ in carried),
            values=tuple(value.swapaxes(1, 2) for _, value in carried),
        )
        return last[:, 0], cache

    def decode(
        self, tokens: Int[Array, " B"], positions: Int[Array, " B"], cache: Cache
    ) -> tuple[Float[Array, "B D"], Cache]:
        """Reads one more token a row.

        The layers are unrolled rather than scanned: each then updates its own part of the cache in
        place, and inside a loop their weights are sliced and cast once.

        Args:
          tokens: one a row.
          positions: each token's place in its row, which is its column in the cache.
          cache: of the tokens before.

        Returns:
          the hidden states and the cache with these tokens in it.
        """
        config = self.config
        angles = self._angles(positions[:, None])
        block, stacked = nnx.split(self.blocks)
        x = self._embed(tokens[:, None])
        keys, values = [], []
        for layer, kind in enumerate(config.kinds):

            def attend(
                q: Any, k: Any, v: Any, layer: int = layer, kind: LayerKind = kind
            ) -> tuple[Any, None]:
                keys.append(write(cache.keys[layer], k, positions))
                values.append(write(cache.values[layer], v, positions))
                mixed = cached_attention(
                    q,
                    keys[layer],
                    values[layer],
                    positions=positions,
                    rule=config.attention_rule(kind),
                )
                return mixed, None

            x, _ = nnx.merge(block, _layer(stacked, layer))(x, angles[kind], attend)
        return self.final_norm(x)[:, 0], Cache(tuple(keys), tuple(values))

    def _read(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"],
        *,
        keep: bool,
    ) -> tuple[Float[Array, "B T D"], list[Any]]:
        """Hidden states, and with `keep` each layer's keys and values `[B, T, K, H]`.

        Layers are scanned a period of their pattern at a time, so that each knows its own kind;
        those of an unfinished period at the end follow one by one.
        """
        config = self.config
        angles = self._angles(positions)
        block, stacked = nnx.split(self.blocks)

        def run(kind: LayerKind, x: Any, weights: Any) -> tuple[Any, Any]:
            def attend(q: Any, k: Any, v: Any) -> tuple[Any, Any]:
                mixed = attention(
                    q,
                    k,
                    v,
                    query_positions=positions,
                    key_positions=positions,
                    query_segments=segment_ids,
                    key_segments=segment_ids,
                    rule=config.attention_rule(kind),
                    kernel=config.attention_kernel,
                )
                return mixed, (k, v) if keep else None

            x, carried = nnx.merge(block, weights)(x, angles[kind], attend)
            return sharding.constrain(x, ("batch", None, None)), carried

        def remat(kind: LayerKind, *, scanned: bool) -> Callable[[Any, Any], tuple[Any, Any]]:
            layer, policy = functools.partial(run, kind), REMAT_POLICIES[config.remat]
            if policy is None:
                return layer
            # Under scan nothing can merge with the recomputation; its guard would only cost time.
            return jax.checkpoint(layer, policy=policy, prevent_cse=not scanned)

        period = config.pattern[: config.layers]
        whole = config.layers // len(period)
        layers = [remat(kind, scanned=True) for kind in period]

        def step(x: Any, weights: Any) -> tuple[Any, Any]:
            carried = []
            for number, layer in enumerate(layers):
                x, kept = layer(x, _layer(weights, number))
                carried.append(kept)
            return x, carried

        periods = jax.tree.map(
            lambda w: w[: whole * len(period)].reshape(whole, len(period), *w.shape[1:]), stacked
        )
        x, scanned = jax.lax.scan(step, self._embed(tokens), periods)
        carried = [_layer(scanned[n], turn) for turn in range(whole) for n in range(len(period))]
        for layer in range(whole * len(period), config.layers):
            x, kept = remat(config.kinds[layer], scanned=False)(x, _layer(stacked, layer))
            carried.append(kept)
        return self.final_norm(x), carried

    def _angles(self, positions: Int[Array, "B T"]) -> dict[LayerKind, Angles | None]:
        """The rotary angles of each kind of layer."""
        ropes = {kind: self.config.rope_of(kind) for kind in self.config.pattern}
        width = self.config.head_width
        made = {rope: rotary_angles(positions, width, rope) for rope in ropes.values() if rope}
        return {kind: made[rope] if rope else None for kind, rope in ropes.items()}

    def _embed(self, tokens: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        x = jnp.take(self.embedding[...], tokens, axis=0).astype(self.config.dtype)
        if self.config.embedding_scale != 1.0:
            x *= jnp.asarray(self.config.embedding_scale, x.dtype)
        if hasattr(self, "embedding_norm"):
            x = self.embedding_norm(x)
        return sharding.constrain(x, ("batch", None, None))


def _layer(stacked: Any, layer: int) -> Any:
    """One layer of a tree of stacked arrays."""
    return jax.tree.map(lambda stack: stack[layer], stacked)


def _stacked_blocks(config: ModelConfig, rngs: nnx.Rngs) -> Block:
    """L blocks as one, each with random numbers of its own, and "layers" as their leading axis."""

    @nnx.split_rngs(splits=config.layers)
    @nnx.vmap(in_axes=0, out_axes=0)
    def create(rngs: nnx.Rngs) -> Block:
        return Block(config, rngs)

    blocks = create(rngs)
    for _, param in nnx.iter_graph(blocks):
        if isinstance(param, nnx.Param):
            param.set_metadata(logical_axes=("layers", *param.get_metadata("logical_axes")))
    return blocks


@functools.cache
def _abstract(config: ModelConfig) -> tuple[nnx.GraphDef[Transformer], Any]:
    """The decoder's graph, and its parameters with shapes in place of arrays."""
    return nnx.split(nnx.eval_shape(lambda: Transformer(config, nnx.Rngs(0))))


def graph(config: ModelConfig) -> nnx.GraphDef[Transformer]:
    """The decoder without its parameters: static, hashable, and the same for equal configs."""
    return _abstract(config)[0]


def init(
    config: ModelConfig,
    seed: int | jax.Array,
    mesh: Mesh,
    *,
    part: Callable[[Any, ModelConfig], Any] = lambda tree, config: tree,
    dtype: str = "float32",
) -> tuple[nnx.GraphDef[Transformer], Params]:
    """A decoder with random weights, made in their shards: no device ever holds them all.

    The weights depend on the seed only, not on the mesh, nor on which part is made.

    Args:
      config: the decoder.
      seed: a number or a random key.
      mesh: where the parameters live.
      part: from a tree of all parameters to a tree of those wanted; the others are never made.
      dtype: type of the parameters.

    Returns:
      the graph, which is static, and the parameters, which `apply` puts together.
    """
    key = jax.random.key(seed) if isinstance(seed, int) else seed
    shapes, axes = part(param_shapes(config), config), part(logical_axes(config), config)

    def create(key: jax.Array) -> Params:
        rngs = nnx.Rngs(params=key, adapters=jax.random.fold_in(key, 1))
        params = nnx.to_pure_dict(nnx.state(Transformer(config, rngs), nnx.Param))
        return jax.tree.map(lambda leaf: leaf.astype(dtype), part(params, config))

    shardings = sharding.tree_shardings(mesh, axes, shapes)
    return graph(config), jax.jit(create, out_shardings=shardings)(key)


def param_shapes(config: ModelConfig) -> Params:
    """The tree of parameters with `jax.ShapeDtypeStruct` leaves."""
    return nnx.to_pure_dict(_abstract(config)[1])


def logical_axes(config: ModelConfig) -> Params:
    """The tree of parameters with tuples of logical axes as leaves."""
    axes = jax.tree.map(
        lambda param: param.get_metadata("logical_axes"),
        _abstract(config)[1],
        is_leaf=lambda node: isinstance(node, nnx.Variable),
    )
    return nnx.to_pure_dict(axes)


def cast_matrices(params: Params, dtype: Any) -> Params:
    """The parameters with the matrices of blocks in this type; what is already in it is not copied.

    They are read several times in a step, and over a mesh gathered each time. Embedding and head
    are left as they are, as their gradients are summed in fp32 over tokens.
    """

    def cast(path: Any, leaf: jax.Array) -> jax.Array:
        matrix = path[0].key == "blocks" and path[-1].key == "weight"
        return leaf.astype(dtype) if matrix else leaf

    return jax.tree_util.tree_map_with_path(cast, params)


def apply(graph: nnx.GraphDef[Transformer], params: Params) -> Transformer:
    """The decoder with these parameters; cheap, and meant to be called inside `jax.jit`."""
    return nnx.merge(graph, nnx.State(params))
