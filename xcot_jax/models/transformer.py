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
from xcot_jax.models.attention import Cache, attention, cached_attention
from xcot_jax.models.config import ACTIVATIONS, REMAT_POLICIES, ModelConfig

Params: TypeAlias = dict[str, Any]
"""A nested dict of fp32 arrays, keyed by module and parameter names."""

_EMBEDDING_STD = 0.02


Attend: TypeAlias = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, Any]]
"""From queries, keys and values to their mixture, and whatever is to be handed on beside it."""

Angles: TypeAlias = tuple[Float[Array, "B T 1 half"], Float[Array, "B T 1 half"]]
"""Cosines and sines of the rotary angles."""


def rotary_angles(positions: Int[Array, "B T"], head_width: int, theta: float) -> Angles:
    """Cosines and sines of the rotary angles in fp32, with an axis for the heads."""
    frequencies = theta ** (-jnp.arange(0, head_width, 2, dtype=jnp.float32) / head_width)
    angles = positions.astype(jnp.float32)[:, :, None, None] * frequencies[None, None, None, :]
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: Float[Array, "B T N H"], angles: Angles) -> Float[Array, "B T N H"]:
    """Turns pairs `(x[i], x[i + H/2])` by their angle in fp32, as Llama checkpoints expect."""
    cos, sin = angles
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)


class RMSNorm(nnx.Module):
    """Division by the root mean square, and a scale; computed in fp32."""

    def __init__(self, width: int, eps: float) -> None:
        self.eps = eps
        self.scale = nnx.Param(jnp.ones(width, jnp.float32), logical_axes=("norm",))

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """`x` over its root mean square along the width, times the scale; in the type of `x`."""
        wide = x.astype(jnp.float32)
        variance = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
        scaled = wide * jax.lax.rsqrt(variance + self.eps) * self.scale[None, None, :]
        return scaled.astype(x.dtype)


def _matrix(
    rngs: nnx.Rngs, shape: tuple[int, ...], axes: sharding.LogicalAxes, std: float
) -> nnx.Param[jax.Array]:
    value = std * jax.random.truncated_normal(rngs.params(), -3.0, 3.0, shape, jnp.float32)
    return nnx.Param(value, logical_axes=axes)


class Attention(nnx.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs) -> None:
        self.config = config
        width, heads, kv_heads = config.width, config.heads, config.kv_heads
        std, head = width**-0.5, config.head_width
        self.query = _matrix(rngs, (width, heads, head), ("embed", "heads", "head"), std)
        self.key = _matrix(rngs, (width, kv_heads, head), ("embed", "kv_heads", "head"), std)
        self.value = _matrix(rngs, (width, kv_heads, head), ("embed", "kv_heads", "head"), std)
        # Each block adds two outputs to the residual stream; this keeps its variance near one.
        std = (heads * head) ** -0.5 * (2 * config.layers) ** -0.5
        self.output = _matrix(rngs, (heads, head, width), ("heads", "head", "embed"), std)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        angles: Angles,
        attend: Attend,
    ) -> tuple[Float[Array, "B T D"], Any]:
        """The output, and what `attend` handed on."""
        query = rotate(_project(x, self.query[...]), angles)
        key = rotate(_project(x, self.key[...]), angles)
        mixed, carried = attend(query, key, _project(x, self.value[...]))
        rows, tokens = x.shape[:2]
        output = self.output[...].astype(x.dtype).reshape(-1, x.shape[-1])
        return mixed.reshape(rows, tokens, -1) @ output, carried


def _project(x: Float[Array, "B T D"], matrix: Float[Array, "D N H"]) -> Float[Array, "B T N H"]:
    """`x` times a matrix to heads, as one two-dimensional product."""
    width, heads, head = matrix.shape
    flat = x @ matrix.astype(x.dtype).reshape(width, heads * head)
    return flat.reshape(*x.shape[:2], heads, head)


class FeedForward(nnx.Module):
    """The gated feed-forward layer: `(activation(x gate) * (x up)) down`."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs) -> None:
        self.activation = config.activation
        width, ffn = config.width, config.ffn_width
        self.gate = _matrix(rngs, (width, ffn), ("embed", "mlp"), width**-0.5)
        self.up = _matrix(rngs, (width, ffn), ("embed", "mlp"), width**-0.5)
        std = ffn**-0.5 * (2 * config.layers) ** -0.5
        self.down = _matrix(rngs, (ffn, width), ("mlp", "embed"), std)

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """The layer's output, which is yet to be added to the residual stream."""
        gate = ACTIVATIONS[self.activation](x @ self.gate[...].astype(x.dtype))
        return (gate * (x @ self.up[...].astype(x.dtype))) @ self.down[...].astype(x.dtype)


