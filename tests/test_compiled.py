"""The training step compiled for TPUs that are not there."""

from __future__ import annotations

import dataclasses
import importlib.util

import jax
import pytest

from xcot_jax import compiled, tpu
from xcot_jax.errors import InputError
from xcot_jax.losses import Objective
from xcot_jax.models import transformer
from xcot_jax.models.config import Lora
from xcot_jax.models.presets import PRESETS
from xcot_jax.settings import MeshSettings, OptimSettings

ROW = compiled.RowShape(tokens=256, slots=64)
OBJECTIVE = Objective(beta=0.5)
CONFIG = dataclasses.replace(  # An eighth of every axis that is split fills whole tiles.
    PRESETS["tiny"],
    remat="full",
    vocab_size=4_096,
    width=1_024,
    layers=3,
    heads=8,
    kv_heads=8,
    head_width=128,
    ffn_width=2_048,
    attention_kernel="plain",  # The quickest to compile.
)

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed"
)


def compile_step(config=CONFIG, rows=8, mesh=None, **options):
    mesh = mesh or MeshSettings(fsdp=8)
    options = {"row": ROW, "objective": OBJECTIVE} | options
    return compiled.compile_step(config, mesh, "v5e:2x4", rows=rows, **options)


@pytest.fixture(scope="module")
def step():
    return compile_step()


@needs_libtpu
def test_arguments_are_a_chips_share_of_the_state_and_the_batch(step):
    shapes = jax.tree.leaves(transformer.param_shapes(CONFIG))
    state = 3 * 4 * sum(leaf.size for leaf in shapes)  # fp32: weights and both moments.
    assert (step.chips, step.mesh["fsdp"], step.rows) == (8, 8, 8)
    # Scales of norms and the batch are small beside.
    assert state / 8 < step.memory.arguments < 1.02 * state / 8
    assert step.memory.outputs < 0.01 * step.memory.arguments  # The state is updated in place.
    assert step.memory.total >= step.memory.arguments + step.memory.temporaries


@needs_libtpu
def test_weights_are_gathered_and_gradients_reduced_in_every_layer(step):
    in_layers = [c for c in step.collectives if CONFIG.layers in c.loops]
    kinds = {c.kind for c in in_layers}
    assert "all-gather" in kinds and kinds & {"reduce-scatter", "all-reduce"}
    matrices = sum(
        leaf.size // CONFIG.layers
        for path, leaf in jax.tree_util.tree_leaves_with_path(transformer.param_shapes(CONFIG))
        if "blocks" in jax.tree_util.keystr(path) and leaf.ndim > 2
    )
    # bfloat16, forward and, recomputed, backward.
    gathered = sum(c.total_bytes for c in in_layers if c.kind == "all-gather")
    assert gathered >= 2 * 2 * matrices * CONFIG.layers
    totals = step.bytes_by_kind()
    assert totals["all-gather"] >= gathered
    assert sum(totals.values()) == sum(c.total_bytes for c in step.collectives)


@needs_libtpu
def test_more_rows_take_more_temporaries_and_no_more_arguments_but_themselves(step):
    more = compile_step(rows=32)
    assert more.memory.temporaries > step.memory.temporaries
    batch = (32 - 8) // 8 * (3 * ROW.tokens + 5 * ROW.slots * ROW.columns) * 4
    assert abs(more.memory.arguments - step.memory.arguments - batch) < 64 * 2**10


@needs_libtpu
def test_adapters_leave_the_state_small():
    config = dataclasses.replace(CONFIG, lora=Lora(4, 8.0, ("query", "value")))
    adapted = compile_step(config, mesh=MeshSettings(fsdp=4, tensor=2))
    frozen = 2 * sum(leaf.size for leaf in jax.tree.leaves(transformer.param_shapes(CONFIG)))
    assert frozen / 8 < adapted.memory.arguments < 1.1 * frozen / 8 + 2**20


@needs_libtpu
def test_too_much_for_a_chip_tells_how_much():
    config = dataclasses.replace(CONFIG, remat="none")
    with pytest.raises(compiled.OutOfMemoryError, match="15.75") as error:
        compile_step(config, rows=8 * 4_096)
    assert error.value.needed > error.value.limit == int(15.75 * 2**30)


@needs_libtpu
@pytest.mark.parametrize("topology", ["v5e:3x7", "v5p:8"])
def test_a_slice_that_is_not_built_is_refused(topology):
    with pytest.raises(InputError, match="v5p:4x4x4"):
        tpu.topology_devices(topology)


@needs_libtpu
@pytest.mark.parametrize("generation", tpu.GENERATIONS)
def test_every_generation_has_a_device_for_each_chip(generation):
    row = tpu.GENERATIONS[generation]
    assert len(tpu.topology_devices(f"{generation}:{row.example}")) == 64


@needs_libtpu
def test_rows_that_do_not_divide_are_refused():
    with pytest.raises(InputError, match="multiple of 16"):
        compile_step(rows=8, optim=OptimSettings(accumulate=2))


@pytest.mark.parametrize("topology", ["", "v5e", "v9:2x2", "8x8", "v5e:8by8"])
def test_an_unknown_name_is_answered_with_known_ones(topology):
    with pytest.raises(InputError, match="v5e:8x8"):
        tpu.topology_devices(topology)


def test_without_libtpu_the_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install libtpu"):
        tpu.topology_devices("v5e:2x4")


@pytest.mark.parametrize(
    ("message", "needed", "limit"),
    [
        (
            "the total memory required for HLO temporaries (96.02G) exceeds available HBM (15.75G)",
            96.02 * 2**30,
            15.75 * 2**30,
        ),
        ("Used 17.5G of 512.00M hbm. Exceeded hbm capacity by 17G", 17.5 * 2**30, 2**29),
    ],
)
def test_messages_of_the_compiler_about_memory_are_understood(message, needed, limit):
    error = compiled.out_of_memory(message, "it")
    assert (error.needed, error.limit) == (int(needed), int(limit))
    assert compiled.out_of_memory("INTERNAL: something else", "it") is None
