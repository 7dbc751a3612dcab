"""Benchmarks read by name, where a network exists: from the Hugging Face Hub or through TFDS."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xcot_jax.errors import InputError

HUGGING_FACE = "hf:"
TFDS = "tfds:"


@functools.cache  # So that evaluations of a training run ask the Hub once.
def snapshot(location: str, patterns: tuple[str, ...] = ()) -> Path:
    """The files of a Hub dataset as a local path; what is in the Hub's cache takes no network.

    Args:
      location: `hf:OWNER/NAME` for a directory, `hf:OWNER/NAME/FILE` for a file of it.
      patterns: which files of the directory are wanted.

    Raises:
      InputError: for another form, or if the dataset cannot be had.
    """
    owner, _, rest = location.removeprefix(HUGGING_FACE).partition("/")
    name, _, file = rest.partition("/")
    if not owner or not name:
        raise InputError(
            f"{location}: a dataset of the Hub is hf:OWNER/NAME, a file hf:OWNER/NAME/FILE"
        )
    from huggingface_hub import snapshot_download

    try:
        directory = snapshot_download(
            f"{owner}/{name}",
            repo_type="dataset",
            allow_patterns=[file] if file else list(patterns),
        )
    except Exception as error:  # of the network, the Hub or the disk: it raises what these raise
        first = str(error).partition("\n")[0]
        raise InputError(
            f"{location}: the Hugging Face Hub gave nothing ({type(error).__name__}: {first}); "
            "without a network, copy the files here and give their place instead"
        ) from error
    path = Path(directory) / file
    if not path.exists():
        raise InputError(f"{location}: dataset {owner}/{name} has no file {file}")
    return path


def tfds_rows(location: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The examples of a TensorFlow Datasets split, with where they stand.

    Args:
      location: `tfds:NAME:SPLIT` or `tfds:NAME/CONFIG:SPLIT`; in place of a name, a directory that
        a dataset was prepared in.

    Raises:
      InputError: for another form, without TensorFlow, or if the dataset cannot be had.
    """
    name, _, split = location.removeprefix(TFDS).rpartition(":")
    if not name or not split:
        raise InputError(f"{location}: a TFDS split is tfds:NAME:SPLIT or tfds:NAME/CONFIG:SPLIT")
    import tensorflow_datasets as tfds

    try:
        prepared = Path(name).expanduser()
        if prepared.is_dir():
            examples = tfds.builder_from_directory(prepared).as_dataset(split=split)
        else:
            examples = tfds.load(name, split=split)
        for number, row in enumerate(tfds.as_numpy(examples)):
            yield f"{location}, example {number}", {k: _plain(v) for k, v in row.items()}
    except ImportError as error:
        raise InputError(
            f"{location}: reading through TFDS needs TensorFlow ({error}); pip install tensorflow, "
            "or write the questions as JSON Lines and set eval.jsonl to that file"
        ) from error
    except InputError:
        raise
    except Exception as error:  # of the network, of the dataset's own builder, of TensorFlow
        first = str(error).strip().partition("\n")[0]
        raise InputError(
            f"{location}: TFDS gave nothing ({type(error).__name__}: {first}); without a network, "
            "write the questions as JSON Lines and set eval.jsonl to that file"
        ) from error


def _plain(value: Any) -> Any:
    """A NumPy value as Python's own."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
    return value.decode("utf-8") if isinstance(value, bytes) else value
