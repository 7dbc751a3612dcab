"""Runs an attention kernel made for one device on each device's own rows and heads."""

from __future__ import annotations

from collections.abc import Callable

import jax
from jax.sharding import AbstractMesh, PartitionSpec
from jaxtyping import Array, Float, Int

from xcot_jax import sharding

Kernel = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]
"""From queries `[B, T, N, H]`, keys, values `[B, T, K, H]` and segments `[B, T]` to `[B, T, N, H]`.
"""


def on_each_device(
    kernel: Kernel,
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    segments: Int[Array, "B T"],
) -> Float[Array, "B T N H"]:
    """What `kernel` makes of these arrays, spread over the mesh in context.

    The compiler cannot split a kernel of hand-written code. Under the mesh of `jax.set_mesh` or
    `jax.sharding.use_abstract_mesh` each device runs it on its own rows, and on its own heads if
    the "tensor" axis divides both kinds; without a mesh, or on one device's part already, it runs
    as it is.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.are_all_axes_manual:
        return kernel(q, k, v, segments)
    rows, heads = _axes(mesh, q.shape, k.shape)
    whole = PartitionSpec(rows, None, heads, None)
    return jax.shard_map(
        kernel,
        mesh=mesh,
        in_specs=(whole, whole, whole, PartitionSpec(rows, None)),
        out_specs=whole,
        check_vma=False,
    )(q, k, v, segments)


Axes = str | tuple[str, ...] | None


def _axes(
    mesh: AbstractMesh, q_shape: tuple[int, ...], k_shape: tuple[int, ...]
) -> tuple[Axes, Axes]:
    """The mesh axes of rows and of heads; None where their number does not divide."""
    rows, _, heads, _ = sharding.partition_spec(mesh, ("batch", None, "heads", None), q_shape)
    *_, kv_heads, _ = sharding.partition_spec(mesh, ("batch", None, "kv_heads", None), k_shape)
    return rows, heads if kv_heads else None
