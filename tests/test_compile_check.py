"""`xcot compile` says what the compiler says; what does not fit ends in status 1."""

from __future__ import annotations

import dataclasses
import importlib.util
import json

import pytest

from xcot_jax import certificate, cli, compiled
from xcot_jax.compile_check import compile_check
from xcot_jax.config import load
from xcot_jax.errors import InputError

CONFIG = """
VARIANTS = {"v5e-4": 4}


def get_config(variant=""):
    return {
        "name": "tiny",
        "data": {"row_tokens": 128, "row_slots": 32, "batch_rows": 8},
        "model": {
            "preset": "tiny",
            "layers": 2,
            "width": 256,
            "heads": 2,
            "kv_heads": 2,
            "head_width": 128,
            "ffn_width": 512,
            "remat": "full",
            "attention_kernel": "plain",
        },
        "mesh": {"fsdp": VARIANTS.get(variant, -1)},
    }
"""

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed"
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "run.py"
    file.write_text(CONFIG)
    return file


@pytest.fixture(scope="module")
def printed(path, tmp_path_factory):
    """The command's record of a tiny run."""
    file = tmp_path_factory.mktemp("out") / "figures.json"
    cli.run(["compile", f"--config={path}:v5e-4", "--topology=v5e:2x2", f"--json={file}"])
    return json.loads(file.read_text())


@needs_libtpu
def test_the_record_adds_up(printed):
    assert (printed["fits"], printed["mesh"]["fsdp"], printed["rows_a_chip"]) == (True, 4, 2)
    parts, shares = printed["parts_bytes"], printed["shares"]
    sizes = [
        printed[f"{name}_bytes"] for name in ("arguments", "outputs", "temporaries", "program")
    ]
    assert printed["hbm_bytes"] == sum(sizes) < printed["capacity_bytes"]
    assert 0 <= printed["arguments_bytes"] - sum(parts.values()) < 2**16
    for name, share in shares.items():  # Padding of tiles only adds.
        assert share <= parts[name] <= 1.02 * share + 2**16
    assert shares["optimizer state"] == pytest.approx(2 * shares["parameters"], rel=1e-4)
    assert shares["parameters"] == pytest.approx(4 * printed["parameters"] / 4, rel=1e-2)


@needs_libtpu
def test_the_bounds_are_those_of_the_chip(printed):
    bounds = {name: printed[f"{name}_seconds"] for name in ("compute", "memory", "links")}
    assert bounds["compute"] == pytest.approx(printed["flops"] / 197e12)
    assert bounds["memory"] == pytest.approx(printed["traffic_bytes"] / 819e9)
    assert bounds["links"] == pytest.approx(sum(printed["sent_bytes"].values()) / 200e9)
    assert printed["step_seconds"] == max(bounds.values()) == bounds[printed["binding"]]
    # The state is read and written, and each weight is gathered at least once.
    assert printed["traffic_bytes"] > 2 * printed["arguments_bytes"]
    assert printed["sent_bytes"]["all-gather"] > 2 * printed["parameters"] * 3 / 4 / 2
    assert printed["tokens_per_s"] == pytest.approx(8 * 128 / printed["step_seconds"])


@needs_libtpu
def test_too_much_ends_in_status_1_and_the_search_tells_what_fits(path, monkeypatch, capsys):
    """As if a chip held three rows, the compilations being real."""
    compile_step, tried = compiled.compile_step, []

    def small(config, mesh, topology, *, rows, **options):
        tried.append(rows)
        if rows > 12:
            raise compiled.OutOfMemoryError("needs more; take fewer rows", 2**30, 2**25)
        return compile_step(config, mesh, topology, rows=rows, **options)

    monkeypatch.setattr(certificate.compiled, "compile_step", small)
    arguments = [f"--config={path}", "--topology=v5e:2x2", "--config.data.batch_rows=16"]
    with pytest.raises(SystemExit) as stopped:
        cli.run(["compile", *arguments, "--search"])
    text = capsys.readouterr().out
    assert stopped.value.code == 1 and tried == [16, 12]
    assert "DOES NOT FIT: needs more; take fewer rows" in text
    assert "batch_rows=8;" in text and "accumulate=4;" in text
    assert "most rows a chip at once: 3" in text


@needs_libtpu
@pytest.mark.parametrize(
    ("overrides", "topology", "message"),
    [
        ({"data.batch_rows": "6"}, "v5e:2x2", r"batch_rows=6 does not divide.*multiple of 4"),
        ({"mesh.fsdp": "8"}, "v5e:2x2", r"product is 8, but there are 4 devices.*-1"),
        ({"mesh.tensor": "3"}, "v5e:2x2", r"4 devices do not divide by 3"),
        ({}, "v5e:3x7", "libtpu knows no topology 'v5e:3x7'"),
    ],
)
def test_what_does_not_go_together_is_refused_before_compiling(path, overrides, topology, message):
    with pytest.raises(InputError, match=message):
        compile_check(load(path, overrides), "run", topology)


def test_an_unknown_topology_is_answered_with_known_ones(path):
    with pytest.raises(InputError, match=r"'v7:2x2' is not a TPU topology.*v5e:8x8"):
        compile_check(load(path), "run", "v7:2x2")


def test_the_decoder_needs_no_tokenizer_and_no_checkpoint(path, tmp_path):
    settings = load(path)
    assert certificate.decoder(settings).vocab_size == 4_000
    own = {"prep.tokenizer.train": "True", "prep.tokenizer.vocab_size": "700"}
    assert certificate.decoder(load(path, own)).vocab_size == 700
    assert certificate.decoder(load(path, own | {"model.vocab_size": "900"})).vocab_size == 900
    absent = {"model.init_from": str(tmp_path / "absent")}
    assert certificate.decoder(load(path, absent)) == certificate.decoder(settings)
    with pytest.raises(InputError, match="is no directory"):
        certificate.decoder(load(None, absent))
    with pytest.raises(InputError, match=r"set --config\.model\.preset"):
        certificate.decoder(load(None))


def test_a_checkpoint_that_is_there_gives_the_sizes(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "architectures": ["LlamaForCausalLM"],
                "model_type": "llama",
                "vocab_size": 96,
                "hidden_size": 64,
                "num_hidden_layers": 3,
                "num_attention_heads": 4,
                "intermediate_size": 128,
            }
        )
    )
    config = certificate.decoder(load(None, {"model.init_from": str(tmp_path)}))
    assert (config.vocab_size, config.width, config.layers) == (96, 64, 3)
    with pytest.raises(InputError, match=r"not a checkpoint of model\.preset='tiny'"):
        certificate.decoder(load(None, {"model.init_from": str(tmp_path), "model.preset": "tiny"}))


def test_the_compiled_step_is_that_of_the_settings(path):
    settings = load(path, {"loss.beta": "0.25", "loss.temperature": "2.0", "data.students": "3"})
    inputs = certificate.inputs(settings)
    assert dataclasses.astuple(inputs["row"]) == (128, 32, 4)
    assert (inputs["objective"].beta, inputs["objective"].temperature) == (0.25, 2.0)
    assert inputs["optim"] == settings.optim
