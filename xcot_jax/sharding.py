"""The device mesh, and the one table from logical axes to mesh axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from xcot_jax.errors import InputError
from xcot_jax.settings import MeshSettings

MESH_AXES = ("data", "fsdp", "tensor")

BATCH_AXES = ("data", "fsdp")
"""The mesh axes over which rows of a batch are spread."""

LogicalAxes = tuple[str | None, ...]

RULES: dict[str, str | tuple[str, ...] | None] = {
    "batch": BATCH_AXES,
    "layers": None,
    "vocab": "tensor",
    "embed": "fsdp",
    "heads": "tensor",
    "kv_heads": "tensor",
    "head": None,
    "mlp": "tensor",
    "norm": None,
    "rank": None,
}
"""Logical axis -> mesh axis or axes. Nothing else in the library names a mesh axis of a weight."""


class MeshError(InputError):
    """A mesh that the devices at hand cannot form."""


def make_mesh(settings: MeshSettings, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh over all devices (or `devices`), its sizes taken from settings.

    Raises:
      MeshError: when more than one size is -1, a size is 0, or the product is not the number of
        devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [getattr(settings, axis) for axis in MESH_AXES]
    asked = ", ".join(f"mesh.{axis}={size}" for axis, size in zip(MESH_AXES, sizes, strict=True))
    if sizes.count(-1) > 1 or 0 in sizes:
        raise MeshError(f"{asked}: one size at most may be -1, and none 0")
    fixed = math.prod(size for size in sizes if size > 0)
    if -1 in sizes:
        if len(devices) % fixed:
            raise MeshError(
                f"{asked}: {len(devices)} devices do not divide by {fixed}; choose sizes whose "
                f"product divides {len(devices)}"
            )
        sizes[sizes.index(-1)] = len(devices) // fixed
    elif fixed != len(devices):
        raise MeshError(
            f"{asked}: the product is {fixed}, but there are {len(devices)} devices; set one size "
            "to -1 to let it take the rest"
        )
    return jax.make_mesh(
        tuple(sizes), MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES), devices=devices
    )


def partition_spec(
    mesh: Mesh | AbstractMesh, axes: LogicalAxes, shape: Sequence[int]
) -> PartitionSpec:
    """How an array is split; an axis whose length its mesh axes do not divide stays whole.

    Raises:
      KeyError: for a logical axis without a rule.
      ValueError: when `axes` and `shape` differ in length.
    """
    return PartitionSpec(
        *(
            RULES[axis] if axis is not None and _divides(mesh, axis, size) else None
            for axis, size in zip(axes, shape, strict=True)
        )
    )


def logical_to_sharding(mesh: Mesh, axes: LogicalAxes, shape: Sequence[int]) -> NamedSharding:
    """The sharding of an array with these logical axes (see `partition_spec`)."""
    return NamedSharding(mesh, partition_spec(mesh, axes, shape))


def tree_shardings(mesh: Mesh, axes: Any, shapes: Any) -> Any:
    """Shardings of a tree of arrays or shapes, from a matching tree of logical axes."""
    return jax.tree.map(
        lambda leaf, leaf_axes: logical_to_sharding(mesh, leaf_axes, leaf.shape), shapes, axes
    )


def unsharded(mesh: Mesh, axes: Any, shapes: Any) -> list[str]:
    """Lists the axes that stay whole on every device although a rule would split them.

    Returns:
      lines such as "embedding: vocab of 1001 does not divide by tensor=8".
    """
    lines: list[str] = []

    def inspect(path: Any, leaf: Any, leaf_axes: LogicalAxes) -> None:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        for axis, size in zip(leaf_axes, leaf.shape, strict=True):
            if axis is not None and not _divides(mesh, axis, size):
                rule = "+".join(_mesh_axes(axis))
                lines.append(
                    f"{name}: {axis} of {size} does not divide by {rule}={_ways(mesh, axis)}"
                )

    jax.tree_util.tree_map_with_path(inspect, shapes, axes)
    return lines


def constrain(x: jax.Array, axes: LogicalAxes) -> jax.Array:
    """Tells the compiler how an intermediate array is split over the mesh of `jax.set_mesh`.

    Without such a mesh the array is returned as it is, and the compiler decides.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.are_all_axes_manual:
        return x
    return jax.lax.with_sharding_constraint(x, partition_spec(mesh, axes, x.shape))


def platform() -> str:
    """What the program being traced will run on: "cpu", "gpu" or "tpu".

    It is the platform of the mesh in context, or else of JAX's default backend.
    They differ where a program is compiled for machines that are not there.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    name = device.platform if device is not None else jax.default_backend()
    return "gpu" if name in ("cuda", "rocm") else name


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows spread over the data and fsdp axes; everything else whole."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def held_rows(where: NamedSharding, rows: int) -> list[int]:
    """Which rows of a batch of so many the devices of this process hold, in ascending order."""
    parts = where.addressable_devices_indices_map((rows,)).values()
    return sorted({row for part in parts if part for row in range(*part[0].indices(rows))})


def from_hosts(x: np.ndarray, where: NamedSharding) -> jax.Array:
    """An array on the mesh from the same whole array in every process."""
    return jax.make_array_from_callback(x.shape, where, lambda part: x[part])


def on_host(x: jax.Array) -> np.ndarray:
    """A whole array, in every process; they all call it, in the same order."""
    if x.is_fully_addressable or x.is_fully_replicated:
        return np.asarray(x)
    return multihost_utils.process_allgather(x, tiled=True)


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_ways(mesh: Mesh) -> int:
    """Shards a batch is split into; the rows of a batch must divide by it."""
    return _ways(mesh, "batch")


def _mesh_axes(axis: str) -> tuple[str, ...]:
    rule = RULES[axis]
    if rule is None:
        return ()
    return (rule,) if isinstance(rule, str) else rule


def _ways(mesh: Mesh | AbstractMesh, axis: str) -> int:
    return math.prod(mesh.shape[name] for name in _mesh_axes(axis))


def _divides(mesh: Mesh | AbstractMesh, axis: str, size: int) -> bool:
    return size % _ways(mesh, axis) == 0