class Block(nnx.Module):
    """Attention and feed-forward layer, each behind a norm and added to the residual stream."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs) -> None:
        self.attention_norm = RMSNorm(config.width, config.norm_eps)
        self.attention = Attention(config, rngs)
        self.ffn_norm = RMSNorm(config.width, config.norm_eps)
        self.ffn = FeedForward(config, rngs)

    def __call__(
        self, x: Float[Array, "B T D"], angles: Angles, attend: Attend
    ) -> tuple[Float[Array, "B T D"], Any]:
        """The residual stream after the block, and what `attend` handed on."""
        mixed, carried = self.attention(self.attention_norm(x), angles, attend)
        x = x + mixed
        return x + self.ffn(self.ffn_norm(x)), carried


class Transformer(nnx.Module):
    """The decoder. Its blocks are one module whose parameters carry a leading layer axis.

    Parameters are fp32 and cast where they are used, so the same ones serve any compute type.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs) -> None:
        self.config = config
        shape = (config.vocab_size, config.width)
        self.embedding = _matrix(rngs, shape, ("vocab", "embed"), _EMBEDDING_STD)
        self.blocks = _stacked_blocks(config, rngs)
        self.final_norm = RMSNorm(config.width, config.norm_eps)
        if not config.tied_head:
            self.head = _matrix(rngs, shape[::-1], ("embed", "vocab"), _EMBEDDING_STD)

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
        """The output head in fp32; the transposed embedding where they are tied."""
        return self.embedding[...].T if self.config.tied_head else self.head[...]

    def logits(self, hidden: Float[Array, "*rows D"]) -> Float[Array, "*rows V"]:
        """Logits in fp32, products accumulated in fp32 whatever the compute type."""
        head = self.head_matrix().astype(hidden.dtype)
        return jnp.matmul(hidden, head, preferred_element_type=jnp.float32)

    def prefill(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"],
        *,
        capacity: int,
    ) -> tuple[Float[Array, "B T D"], Cache]:
        """Reads prompts into the first T columns of a new cache of `capacity` columns.

        Returns:
          the hidden states, as `hidden_states` gives them, and the cache.
        """
        hidden, carried = self._read(tokens, positions, segment_ids, keep=True)
        keys, values = jax.tree.map(lambda stack: stack.swapaxes(2, 3), carried)
        layers = range(self.config.layers)
        cache = Cache(
            keys=tuple(keys[layer] for layer in layers),
            values=tuple(values[layer] for layer in layers),
            positions=positions,
            segments=segment_ids,
        )
        return hidden, cache.grown(capacity)

    def decode(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"],
        cache: Cache,
        column: Int[Array, ""],
    ) -> tuple[Float[Array, "B T D"], Cache]:
        """Reads further tokens (one a row, as a rule) into the cache from `column` on.

        The layers are unrolled rather than scanned: each then updates its own part of the cache in
        place, and inside a loop their weights are sliced and cast once.

        Returns:
          the hidden states and the cache with these tokens in it.
        """
        config = self.config
        angles = rotary_angles(positions, config.head_width, config.rope_theta)
        all_positions = jax.lax.dynamic_update_slice(cache.positions, positions, (0, column))
        all_segments = jax.lax.dynamic_update_slice(cache.segments, segment_ids, (0, column))
        block, stacked = nnx.split(self.blocks)
        x = self._embed(tokens)
        keys, values = [], []
        for layer in range(config.layers):

            def attend(q: Any, k: Any, v: Any, layer: int = layer) -> tuple[Any, None]:
                start = (0, 0, column, 0)
                keys.append(
                    jax.lax.dynamic_update_slice(cache.keys[layer], k.swapaxes(1, 2), start)
                )
                values.append(
                    jax.lax.dynamic_update_slice(cache.values[layer], v.swapaxes(1, 2), start)
                )
                mixed = cached_attention(
                    q,
                    keys[layer],
                    values[layer],
                    query_positions=positions,
                    key_positions=all_positions,
                    query_segments=segment_ids,
                    key_segments=all_segments,
                )
                return mixed, None

            weights = jax.tree.map(lambda stack, layer=layer: stack[layer], stacked)
            x, _ = nnx.merge(block, weights)(x, angles, attend)
        cache = Cache(tuple(keys), tuple(values), all_positions, all_segments)
        return self.final_norm(x), cache

    def _read(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"],
        *,
        keep: bool,
    ) -> tuple[Float[Array, "B T D"], Any]:
        """Hidden states, and with `keep` every layer's keys and values `[L, B, T, K, H]`."""
        config = self.config
        angles = rotary_angles(positions, config.head_width, config.rope_theta)
        block, stacked = nnx.split(self.blocks)

        def attend(q: Any, k: Any, v: Any) -> tuple[Any, Any]:
            mixed = attention(
                q,
                k,
                v,
                query_positions=positions,
                key_positions=positions,
                query_segments=segment_ids,
                key_segments=segment_ids,
                kernel=config.attention_kernel,
            )
            return mixed, (k, v) if keep else None

        def step(x: Any, weights: Any) -> tuple[Any, Any]:
            x, carried = nnx.merge(block, weights)(x, angles, attend)
            return sharding.constrain(x, ("batch", None, None)), carried

        policy = REMAT_POLICIES[config.remat]
        if policy is not None:
            # Under scan nothing can merge with the recomputation; its guard would only cost time.
            step = jax.checkpoint(step, policy=policy, prevent_cse=False)
        x, carried = jax.lax.scan(step, self._embed(tokens), stacked)
        return self.final_norm(x), carried

    def _embed(self, tokens: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        x = jnp.take(self.embedding[...], tokens, axis=0).astype(self.config.dtype)
        return sharding.constrain(x, ("batch", None, None))


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
    config: ModelConfig, seed: int | jax.Array, mesh: Mesh
) -> tuple[nnx.GraphDef[Transformer], Params]:
    """A decoder with random weights, made in their shards: no device ever holds them all.

    The weights depend on the seed only, not on the mesh.

    Args:
      config: the decoder.
      seed: a number or a random key.
      mesh: where the parameters live.

    Returns:
      the graph, which is static, and the parameters, which `apply` puts together.
    """
    key = jax.random.key(seed) if isinstance(seed, int) else seed
    shapes = param_shapes(config)
    shardings = sharding.tree_shardings(mesh, logical_axes(config), shapes)

    def create(key: jax.Array) -> Params:
        return nnx.to_pure_dict(nnx.state(Transformer(config, nnx.Rngs(params=key)), nnx.Param))

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


def apply(graph: nnx.GraphDef[Transformer], params: Params) -> Transformer:
    """The decoder with these parameters; cheap, and meant to be called inside `jax.jit`."""
    return nnx.merge(graph, nnx.State(params))
