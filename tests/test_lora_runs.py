"""Runs that train adapters: stopped and killed, what they leave on disk, eval, and exports."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import checkpoints
from tests.test_train import arguments, exact, read, wait_for_step
from xcot_jax import cli, export, metrics, sharding, weights
from xcot_jax import config as config_files
from xcot_jax.data import loader
from xcot_jax.errors import InputError
from xcot_jax.models import lora, transformer
from xcot_jax.models.counting import parameter_count, trained_count

torch = pytest.importorskip("torch")

RUN = {
    "model__width": 0,
    "model__layers": 0,
    "model__heads": 0,
    "model__tied_head": False,
    "model__lora__rank": 3,
    "model__lora__alpha": 5.0,
}


@pytest.fixture(scope="module")
def base(dataset, tmp_path_factory):
    """A checkpoint in bfloat16 that the dataset's tokenizer fits."""
    directory = tmp_path_factory.mktemp("base")
    tokenizer = loader.load_tokenizer(dataset / "tokenizer.model")
    checkpoints.make("llama3", directory, "bfloat16", vocab_size=tokenizer.vocab_size + 5)
    return directory


def command(workdir, dataset, base, **changes):
    changes = RUN | {"model__init_from": base} | changes
    return [*arguments("train", workdir, dataset, **changes), "--no-progress"]


def files(directory):
    return {path: path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def trained(dataset, base, tmp_path_factory):
    """An undisturbed run on eight devices."""
    workdir = tmp_path_factory.mktemp("runs") / "lora"
    before = files(base)
    cli.run(command(workdir, dataset, base))
    assert files(base) == before
    return workdir


def restored(workdir):
    """Decoder and weights of a run, as evaluation and export read them; and of its base."""
    settings = config_files.load(workdir / "config.json")
    tokenizer = loader.find_tokenizer(settings)
    config = weights.model_config(settings, tokenizer, workdir)
    config = dataclasses.replace(config, compute_dtype="float32")
    mesh = sharding.make_mesh(settings.mesh)
    params, _ = weights.trained(settings, config, mesh, workdir)
    return settings, config, params


def test_the_loss_falls_and_eval_and_generate_work(trained, dataset, capsys):
    steps = [row for row in read(trained) if "loss" in row]
    assert [row["step"] for row in steps] == list(range(1, 25))
    assert steps[-1]["loss"] < 0.8 * steps[0]["loss"]
    print("MEASURE loss", steps[0]["loss"], steps[-1]["loss"])
    cli.run(["eval", f"--workdir={trained}", "--config.eval.limit=1"])
    (result,) = json.loads((trained / "eval" / "results.json").read_text())["results"]
    assert result["step"] == 24
    cli.run(["generate", f"--workdir={trained}", "Anna has 4 cups."])
    assert "> Anna has 4 cups." in capsys.readouterr().out


def test_checkpoints_hold_adapters_and_their_moments_only(trained, base):
    _, config, params = restored(trained)
    state = trained / "checkpoints" / "24" / "state"
    size = sum(len(content) for content in files(state).values())
    expected = 3 * 4 * trained_count(config)
    print("MEASURE bytes", size, expected, size / expected, 4 * parameter_count(config))
    assert 0.8 * expected < size < 1.3 * expected + 20_000
    assert size < 4 * parameter_count(config) / 3
    # Two checkpoints, logs and all: less than a copy of the base would take.
    written = sum(len(content) for content in files(trained / "checkpoints").values())
    assert written < (base / "model.safetensors").stat().st_size

    names = {
        tuple(key["key"] for key in entry["key_metadata"])
        for entry in json.loads((state / "_METADATA").read_text())["tree_metadata"].values()
    }
    held = [name for name in names if name[0] == "params"]
    assert len(held) == len(jax.tree.leaves(lora.trained_part(params, config)))
    assert {name[-1] for name in held} == set(lora.ADAPTER)
    moments = [name for name in names if {"mu", "nu"} & set(name)]
    assert len(moments) == 2 * len(held)
    assert {name[-1] for name in moments} == set(lora.ADAPTER)
