"""One block of the decoder: norms, products with weights and adapters, attention, feed-forward."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from xcot_jax import sharding
from xcot_jax.models.config import ACTIVATIONS, ModelConfig
from xcot_jax.models.rotary import Angles, rotate

Attend: TypeAlias = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, Any]]
"""From queries, keys and values to their mixture, and whatever is to be handed on beside it."""

LOGICAL_AXES: dict[str, sharding.LogicalAxes] = {
    "query": ("embed", "heads", "head"),
    "key": ("embed", "kv_heads", "head"),
    "value": ("embed", "kv_heads", "head"),
    "output": ("heads", "head", "embed"),
    "gate": ("embed", "mlp"),
    "up": ("embed", "mlp"),
    "down": ("mlp", "embed"),
}
"""Logical axes of a block's matrices, inputs first."""


def _made_again(part: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """A part of which nothing but its arguments is kept for the backward pass, whatever the policy.

    For what is cheap beside the matrix products: to store and read it takes longer than to make it
    twice. Under the layers' scan the compiler cannot merge the two.
    """
    return jax.checkpoint(part, prevent_cse=False)


class Norm(nnx.Module):
    """RMSNorm or LayerNorm along the last axis, computed in fp32."""

    def __init__(self, config: ModelConfig, width: int) -> None:
        self.eps, self.offset, self.centred = config.norm_eps, config.norm_offset, False
        start = 1.0 - config.norm_offset
        self.scale = nnx.Param(jnp.full(width, start, jnp.float32), logical_axes=("norm",))
        if config.norm == "layer":
            self.centred = True
            self.bias = nnx.Param(jnp.zeros(width, jnp.float32), logical_axes=("norm",))

    def __call__(self, x: Float[Array, "*rows D"]) -> Float[Array, "*rows D"]:
        """`x` over its root mean square, or standard deviation, and scaled; in the type of `x`."""
        return _made_again(self._normalised)(x)

    def _normalised(self, x: Float[Array, "*rows D"]) -> Float[Array, "*rows D"]:
        wide = x.astype(jnp.float32)
        if self.centred:
            wide = wide - jnp.mean(wide, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
        scale = self.scale[...].astype(jnp.float32) + self.offset
        scaled = wide * jax.lax.rsqrt(variance + self.eps) * _last(scale, x)
        if self.centred:
            scaled += _last(self.bias[...].astype(jnp.float32), x)
        return scaled.astype(x.dtype)


def _last(vector: Float[Array, " D"], x: Float[Array, "*rows D"]) -> Float[Array, "*ones D"]:
    """The vector with as many axes as `x`."""
    return vector.reshape((1,) * (x.ndim - 1) + vector.shape)


def matrix(
    rngs: nnx.Rngs, shape: tuple[int, ...], axes: sharding.LogicalAxes, std: float
) -> nnx.Param[jax.Array]:
    """Truncated normal weights of this standard deviation, with logical axes."""
    value = std * jax.random.truncated_normal(rngs.params(), -3.0, 3.0, shape, jnp.float32)
    return nnx.Param(value, logical_axes=axes)


class Linear(nnx.Module):
    """A product with one of the block's matrices, which may have a bias and an adapter.

    The adapter adds `alpha / r * (x A) B`; B begins as zeros, so that it begins as nothing
    (arXiv 2106.09685, section 4.1).
    """

    def __init__(
        self, config: ModelConfig, name: str, rngs: nnx.Rngs, std: float, *, bias: bool
    ) -> None:
        inputs, outputs = config.matrices[name]
        axes = LOGICAL_AXES[name]
        into, out = axes[: len(inputs)], axes[len(inputs) :]
        self.inputs = math.prod(inputs)
        self.weight = matrix(rngs, inputs + outputs, axes, std)
        if bias:
            self.bias = nnx.Param(jnp.zeros(outputs, jnp.float32), logical_axes=out)
        self.adapter_scale = 0.0
        if config.lora and name in config.lora.targets:
            rank, bound = config.lora.rank, self.inputs**-0.5
            start = jax.random.uniform(rngs.adapters(), (*inputs, rank), jnp.float32, -bound, bound)
            self.adapter_scale = config.lora.scale
            self.adapter_a = nnx.Param(start, logical_axes=(*into, "rank"))
            self.adapter_b = nnx.Param(
                jnp.zeros((rank, *outputs), jnp.float32), logical_axes=("rank", *out)
            )

    def __call__(self, x: Float[Array, "B T *inputs"]) -> Float[Array, "B T *outputs"]:
        """`x W + b`, as one two-dimensional product, and the adapter's part."""
        flat = x.reshape(*x.shape[:2], self.inputs)
        weight = self.weight[...].astype(x.dtype).reshape(self.inputs, -1)
        product = _product(flat, weight)
        if self.adapter_scale:
            inner = flat @ self.adapter_a[...].astype(x.dtype).reshape(self.inputs, -1)
            # In fp32: few scales are exact in bfloat16, and merging has them exact.
            inner = (inner.astype(jnp.float32) * self.adapter_scale).astype(x.dtype)
            product += inner @ self.adapter_b[...].astype(x.dtype).reshape(inner.shape[-1], -1)
        outputs = self.weight.shape[x.ndim - 2 :]
        product = product.reshape(*x.shape[:2], *outputs)
        if hasattr(self, "bias"):
            product += self.bias[...].astype(x.dtype)[None, None]
        return product


@jax.custom_vjp
def _product(x: Float[Array, "B T I"], weight: Float[Array, "I O"]) -> Float[Array, "B T O"]:
    """`x W`, whose gradient in W is `x^T dy` as it stands.

    JAX would make it as `(dy^T x)^T`, for which XLA on CPU writes transposed copies of `dy`, the
    larger of the two in a feed-forward layer.
    """
    return x @ weight


def _product_forward(
    x: Float[Array, "B T I"], weight: Float[Array, "I O"]
) -> tuple[Float[Array, "B T O"], tuple[Float[Array, "B T I"], Float[Array, "I O"]]]:
    return x @ weight, (x, weight)


def _product_backward(
    saved: tuple[Float[Array, "B T I"], Float[Array, "I O"]], d_y: Float[Array, "B T O"]
) -> tuple[Float[Array, "B T I"], Float[Array, "I O"]]:
    x, weight = saved
    d_x = jax.lax.dot_general(d_y, weight, (((2,), (1,)), ((), ())))
    d_weight = jax.lax.dot_general(x, d_y, (((0, 1), (0, 1)), ((), ())))
    return d_x, d_weight


_product.defvjp(_product_forward, _product_backward)


class Attention(nnx.Module):
    """Grouped-query attention, with rotary positions where there are angles."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs) -> None:
        std, bias = config.width**-0.5, config.qkv_bias
        self.query = Linear(config, "query", rngs, std, bias=bias)
        self.key = Linear(config, "key", rngs, std, bias=bias)
        self.value = Linear(config, "value", rngs, std, bias=bias)
        # Each block adds two outputs to the residual stream; this keeps its variance near one.
        std = (config.heads * config.head_width) ** -0.5 * (2 * config.layers) ** -0.5
        self.output = Linear(config, "output", rngs, std, bias=config.output_bias)
        if config.qk_norm:
            self.query_norm = Norm(config, config.head_width)
            self.key_norm = Norm(config, config.head_width)

    def __call__(
        self, x: Float[Array, "B T D"], angles: Angles | None, attend: Attend
    ) -> tuple[Float[Array, "B T D"], Any]:
        """The output, and what `attend` handed on."""
        query, key = self.query(x), self.key(x)
        if hasattr(self, "query_norm"):
            query, key = self.query_norm(query), self.key_norm(key)
        if angles is not None:
            query, key = rotate(query, angles), rotate(key, angles)
        mixed, carried = attend(query, key, self.value(x))
        return self.output(mixed), carried


class FeedForward(nnx.Module):
    """`(f(x gate) * (x up)) down`, or without a gate `f(x up) down`."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs) -> None:
        self.activation, bias = config.activation, config.ffn_bias
        std = config.width**-0.5
        if config.gated:
            self.gate = Linear(config, "gate", rngs, std, bias=bias)
        self.up = Linear(config, "up", rngs, std, bias=bias)
        std = config.ffn_width**-0.5 * (2 * config.layers) ** -0.5
        self.down = Linear(config, "down", rngs, std, bias=bias)

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """The layer's output, which is yet to be added to the residual stream."""
        activation = ACTIVATIONS[self.activation]
        if not hasattr(self, "gate"):
            return self.down(activation(self.up(x)))
        gated = lambda gate, up: self.down(activation(gate) * up)
        return _made_again(gated)(self.gate(x), self.up(x))


class Block(nnx.Module):
    """Attention and feed-forward layer, each behind a norm and added to the residual stream."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs) -> None:
        self.residual_scale = config.residual_scale
        self.attention_norm = Norm(config, config.width)
        self.attention = Attention(config, rngs)
        self.ffn_norm = Norm(config, config.width)
        self.ffn = FeedForward(config, rngs)
        if config.post_norms:
            self.attention_post_norm = Norm(config, config.width)
            self.ffn_post_norm = Norm(config, config.width)

    def __call__(
        self, x: Float[Array, "B T D"], angles: Angles | None, attend: Attend
    ) -> tuple[Float[Array, "B T D"], Any]:
        """The residual stream after the block, and what `attend` handed on."""
        mixed, carried = self.attention(self.attention_norm(x), angles, attend)
        if hasattr(self, "attention_post_norm"):
            mixed = self.attention_post_norm(mixed)
        x = self._add(x, mixed)
        fed = self.ffn(self.ffn_norm(x))
        if hasattr(self, "ffn_post_norm"):
            fed = self.ffn_post_norm(fed)
        return self._add(x, fed), carried

    def _add(self, x: Float[Array, "B T D"], more: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        if self.residual_scale == 1.0:
            return x + more
        return x + more * jnp.asarray(self.residual_scale, x.dtype)
