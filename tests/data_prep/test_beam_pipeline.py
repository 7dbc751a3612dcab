"""A dataset at an address that only Beam's file systems know, as on a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

beam = pytest.importorskip("apache_beam", reason="Apache Beam comes with the beam extra")
from apache_beam.io.localfilesystem import LocalFileSystem

from data_prep import beam_pipeline
from data_prep.build import build
from tests.data_prep.test_build import contents, settings  # noqa: F401
from xcot_jax.errors import InputError

ROOT = Path()  # Where the bucket's content lies; set by the test.


class Bucket(LocalFileSystem):
    """Addresses bucket://NAME, kept in a directory that nothing else knows of."""

    @classmethod
    def scheme(cls):
        return "bucket"

    def join(self, basepath, *paths):
        return "/".join((basepath.rstrip("/"), *paths))

    def split(self, path):
        return path.rpartition("/")[0], path.rpartition("/")[2]

    def _local(self, path):
        local = ROOT / path.removeprefix("bucket://")
        local.parent.mkdir(parents=True, exist_ok=True)
        return str(local)

    def create(self, path, *arguments, **options):
        return super().create(self._local(path), *arguments, **options)

    def open(self, path, *arguments, **options):
        return super().open(self._local(path), *arguments, **options)

    def exists(self, path):
        return super().exists(self._local(path))

    def rename(self, sources, destinations):
        super().rename([*map(self._local, sources)], [*map(self._local, destinations)])

    def delete(self, paths):
        super().delete([*map(self._local, paths)])


def test_workers_and_shards_may_be_elsewhere(settings, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path / "bucket")
    monkeypatch.chdir(tmp_path)
    build(settings, tmp_path / "here" / "data")
    download = beam_pipeline._download
    fetched = []
    monkeypatch.setattr(
        beam_pipeline, "_download", lambda address: fetched.append(address) or download(address)
    )
    # A machine that has nothing but the pipeline.
    monkeypatch.setattr(beam_pipeline._Make, "setup", _forgetful(beam_pipeline._Make.setup))
    build(settings, "bucket://there/data", "beam", ("--direct_running_mode=in_memory",))
    assert {a.rpartition("/")[2] for a in fetched} == {"train.jsonl", "validation.jsonl"}
    assert contents(tmp_path / "bucket" / "there" / "data") == contents(tmp_path / "here" / "data")
    with pytest.raises(InputError, match="holds a dataset already"):
        build(settings, "bucket://there/data", "beam")
    with pytest.raises(InputError, match="local disk"):
        build(settings, "bucket://there/other")


def _forgetful(setup):
    def elsewhere(self):
        for work in self._works.values():
            gone = work.problems.path
            if gone.parent.name == "problems":
                work.problems.path = Path("/nowhere") / gone.parent.name / gone.name
        setup(self)

    return elsewhere
