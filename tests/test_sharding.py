"""Meshes from settings, and the rules table."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from xcot_jax import sharding
from xcot_jax.settings import MeshSettings


def test_minus_one_takes_the_rest():
    mesh = sharding.make_mesh(MeshSettings(data=2, fsdp=-1, tensor=2))
    assert dict(mesh.shape) == {"data": 2, "fsdp": 2, "tensor": 2}
    assert sharding.batch_ways(mesh) == 4


def test_one_device_makes_a_mesh():
    assert sharding.make_mesh(MeshSettings(), jax.devices()[:1]).size == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (MeshSettings(data=3), "mesh.data=3, mesh.fsdp=-1.*8 devices do not divide by 3"),
        (MeshSettings(data=2, fsdp=2, tensor=1), "the product is 4, but there are 8 devices"),
        (MeshSettings(data=-1, fsdp=-1), "one size at most may be -1"),
        (MeshSettings(data=0), "none 0"),
    ],
)
def test_devices_that_do_not_divide_are_an_error(settings, message):
    with pytest.raises(sharding.MeshError, match=message):
        sharding.make_mesh(settings)


def test_axes_follow_the_table_and_stay_whole_where_they_do_not_divide():
    mesh = sharding.make_mesh(MeshSettings(fsdp=4, tensor=2))
    spec = sharding.partition_spec(mesh, ("layers", "embed", "heads", "head"), (3, 64, 4, 16))
    assert spec == PartitionSpec(None, "fsdp", "tensor", None)
    spec = sharding.partition_spec(mesh, ("layers", "embed", "heads", "head"), (3, 66, 3, 16))
    assert spec == PartitionSpec(None, None, None, None)


def test_axes_that_stay_whole_are_listed():
    mesh = sharding.make_mesh(MeshSettings(fsdp=4, tensor=2))
    axes = {"embedding": ("vocab", "embed"), "blocks": {"gate": ("layers", "embed", "mlp")}}
    shapes = {
        "embedding": jax.ShapeDtypeStruct((1001, 64), jnp.float32),
        "blocks": {"gate": jax.ShapeDtypeStruct((3, 62, 96), jnp.float32)},
    }
    assert sharding.unsharded(mesh, axes, shapes) == [
        "blocks.gate: embed of 62 does not divide by fsdp=4",
        "embedding: vocab of 1001 does not divide by tensor=2",
    ]


def test_an_unknown_logical_axis_is_an_error():
    mesh = sharding.make_mesh(MeshSettings())
    with pytest.raises(KeyError, match="width"):
        sharding.partition_spec(mesh, ("width",), (8,))


def test_rows_are_spread_over_data_and_fsdp():
    mesh = sharding.make_mesh(MeshSettings(data=2, fsdp=2, tensor=2))
    rows = jax.device_put(jnp.zeros((8, 3)), sharding.batch_sharding(mesh))
    assert {shard.data.shape for shard in rows.addressable_shards} == {(2, 3)}


def test_constraints_need_the_mesh_to_be_set():
    mesh = sharding.make_mesh(MeshSettings(fsdp=8))
    constrained = jax.jit(lambda x: sharding.constrain(x + 1, ("batch", None)))
    x = jnp.zeros((16, 2))
    assert constrained(x).sharding.num_devices == 1
    with jax.set_mesh(mesh):
        spread = constrained(jax.device_put(x, sharding.replicated(mesh)))
    assert spread.addressable_shards[0].data.shape == (2, 2)
