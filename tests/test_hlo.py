"""The reader of optimized HLO, on what compilers make of small programs and on forms they may."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from xcot_jax import hlo, sharding
from xcot_jax.settings import MeshSettings

WIDTH = 32


@pytest.fixture(scope="module")
def mesh():
    return sharding.make_mesh(MeshSettings(data=2, fsdp=4))


def collectives(function, mesh, out=None):
    """Those of a function of each device's share of `[64, WIDTH]` in fp32, split by rows."""
    rows = PartitionSpec(("data", "fsdp"))
    program = jax.jit(
        jax.shard_map(function, mesh=mesh, in_specs=rows, out_specs=out or rows, check_vma=False)
    )
    text = program.lower(jax.ShapeDtypeStruct((64, WIDTH), jnp.float32)).compile().as_text()
    return hlo.collectives(hlo.parse(text))


SHARE = 8 * WIDTH * 4
OPERATIONS = {
    "all-gather": (functools.partial(jax.lax.all_gather, axis_name="fsdp"), 4 * SHARE, 4),
    "all-reduce": (functools.partial(jax.lax.psum, axis_name=("data", "fsdp")), SHARE, 8),
    "reduce-scatter": (
        functools.partial(jax.lax.psum_scatter, axis_name="fsdp", tiled=True),
        SHARE,
        4,
    ),
    "all-to-all": (
        functools.partial(
            jax.lax.all_to_all, axis_name="data", split_axis=0, concat_axis=0, tiled=True
        ),
        SHARE,
        2,
    ),
    "collective-permute": (
        functools.partial(jax.lax.ppermute, axis_name="data", perm=[(0, 1), (1, 0)]),
        SHARE,
        2,
    ),
}


@pytest.mark.parametrize("kind", OPERATIONS)
def test_each_operation_counts_its_whole_array_and_its_group(kind, mesh):
    operation, size, group = OPERATIONS[kind]
    (found,) = collectives(operation, mesh, PartitionSpec())
    assert (found.kind, found.bytes, found.group_size) == (kind, size, group)
    assert found.loops == () and found.total_bytes == size
    assert {shape.dtype for shape in found.shapes} == {"f32"}


def test_an_operation_in_loops_counts_for_each_of_their_trips(mesh):
    def inner(x, _):
        # What is summed depends on the sum before, so that it cannot be taken out of the loop.
        return jnp.sin(jax.lax.psum(x, "fsdp")), None

    def outer(x, _):
        return jnp.cos(jax.lax.scan(inner, x, None, length=5)[0]), None

    (found,) = collectives(lambda x: jax.lax.scan(outer, x, None, length=7)[0], mesh)
    assert found.loops == (7, 5)
    assert found.total_bytes == 35 * SHARE


def test_a_loop_of_unknown_length_is_known_as_such(mesh):
    def advance(x):
        return jnp.sin(jax.lax.psum(x, "fsdp"))

    found = collectives(lambda x: jax.lax.while_loop(lambda x: x.sum() > 1, advance, x), mesh)
    assert (None,) in [c.loops for c in found]
    assert all(c.trips == 1 for c in found)


def test_both_branches_count(mesh):
    def choose(x):
        return jax.lax.cond(
            jax.lax.pmax(x[0, 0], ("data", "fsdp")) > 0,
            lambda: jax.lax.psum(x, "fsdp"),
            lambda: 2.0 * jax.lax.psum(x, "data"),
        )

    found = [c for c in collectives(choose, mesh) if c.bytes == SHARE]
    assert sorted(c.group_size for c in found) == [2, 4]


def test_alone_a_device_sends_nothing():
    alone = sharding.make_mesh(MeshSettings(fsdp=1), jax.devices()[:1])
    assert collectives(functools.partial(jax.lax.psum, axis_name="fsdp"), alone) == ()


