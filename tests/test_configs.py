"""Every shipped config's training step traces: its model, data, mesh and optimizer fit together."""

from __future__ import annotations

import math
import re
from pathlib import Path

import jax
import pytest

from tests.benchmarks import pods
from xcot_jax import certificate, compiled, config, sharding
from xcot_jax.settings import MeshSettings

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))
BASES = ("finetune", "pod")  # They name no model: that is --config.model.init_from.


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_step_of_a_shipped_config_traces(path):
    overrides = {"model.preset": "llama2_7b"} if path.stem in BASES else {}
    settings = config.load(path, overrides)
    decoder = certificate.decoder(settings)
    rows = settings.data.batch_rows // settings.optim.accumulate
    devices = jax.devices()[: math.gcd(rows, 8)]
    mesh = sharding.make_mesh(MeshSettings(fsdp=len(devices)), devices)
    step, arguments = compiled.abstract_step(decoder, mesh, **certificate.inputs(settings))
    state, measured = jax.eval_shape(step, *arguments)
    shapes = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert shapes(state) == shapes(arguments[0])
    assert measured.loss.shape == ()


@pytest.mark.parametrize("path", [p for p in CONFIGS if "init_from" in p.read_text()])
def test_a_config_of_a_checkpoint_says_which(path):
    model = config.load(path).model
    assert bool(model.preset) == bool(model.init_from)


VARIANT = re.compile(r'^    "(v\d\w+-\d+)": ', re.MULTILINE)


def test_every_variant_is_certified_for_the_slice_it_names():
    certified = {run.config: run.topology for run in pods.CONFIGS}
    for path in (p for p in CONFIGS if p.stem.startswith("xcot_")):
        for variant in VARIANT.findall(path.read_text()):
            generation, _, lengths = certified[f"{path.stem}:{variant}"].partition(":")
            assert variant.startswith(f"{generation}-")
            chips = math.prod(map(int, lengths.split("x")))
            assert config.load(f"{path}:{variant}").mesh.fsdp == chips
