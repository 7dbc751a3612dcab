"""Low-rank adapters: apart from the weights they stand beside, together with them, or merged."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xcot_jax.models.config import ModelConfig

ADAPTER = ("adapter_a", "adapter_b")
"""Names of an adapter's two matrices beside the `weight` they add to."""

Tree = dict[str, Any]


def trained_part(tree: Tree, config: ModelConfig) -> Tree:
    """What training changes of a tree of parameters: all of it, or the adapters."""
    return tree if config.lora is None else _select(tree, adapters=True)


def frozen_part(tree: Tree, config: ModelConfig) -> Tree:
    """What training leaves alone of a tree of parameters: nothing, or all but the adapters."""
    return {} if config.lora is None else _select(tree, adapters=False)


def join(trained: Tree, frozen: Tree) -> Tree:
    """The whole tree of its two parts."""
    joined = dict(frozen)
    for name, node in trained.items():
        both = isinstance(node, dict) and name in joined
        joined[name] = join(node, joined[name]) if both else node
    return joined


def _select(tree: Tree, *, adapters: bool) -> Tree:
    """The branches that hold adapters, or those that hold anything else."""
    chosen: Tree = {}
    for name, node in tree.items():
        if isinstance(node, dict):
            if below := _select(node, adapters=adapters):
                chosen[name] = below
        elif (name in ADAPTER) == adapters:
            chosen[name] = node
    return chosen


def merge(params: Tree, config: ModelConfig) -> Tree:
    """Weights with their adapters added, `W + alpha / r A B` (arXiv 2106.09685, equation 3).

    Args:
      params: the whole tree; weights of any float type.
      config: the decoder, which says how adapters are scaled.

    Returns:
      the tree without adapters; weights that had one are fp32, all else is as it was.
    """
    if config.lora is None:
        return params
    scale = config.lora.scale

    def merged(node: Tree) -> Tree:
        if ADAPTER[0] in node:
            a, b = (node[name] for name in ADAPTER)
            rest = {name: leaf for name, leaf in node.items() if name not in ADAPTER}
            return rest | {"weight": _add(node["weight"], a, b, scale)}
        return {n: merged(leaf) if isinstance(leaf, dict) else leaf for n, leaf in node.items()}

    return merged(params)


@functools.partial(jax.jit, static_argnames="scale")
def _add(
    weight: Float[Array, "L ..."],
    a: Float[Array, "L *inputs r"],
    b: Float[Array, "L r *outputs"],
    scale: float,
) -> Float[Array, "L ..."]:
    rank = a.shape[-1]
    layers = weight.shape[0]
    product = jnp.einsum(
        "lir,lro->lio",
        a.reshape(layers, -1, rank),
        b.reshape(layers, rank, -1),
        precision=jax.lax.Precision.HIGHEST,
    )
    return weight.astype(jnp.float32) + scale * product.reshape(weight.shape)
