"""What the compilers of the CPU and of TPUs make of the fused loss: collectives and products.

The head is gathered once before the scan over chunks and its gradient reduced once after it. Inside
the scan devices send nothing to one another, or a few floats a slot where the vocabulary is split.
A head too large to be gathered whole is gathered part by part, twice.
"""

from __future__ import annotations

import importlib.util
import math

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from xcot_jax import compiled, hlo, sharding, tpu
from xcot_jax.losses import Objective, one_pass_loss
from xcot_jax.settings import MeshSettings

B, T, S, C, D, V, CHUNK = 16, 48, 24, 3, 256, 8_192, 12  # No other size is one of V's shards.
PARTS = 16  # Nor of its parts.
PLATFORMS = ("cpu", "v5e:2x4")
MESHES = {
    "fsdp": MeshSettings(fsdp=8),
    "tensor": MeshSettings(fsdp=1, tensor=8),
    "fsdp x tensor": MeshSettings(fsdp=2, tensor=4),
}
HEADS = ("own", "tied", "frozen")


@pytest.fixture(scope="module", params=PLATFORMS)
def devices(request):
    if request.param == "cpu":
        return jax.devices()
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("libtpu is not installed")
    return tpu.topology_devices(request.param)


@pytest.fixture(scope="module")
def programs(devices):
    """The program of each mesh and kind of head, compiled when first asked for."""
    made = {}

    def get(mesh, head):
        if (mesh, head) not in made:
            made[mesh, head] = compile_loss(sharding.make_mesh(MESHES[mesh], devices), head)
        return made[mesh, head]

    return get


def compile_loss(mesh, head, parts=1):
    """Loss and gradients: of hidden states and head or embedding; without the latter if frozen."""
    rows = sharding.batch_sharding(mesh)
    axes, shape = ("embed", "vocab"), (D, V)
    if head == "tied":
        axes, shape = axes[::-1], shape[::-1]
    where = sharding.logical_to_sharding(mesh, axes, shape)

    def abstract(shape, dtype, where=rows):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=where)

    slots = compiled.abstract_batch(B, compiled.RowShape(T, S, C), mesh).slots

    def loss(hidden, weights, slots):
        return one_pass_loss(
            hidden,
            weights.T if head == "tied" else weights,
            slots,
            Objective(beta=0.5, temperature=2.0, chunk_slots=CHUNK, head_parts=parts),
            frozen_head=head == "frozen",
            mesh=mesh,
        ).loss

    trained = (0,) if head == "frozen" else (0, 1)
    gradients = (rows, where)[: len(trained)]
    program = jax.jit(
        jax.value_and_grad(loss, argnums=trained),
        out_shardings=(NamedSharding(mesh, PartitionSpec()), gradients),
    )
    lowered = program.lower(
        abstract((B, T, D), jnp.bfloat16), abstract(shape, jnp.float32, where), slots
    )
    return hlo.parse(lowered.compile().as_text())


def of_the_head(collectives, mesh, parts=1):
    """Those whose arrays have the vocabulary, or a device's share or part of it, as an axis."""
    words = V // MESHES[mesh].tensor // parts
    return [c for c in collectives if any(words in shape.sizes for shape in c.shapes)]


cases = pytest.mark.parametrize(("mesh", "head"), [(m, h) for m in MESHES for h in HEADS])


@cases
def test_the_head_is_gathered_once_and_its_gradient_reduced_once(programs, mesh, head):
    found = of_the_head(hlo.collectives(programs(mesh, head)), mesh)
    gathers = [c for c in found if c.kind == "all-gather"]
    reductions = [c for c in found if c.kind in ("reduce-scatter", "all-reduce")]
    shared = MESHES[mesh].fsdp > 1
    assert len(found) == len(gathers) + len(reductions)
    assert len(gathers) == (1 if shared else 0)
    assert len(reductions) == (1 if shared and head != "frozen" else 0)
    assert not any(c.loops for c in found)
    assert all(c.group_size == MESHES[mesh].fsdp for c in found)


@cases
def test_the_scan_over_chunks_sends_a_few_floats_of_a_slot_or_nothing(programs, mesh, head):
    program = programs(mesh, head)
    chunks = math.ceil(B // MESHES[mesh].fsdp * S / CHUNK)
    loops = [line for line in program.instructions() if line.opcode == "while"]
    assert chunks in [hlo.trip_count(program, loop) for loop in loops]
    inside = [c for c in hlo.collectives(program) if c.loops]
    if MESHES[mesh].tensor == 1:
        assert not inside
        return
    assert {c.kind for c in inside} == {"all-reduce"}
    assert {c.loops for c in inside} == {(chunks,)}
    # For CE, the divergence at a temperature of its own: two largest logits, two sums, two terms.
    assert sum(c.bytes for c in inside) <= 6 * 4 * CHUNK * C


@cases
def test_a_frozen_head_saves_the_product_of_its_gradient(programs, mesh, head):
    words = V // MESHES[mesh].tensor
    products = [
        line
        for line in programs(mesh, head).instructions()
        if line.opcode in ("dot", "convolution")
        and any(sorted(s for s in shape.sizes if s > 1) == [D, words] for shape in line.shapes)
    ]
    assert len(products) == (0 if head == "frozen" else 1)


@pytest.mark.parametrize("mesh", ["fsdp", "fsdp x tensor"])
def test_the_head_travels_in_the_compute_type_and_its_gradient_in_fp32(programs, devices, mesh):
    gather, reduction = of_the_head(hlo.collectives(programs(mesh, "own")), mesh)
    assert gather.kind == "all-gather"
    if devices[0].platform == "tpu":  # The CPU's compiler widens what it gathers.
        assert {shape.dtype for shape in gather.shapes} == {"bf16"}
    assert {shape.dtype for shape in reduction.shapes} == {"f32"}


@pytest.mark.parametrize("mesh", ["fsdp", "fsdp x tensor"])
def test_a_head_in_parts_travels_between_the_scans_over_chunks(devices, mesh):
    program = compile_loss(sharding.make_mesh(MESHES[mesh], devices), "own", PARTS)
    collectives = hlo.collectives(program)
    parts = of_the_head(collectives, mesh, PARTS)
    assert sorted(c.kind for c in parts if c.kind == "all-gather") == 2 * ["all-gather"]
    assert len(parts) == 3  # The other one sums the gradient.
    assert {c.loops for c in parts} == {(PARTS,)}
    assert not of_the_head(collectives, mesh)
    assert not [c for c in collectives if len(c.loops) > 1]
