"""The least time of a step: the slowest of three, and MFU from what the model needs alone."""

from __future__ import annotations

import dataclasses

import pytest

from xcot_jax.devices import KINDS, Kind
from xcot_jax.models.counting import training_flops
from xcot_jax.models.presets import PRESETS
from xcot_jax.roofline import Work, roofline, step_flops

CHIP = Kind(flops=100.0, memory=1, bandwidth=10.0, links=1.0)


@pytest.mark.parametrize(
    ("work", "binding", "seconds", "mfu"),
    [
        (Work(150, 200, 10, 1), "compute", 2.0, 0.75),
        (Work(150, 200, 30, 1), "memory", 3.0, 0.5),
        (Work(150, 200, 30, 6), "links", 6.0, 0.25),
    ],
)
def test_the_slowest_bound_decides(work, binding, seconds, mfu):
    bounds = roofline(work, CHIP)
    assert (bounds.binding, bounds.seconds, bounds.mfu) == (binding, seconds, mfu)


def test_recomputing_whole_blocks_adds_a_forward_pass_without_the_head():
    config = dataclasses.replace(PRESETS["tiny"], remat="full")
    sizes = {"rows": 6, "tokens": 64, "slots": 16, "columns": 2}
    model, executed = step_flops(config, **sizes)
    assert model == training_flops(config, [64] * 6, 6 * 16 * 2)
    assert executed - model == training_flops(config, [64] * 6, 0) // 3
    plain = dataclasses.replace(config, remat="none")
    assert step_flops(plain, **sizes) == (model, model)


@pytest.mark.parametrize("name", [name for name in KINDS if name.startswith("TPU v")])
def test_every_generation_has_all_rates(name):
    kind = KINDS[name]
    # So far they grew together; bits for bytes would leave these bands.
    assert 100 < kind.flops / kind.bandwidth < 1_000
    assert 3 < kind.bandwidth / kind.links < 6
