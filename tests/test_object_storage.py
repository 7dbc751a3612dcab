"""Working directories in object storage: what a run keeps there besides checkpoints.

Object storage is a dictionary here, behind the interface that etils reaches gs:// by. Orbax writes
the arrays of checkpoints through a client of its own, which has no such stand-in: a run into
another kind of path than pathlib's shows that the rest goes through etils.
"""

from __future__ import annotations

import json

import pytest
from etils import epath
from fsspec.implementations.memory import MemoryFileSystem

from tests.test_train import CONFIG, SMALL
from xcot_jax import cli, config, metrics
from xcot_jax.evaluate import evaluate_run
from xcot_jax.evaluation import runner
from xcot_jax.evaluation.scoring import summarise
from xcot_jax.files import any_path, is_remote, write_whole
from xcot_jax.train import train


class Bucket(MemoryFileSystem):
    """A file system in memory that gs:// names."""

    protocol = ("gs", "gcs")
    store: dict = {}
    pseudo_dirs = [""]

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + path.removeprefix("gs://").strip("/")

    def _open(self, path, mode="rb", **options):
        assert mode in ("rb", "wb"), f"object storage cannot open {path} to {mode}"
        return super()._open(path, mode, **options)


@pytest.fixture
def workdir(monkeypatch):
    bucket = Bucket()
    monkeypatch.setattr(epath.backend.fsspec_backend, "_get_filesystem", lambda name: bucket)
    monkeypatch.setattr(epath.gpath, "_is_tf_installed", lambda: False)
    monkeypatch.setattr(Bucket, "store", {})
    return any_path("gs://bucket/runs/xcot")


def test_names_choose_the_kind_of_path(tmp_path):
    assert is_remote(any_path("gs://bucket/run")) and not is_remote(any_path("runs/xcot"))
    assert str(any_path("gs://bucket/run") / "config.json") == "gs://bucket/run/config.json"
    assert any_path(str(tmp_path)) == tmp_path


def test_settings_are_saved_and_loaded(workdir):
    settings = config.load(CONFIG, {"seed": "7"})
    config.save(settings, workdir / "config.json")
    assert config.load(workdir / "config.json") == settings
    assert {name.rpartition("/")[2] for name in Bucket.store} == {"config.json"}


def test_metrics_grow_and_lose_what_is_done_again(workdir):
    for start, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        writer = metrics.MetricsWriter(workdir, start=start, steps=4, progress=False)
        for step in steps:
            writer.write(step, {"loss": float(10 * start + step)})
        writer.close()
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{"step": s, "loss": x} for s, x in ((1, 1.0), (2, 2.0), (3, 23.0), (4, 24.0))]


def test_results_of_several_benchmarks_stand_side_by_side(workdir):
    for name in ("heldout", "mgsm", "heldout"):
        runner.save([], summarise("run", 0, 5, name, {}, ()), workdir / "eval")
    results = json.loads((workdir / "eval" / "results.json").read_text())["results"]
    assert [entry["benchmark"] for entry in results] == ["mgsm", "heldout"]


def test_what_is_written_replaces_what_was_there(workdir):
    write_whole(workdir / "a.json", "old")
    write_whole(workdir / "a.json", b"new")
    assert (workdir / "a.json").read_bytes() == b"new"


def test_a_run_needs_of_its_directory_what_object_storage_has(dataset, tmp_path):
    directory = epath.Path(tmp_path / "run")
    changes = {"data.dir": dataset, "train.steps": 4, "train.checkpoint_every": 2}
    overrides = {key: str(value) for key, value in (SMALL | changes).items()}
    for steps in (2, 4):
        settings = config.load(CONFIG, overrides | {"train.steps": str(steps)})
        train(settings, directory, progress=False)
    assert sorted(p.name for p in (directory / "checkpoints").iterdir()) == ["2", "4"]
    asked = overrides | {"eval.limit": "1", "eval.max_new_tokens": "4"}
    evaluate_run(config.load(CONFIG, asked), directory)
    assert (directory / "eval" / "results.json").exists()
    out = tmp_path / "exported"
    cli.run(["export", f"--workdir={directory}", f"--out={out}"])
    assert (out / "model.safetensors").exists()
