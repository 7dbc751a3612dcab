"""Directories that are there whole or not at all."""

import os

import pytest

from xcot_jax.errors import InputError
from xcot_jax.files import whole_directory


def test_a_directory_appears_with_all_that_was_put_into_it(tmp_path):
    target = tmp_path / "deep" / "model"
    with whole_directory(target) as directory:
        (directory / "file").write_text("here")
        assert not target.exists()
    assert (target / "file").read_text() == "here"
    assert os.listdir(target.parent) == ["model"]


def test_a_failure_leaves_nothing_and_what_is_there_stays(tmp_path):
    target = tmp_path / "model"
    with pytest.raises(KeyboardInterrupt), whole_directory(target) as directory:
        (directory / "file").touch()
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []

    target.mkdir()
    with whole_directory(target) as directory:  # An empty one is as good as none.
        (directory / "file").touch()
    for taken in (target, target / "file"):
        with pytest.raises(InputError, match=f"{taken} is there already; choose another --out or"):
            whole_directory(taken).__enter__()
    assert os.listdir(target) == ["file"]


def test_two_cannot_write_the_same_directory(tmp_path):
    with whole_directory(tmp_path / "model") as directory:
        (directory / "file").touch()
        with pytest.raises(InputError, match="model: another process is writing it"):
            whole_directory(tmp_path / "model").__enter__()
    assert os.listdir(tmp_path / "model") == ["file"]
