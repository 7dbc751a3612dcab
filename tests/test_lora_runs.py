"""Runs that train adapters: killed ones, what they leave on disk, evaluation, and exports."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint
import pytest
from safetensors.numpy import load_file, save_file

from tests import checkpoints
from tests.compiling import environment
from tests.test_train import arguments, exact, read, wait_for_step
from xcot_jax import cli, export, sharding, weights
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
    "optim__name": "adamw",  # As users train adapters; runs from scratch have Muon.
}


@pytest.fixture(scope="module")
def base(dataset, tmp_path_factory):
    """A checkpoint in bfloat16 that the dataset's tokenizer fits."""
    directory = tmp_path_factory.mktemp("base")
    tokenizer = loader.load_tokenizer(dataset / "tokenizer.model")
    checkpoints.make("llama3", directory, "bfloat16", vocab_size=tokenizer.vocab_size + 5)
    return directory


def command(workdir, dataset, base, **changes):
    words = dataset / "tokenizer.model"
    changes = RUN | {"model__init_from": base, "data__tokenizer": words} | changes
    return [*arguments("train", workdir, dataset, **changes), "--no-progress"]


def files(directory):
    return {path: path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def on_disk(directory):
    return sum(len(content) for content in files(directory).values())


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
    cli.run(["eval", f"--workdir={trained}", "--config.eval.limit=1"])
    (result,) = json.loads((trained / "eval" / "results.json").read_text())["results"]
    assert result["step"] == 24
    cli.run(["generate", f"--workdir={trained}", "Anna has 4 cups."])
    assert "> Anna has 4 cups." in capsys.readouterr().out


def test_checkpoints_hold_adapters_and_their_moments_only(trained, base):
    _, config, params = restored(trained)
    step = trained / "checkpoints" / "24"
    held = orbax.checkpoint.StandardCheckpointer().metadata(step / "state").item_metadata.tree
    adapters = lora.trained_part(params, config)
    assert jax.tree.structure(held["params"]) == jax.tree.structure(adapters)
    arrays = jax.tree_util.tree_leaves_with_path(held)
    assert {path[-1].key for path, _ in arrays} == {*lora.ADAPTER, "count", "skipped", "step"}
    counters = [leaf for _, leaf in arrays if not leaf.shape]
    expected = 3 * 4 * trained_count(config)
    assert sum(4 * math.prod(leaf.shape) for _, leaf in arrays) == expected + 4 * len(counters)
    # On disk, Orbax keeps small arrays up to four times; a base's weights would be far more.
    assert on_disk(step) < 4 * parameter_count(config) / 2
    around = {name.name for name in trained.iterdir()} - {"eval"}
    known = {"checkpoints", "config.json", "base_config.json", "inputs.json", "metrics.jsonl"}
    assert around == known | {"tensorboard", "run.lock"}
    assert on_disk(trained) - on_disk(trained / "checkpoints") < parameter_count(config) / 2


def test_killed_and_continued_equals_undisturbed(trained, dataset, base, tmp_path):
    again = command(tmp_path / "w", dataset, base)
    process = subprocess.Popen(
        [sys.executable, "-m", "xcot_jax.cli", *again],
        env=environment(os.environ["XLA_FLAGS"]),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for_step(tmp_path / "w", 8, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(exact(tmp_path / "w")) < 24
    cli.run(again)
    assert exact(tmp_path / "w") == exact(trained)


def their_logits(model, tokens):
    with torch.no_grad():
        return model.eval()(torch.as_tensor(tokens)).logits.numpy()


def our_logits(config, params, tokens):
    model = transformer.apply(transformer.graph(config), params)
    places = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32)[None], tokens.shape)
    hidden = model.hidden_states(jnp.asarray(tokens, jnp.int32), places, jnp.ones_like(places))
    return np.asarray(model.logits(hidden))[..., : config.vocab_size]


def test_peft_on_the_base_is_the_merged_export_is_our_model(trained, base, tmp_path):
    library = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    settings, config, params = restored(trained)
    export.export(settings, trained, tmp_path / "adapter", adapter=True)
    export.export(settings, trained, tmp_path / "merged", dtype="float32")
    tokens = np.random.default_rng(0).integers(4, config.vocab_size, (2, 40))
    ours = our_logits(config, params, tokens)

    def read_base(directory):
        return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)

    before = their_logits(read_base(base), tokens)
    merged = their_logits(read_base(tmp_path / "merged"), tokens)
    beside = their_logits(
        library.PeftModel.from_pretrained(read_base(base), tmp_path / "adapter"), tokens
    )
    print(
        "MEASURE export",
        np.abs(ours - merged).max(),
        np.abs(ours - beside).max(),
        np.abs(ours - before).mean(),
    )
    assert np.abs(ours - before).mean() > 0.1
    np.testing.assert_allclose(merged, ours, atol=1e-4, rtol=0)
    np.testing.assert_allclose(beside, ours, atol=1e-4, rtol=0)
    assert not list((tmp_path / "adapter").glob("model*.safetensors"))


def test_a_base_that_changed_on_disk_is_refused(trained, dataset, base, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(base, moved)
    cli.run(command(trained, dataset, moved))  # Complete: nothing to do, and nothing refused.
    path = moved / "model.safetensors"
    kept = files(moved)
    other = {name: array * array.dtype.type(1.5) for name, array in load_file(path).items()}
    save_file(other, path, metadata={"format": "pt"})
    assert len(path.read_bytes()) == len(kept[path]) and path.read_bytes() != kept[path]
    for asked in (
        command(trained, dataset, moved),
        ["eval", f"--workdir={trained}", f"--config.model.init_from={moved}"],
        ["generate", f"--workdir={trained}", f"--config.model.init_from={moved}", "Anna?"],
    ):
        with pytest.raises(InputError, match="another base model"):
            cli.run(asked)
