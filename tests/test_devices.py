"""Kinds of devices are told apart by name, and decide how much of the loss is evaluated at once."""

import types

import jax
import pytest

from xcot_jax import devices, sharding
from xcot_jax.losses import Objective
from xcot_jax.losses.plan import Plan
from xcot_jax.models.logits import LogitRule


@pytest.mark.parametrize(
    ("name", "gib"),
    [
        ("TPU v5 lite", 16),
        ("TPU v5", 95),
        ("TPU v6 lite", 32),
        ("NVIDIA H100 80GB HBM3", 80),
        ("cpu", None),
    ],
)
def test_a_device_has_the_memory_of_its_kind(name, gib):
    kind = devices.kind_of(types.SimpleNamespace(device_kind=name))
    assert (kind.memory / devices.GIB if kind else None) == gib


def plan(name, platform, **objective):
    device = types.SimpleNamespace(device_kind=name, platform=platform)
    return Plan(Objective(**objective), LogitRule(8), False, None, device)


def test_chunks_take_a_share_of_memory_at_most():
    for vocabulary in (32_000, 151_936, 250_880):
        slots = plan("TPU v5 lite", "tpu").chunk_slots(2, vocabulary)
        assert 4 * 2 * slots * vocabulary <= 16 * devices.GIB / 32
    assert plan("NVIDIA H200", "gpu").chunk_slots(2, 250_880) == 1_024
    assert plan("cpu", "cpu").chunk_slots(4, 250_880) == 32
    assert plan("cpu", "cpu", chunk_slots=5).chunk_slots(4, 250_880) == 5
    assert plan("TPU v5 lite", "tpu").chunk_slots(16, 10**8) == 8


def test_the_peak_is_measured_where_no_maker_tells_it():
    assert 1e8 < devices.peak_flops() < 1e15


def test_the_platform_is_that_of_the_mesh_in_context():
    assert sharding.platform() == "cpu"
    mesh = jax.sharding.AbstractMesh(
        (1,),
        ("data",),
        axis_types=(jax.sharding.AxisType.Auto,),
        abstract_device=jax.sharding.AbstractDevice("TPU v4", num_cores=1, platform="tpu"),
    )
    with jax.sharding.use_abstract_mesh(mesh):
        assert sharding.platform() == "tpu"


def test_a_head_that_would_fill_memory_is_gathered_in_parts():
    per_weight = 6  # A bf16 weight and its fp32 gradient.
    small = plan("TPU v5 lite", "tpu")
    assert small.head_parts(4096, 32_000, per_weight) == 1
    parts = small.head_parts(4096, 250_880, per_weight)
    assert 4096 * 250_880 * per_weight / parts <= 16 * devices.GIB / 16
    assert plan("TPU v5p", "tpu").head_parts(4096, 250_880, per_weight) == 1
    assert plan("TPU v5 lite", "tpu", head_parts=5).head_parts(8, 35, per_weight) == 5
    assert small.head_parts(2**14, 3 * 2**17, per_weight) > 1
    assert small.head_parts(2**14, 3**12, per_weight) == 1  # Nothing divides it.
    assert plan("cpu", "cpu").head_parts(4096, 250_880, per_weight) == 1