SCHEDULED = """HloModule example, is_scheduled=true

%add (a: bf16[], b: bf16[]) -> bf16[] {
  %a = bf16[] parameter(0)
  %b = bf16[] parameter(1)
  ROOT %sum = bf16[] add(%a, %b)
}

%scatter (p: f32[64,128]) -> f32[16,128] {
  %p = f32[64,128]{1,0:T(8,128)} parameter(0)
  ROOT %rs = f32[16,128]{1,0} reduce-scatter(%p), replica_groups=[2,4]<=[8], dimensions={0}
}

%begin (q: bf16[8,32]) -> (bf16[8,32], bf16[64,32], u32[]) {
  %q = bf16[8,32] parameter(0)
  %g.1 = bf16[64,32] all-gather(%q), replica_groups=mesh['a'=2,'b'=4] {'a', 'b'}, \
frontend_attributes={chain_id="3"}
  ROOT %s = (bf16[8,32], bf16[64,32], u32[]) custom-call(%g.1), custom_call_target="Start"
}

%finish (q2: bf16[8,32]) -> bf16[64,32] {
  %q2 = bf16[8,32] parameter(0)
  ROOT %g.2 = bf16[64,32] all-gather(%q2), replica_groups=mesh['a'=2,'b'=4] {'a', 'b'}, \
frontend_attributes={chain_id="3"}
}

%all-reduce-scatter.5 (v: bf16[8,32]) -> bf16[2,32] {
  %v = bf16[8,32] parameter(0)
  %whole = bf16[8,32] all-reduce(%v), replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add
  ROOT %part = bf16[2,32] slice(%whole), slice={[0:2], [0:32]}
}

%body (c: (s32[], bf16[8,32])) -> (s32[], bf16[8,32]) {
  %c = (s32[]{:T(128)}, bf16[8,32]{1,0:T(8,128)(2,1)S(1)}) parameter(0)
  %i = s32[] get-tuple-element(%c), index=0
  %x = bf16[8,32] get-tuple-element(%c), index=1
  %kernel = bf16[8,32] custom-call(%x), custom_call_target="kernel", frontend_attributes={note="{
"block": 256
}}, metadata={op_name="jit(f)/kernel"}
  %kept = bf16[2,32] fusion(%kernel), kind=kCustom, calls=%all-reduce-scatter.5
  %f.1 = (bf16[8,32], bf16[64,32], u32[]) fusion(%x), kind=kCustom, calls=%begin
  %f.2 = bf16[64,32] fusion(%x), kind=kCustom, calls=%finish
  %gs = (bf16[8,32]{1,0}, /*index=1*/bf16[32,32]{1,0}) all-gather-start(%x), \
replica_groups={{0,1,2,3},{4,5,6,7}}, dimensions={0}, metadata={op_name="jit(f)/gather"}
  %gd = bf16[32,32]{1,0} all-gather-done(%gs)
  %rs = bf16[8,32] all-reduce-start(%x), replica_groups={{0,1},{2,3},{4,5},{6,7}}, to_apply=%add
  %rd = bf16[8,32] all-reduce-done(%rs)
  %ps = (bf16[8,32], bf16[8,32], u32[], u32[]) collective-permute-start(%x), \
source_target_pairs={{0,1},{1,0}}
  %pd = bf16[8,32] collective-permute-done(%ps)
  %one = bf16[8,32] all-reduce(%x), replica_groups={{0},{1}}, to_apply=%add
  ROOT %t = (s32[], bf16[8,32]) tuple(%i, %pd)
}

%condition (d: (s32[], bf16[8,32])) -> pred[] {
  %d = (s32[], bf16[8,32]) parameter(0)
  %n = s32[]{:T(128)} constant(6)
  %j = s32[] get-tuple-element(%d), index=0
  ROOT %lt = pred[] compare(%j, %n), direction=LT
}

ENTRY %main (e: (s32[], bf16[8,32]), w: f32[64,128]) -> (s32[], bf16[8,32]) {
  %e = (s32[], bf16[8,32]) parameter(0)
  %w = f32[64,128]{1,0:T(8,128)} parameter(1)
  %as = ((f32[64,128]), f32[16,128], u32[]) async-start(%w), calls=%scatter
  %ad = f32[16,128] async-done(%as)
  ROOT %loop = (s32[], bf16[8,32]) while(%e), condition=%condition, body=%body
}
"""


def test_operations_that_compilers_split_or_fuse_count_once_and_as_what_will_arrive():
    found = hlo.collectives(hlo.parse(SCHEDULED))
    assert [(c.kind, c.bytes, c.group_size, c.loops) for c in found] == [
        ("reduce-scatter", 64 * 128 * 4, 4, ()),
        ("reduce-scatter", 8 * 32 * 2, 4, (6,)),
        ("all-gather", 64 * 32 * 2, 8, (6,)),
        ("all-gather", 32 * 32 * 2, 4, (6,)),
        ("all-reduce", 8 * 32 * 2, 2, (6,)),
        ("collective-permute", 8 * 32 * 2, 2, (6,)),
    ]
    assert list(map(str, found[3].shapes)) == ["bf16[32,32]"]
    assert found[3].op_name == "jit(f)/gather"


def test_sizes_of_element_types():
    sizes = {"pred": 6, "s4": 3, "u8": 6, "f8e4m3fn": 6, "bf16": 12, "f32": 24, "c64": 48}
    assert {t: hlo.ArrayShape(t, (2, 3)).bytes for t in sizes} == sizes
    assert hlo.ArrayShape("token", ()).bytes == 0


def test_other_text_is_refused():
    with pytest.raises(ValueError, match="no ENTRY"):
        hlo.parse("module @jit_f { func.func public @main() }")


LOOP = """HloModule loop

%body (state: (s32[], f32[4])) -> (s32[], f32[4]) {{
  %state = (s32[], f32[4]) parameter(0)
  %index = s32[] get-tuple-element(%state), index=0
  %x = f32[4] get-tuple-element(%state), index=1
  %step = s32[] constant({step})
  %following = s32[] add(%index, %step)
  ROOT %next = (s32[], f32[4]) tuple(%following, %x)
}}

%condition (state.1: (s32[], f32[4])) -> pred[] {{
  %state.1 = (s32[], f32[4]) parameter(0)
  %index.1 = s32[] get-tuple-element(%state.1), index=0
  %limit = s32[] constant({limit})
  ROOT %more = pred[] compare(%index.1, %limit), direction=LT
}}

ENTRY %main (a: (s32[], f32[4])) -> (s32[], f32[4]) {{
  %a = (s32[], f32[4]) parameter(0)
  ROOT %loop = (s32[], f32[4]) while(%a), condition=%condition, body=%body
}}
"""


@pytest.mark.parametrize(("limit", "step", "trips"), [(8, 1, 8), (8, 2, 4), (7, 2, 4)])
def test_an_unrolled_loop_counts_its_bodies(limit, step, trips):
    program = hlo.parse(LOOP.format(limit=limit, step=step))
    (loop,) = (line for line in program.instructions() if line.opcode == "while")
    assert hlo.trip_count(program, loop) == trips
