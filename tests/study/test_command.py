"""`xcot study` from a config to its table, and again from where it was stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.compiling import environment
from xcot_jax import cli
from xcot_jax.errors import InputError

CONFIGS = Path(__file__).parents[2] / "configs"
STUDY = f"""
import sys

sys.path.append({str(CONFIGS)!r})
from quickstart_sft import get_config as baseline

VARIANTS = {{"lm": "language model", "sft": "multilingual SFT", "kd": "+ xDistill"}}
STUDY = {{"title": "A small study", "baseline": "sft", "seeds": (3,), "start": "lm"}}
STUDY["measures"] = ("accuracy", "cross_entropy", "divergence")


def get_config(variant="sft"):
    config = baseline()
    config.name = VARIANTS[variant]
    config.prep.story.update(high_count=30, low_count=8, heldout_count=3)
    config.prep.tokenizer.vocab_size = 1_200
    config.model.update(width=32, layers=1, heads=2)
    if variant == "lm":
        config.prep.mixture.update(instruct=0.0, monolingual=1.0)
    else:
        config.prep.teacher = True
        config.prep.tokenizer.train = False
        config.model.update(init_from="start", width=0, layers=0, heads=0, tied_head=False)
    config.data.update(row_tokens=512, row_slots=128)
    config.train.update(steps=4, checkpoint_every=4, log_every=1)
    config.eval.update(max_new_tokens=4)
    config.loss.beta = 0.5 if variant == "kd" else 0.0
    return config
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    file = tmp_path_factory.mktemp("study") / "small.py"
    file.write_text(STUDY)
    return file


@pytest.fixture(scope="module")
def done(file):
    """Its directory, once it has run."""
    out = file.parent / "out"
    _study(f"--config={file}", f"--out={out}")
    return out


def _study(*arguments):
    """Runs the command, its processes with the devices they have outside of tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)
        cli.run(["study", *arguments])


def test_a_study_ends_in_a_table_a_figure_and_a_record(done):
    record = json.loads((done / "study.json").read_text())
    assert set(record["figures"]) == {"low_resource_gain", "english_change", "p_value"}
    assert record["figures_of"] == "kd"
    assert [run["variant"] for run in record["runs"]] == ["sft", "kd"]
    for run in record["runs"]:
        assert set(run["measured"]) == {"accuracy", "cross_entropy", "divergence"}
        assert len(run["measured"]["accuracy"]["languages"]) == 11
        assert len(run["measured"]["divergence"]["languages"]) == 10
        assert 1_000 < run["tokens"] <= 4 * 4 * 512
        assert run["settings"]["seed"] == 3
    assert (done / "small.png").read_bytes().startswith(b"\x89PNG")
    page = (done / "study.md").read_text()
    assert "xcot study --config=" in page and page.count("| + xDistill |") == 3
    assert len(list(done.glob("data-*/dataset_info.json"))) == 2  # Both train on the same data.


def test_all_start_from_the_model_that_the_study_makes(done):
    begun = json.loads((done / "sft-3" / "config.json").read_text())
    assert begun["model"]["init_from"] == str(done / "start")
    lines = (done / "lm-3" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 4
    assert not (done / "lm-3" / "eval").exists(), "it is no row of the table"


def test_what_is_done_is_not_done_again(file, done, capsys):
    before = (done / "study.json").read_bytes(), (done / "sft-3" / "metrics.jsonl").stat().st_mtime
    cli.run(["study", f"--config={file}", f"--out={done}"])
    assert "low_resource_gain = " in capsys.readouterr().out
    after = (done / "study.json").read_bytes(), (done / "sft-3" / "metrics.jsonl").stat().st_mtime
    assert after == before


def test_a_variant_of_ones_own_runs_beside_what_a_record_knows(file, done, tmp_path):
    own = tmp_path / "own.py"
    strong = STUDY.replace('"kd": "+ xDistill"', '"kd": "+ xDistill", "kd-2": "stronger"')
    own.write_text(strong.replace('if variant == "kd" else', 'if variant.startswith("kd") else'))
    own.write_text(own.read_text().replace("0.5 if", "float(variant[3:] or 0.5) if"))
    known, out = f"--known={done / 'study.json'}", tmp_path / "out"
    out.mkdir()
    for made in (done / "start", *done.glob("data-*")):
        (out / made.name).symlink_to(made)
    _study(f"--config={own}", f"--out={out}", known)
    before, after = (
        json.loads((directory / "study.json").read_text()) for directory in (done, out)
    )
    assert [run["variant"] for run in after["runs"]] == ["sft", "kd", "kd-2"]
    for old, new in zip(before["runs"], after["runs"], strict=False):
        assert new["known_from"] == str(done / "study.json")
        assert new["measured"] == old["measured"]
    assert after["measures"]["accuracy"][:2] == before["measures"]["accuracy"]
    assert after["runs"][-1]["known_from"] is None
    assert {path.name for path in out.glob("*-3")} == {"kd-2-3"}
    assert known in (out / "study.md").read_text()


def test_another_study_in_its_directory_is_refused(file, done):
    with pytest.raises(InputError, match=r"-3 was run with train.steps=4.*now has 5"):
        cli.run(["study", f"--config={file}", f"--out={done}", "--config.train.steps=5"])
    with pytest.raises(InputError, match=r"-3 was run with data.dir=.*now has 'data-"):
        cli.run(["study", f"--config={file}", f"--out={done}", "--config.seed=5"])


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read"), ("", "tells of no training step")]
)
def test_a_run_without_its_steps_is_told(file, done, content, message):
    metrics = done / "sft-3" / "metrics.jsonl"
    before = metrics.read_text()
    try:
        metrics.unlink() if content is None else metrics.write_text(content)
        with pytest.raises(InputError, match=f"metrics.jsonl {message}"):
            cli.run(["study", f"--config={file}", f"--out={done}"])
    finally:
        metrics.write_text(before)


def test_a_run_that_fails_ends_the_study_with_its_log(file, tmp_path):
    with pytest.raises(InputError, match=r"xcot prep ended with status 2; .*data-\w+.log ends"):
        cli.run(["study", f"--config={file}", f"--out={tmp_path}", "--config.prep.source=parallel"])


def test_a_config_is_needed(tmp_path):
    with pytest.raises(InputError, match="needs --config=FILE"):
        cli.run(["study", f"--out={tmp_path}"])
