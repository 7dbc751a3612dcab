"""The dataset directory: shards of groups in TensorFlow Datasets' layout, complete or not there.

    features.json        the schema (`xcot_jax.data.records.features`)
    xcot-train.tfrecord-00000-of-00008 ...
    dataset_info.json    splits with the number of records in each shard; written last

`tfds.builder_from_directory` opens it; writing it takes no TensorFlow.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from etils import epath
from google.protobuf import json_format
from tensorflow_datasets.core.proto import dataset_info_pb2

from xcot_jax.data.records import ParallelGroup, encode, features
from xcot_jax.data.tfrecord import ShardWriter
from xcot_jax.errors import InputError
from xcot_jax.files import write_whole

NAME = "xcot"
VERSION = "1.0.0"  # of the schema; another major version cannot be read
INFO_FILE = "dataset_info.json"
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


@dataclasses.dataclass(frozen=True)
class Split:
    """The shards of one split.

    Attributes:
      name: of the split.
      lengths: records in each shard, in order.
      data_bytes: bytes of all records, without framing.
    """

    name: str
    lengths: tuple[int, ...]
    data_bytes: int

    @property
    def files(self) -> tuple[str, ...]:
        """The shards' file names, in order."""
        count = len(self.lengths)
        return tuple(
            f"{NAME}-{self.name}.tfrecord-{shard:05d}-of-{count:05d}" for shard in range(count)
        )


def local_directory(directory: epath.PathLike) -> Path:
    """The directory as a path of this machine, as random access and renaming need it.

    Raises:
      InputError: for an address of remote storage.
    """
    if "://" in os.fspath(directory):
        raise InputError(
            f"{os.fspath(directory)}: datasets are written to and read from local disk; copy it "
            "there (gcloud storage cp -r), or mount it"
        )
    return Path(directory).expanduser()


def write_dataset(
    directory: epath.PathLike,
    splits: Mapping[str, Iterable[ParallelGroup]],
    shards: int | Mapping[str, int] = 1,
) -> dict[str, int]:
    """Writes groups as a dataset, in place of any that the directory holds.

    As `write_records`, each group's place being its number in its split.
    """
    return write_records(
        directory,
        {split: enumerate(map(encode, groups)) for split, groups in splits.items()},
        shards,
    )


def write_records(
    directory: epath.PathLike,
    splits: Mapping[str, Iterable[tuple[int, bytes]]],
    shards: int | Mapping[str, int] = 1,
) -> dict[str, int]:
    """Writes serialised groups as a dataset, in place of any that the directory holds.

    Records stream through to the shards of their split in turn; the same ones give the same
    bytes. Everything is written under temporary names first and the old dataset stays whole until
    then. An interrupted call leaves no shard half-written under its name, and a directory that
    `dataset_info.json` calls complete only if it is.

    Args:
      directory: where to; made if need be. Other files in it are left alone.
      splits: name of each split -> its records, each with its place, in ascending order. The place
        modulo the number of shards says which shard it goes to; places may be left out.
      shards: files a split, for all or by split name (1 where it is not named). Shards without
        records are left out.

    Returns:
      The number of records written, by split.

    Raises:
      InputError: for a split without records, a split name that cannot be in a file name, or less
        than one shard.
    """
    target = local_directory(directory)
    target.mkdir(parents=True, exist_ok=True)
    for leftover in target.glob(f".{NAME}-*.tmp"):
        leftover.unlink()
    with contextlib.ExitStack() as stack:
        written: dict[str, list[ShardWriter]] = {}
        for split, records in splits.items():
            if not split.isidentifier():
                raise InputError(f"split {split!r}: a name of letters, digits and _ is needed")
            count = shards if isinstance(shards, int) else shards.get(split, 1)
            if not 1 <= count <= 99_999:
                raise InputError(f"split {split!r}: {count} shards; there can be 1 to 99,999")
            writers = [
                stack.enter_context(
                    contextlib.closing(ShardWriter(target / f".{NAME}-{split}-{shard:05d}.tmp"))
                )
                for shard in range(count)
            ]
            for place, record in records:
                writers[place % count].write(record)
            written[split] = [writer for writer in writers if writer.records]
            if not written[split]:
                raise InputError(f"{target}: split {split!r} has no groups; leave it out")
        _commit(target, written)
    return {split: sum(w.records for w in writers) for split, writers in written.items()}


def read_splits(directory: epath.PathLike) -> dict[str, Split]:
    """The splits of a dataset that `write_dataset` completed, by name.

    Raises:
      InputError: if the directory holds no dataset, an incomplete one, or one of another kind.
    """
    path = local_directory(directory) / INFO_FILE
    if not path.exists():
        raise InputError(
            f"{path} does not exist: this is no dataset directory, or writing it was interrupted; "
            "run `xcot prep` (again)"
        )
    try:
        info = json_format.Parse(
            path.read_bytes(), dataset_info_pb2.DatasetInfo(), ignore_unknown_fields=True
        )
    except json_format.ParseError as error:
        raise InputError(f"{path}: not the JSON of a dataset: {error}") from error
    found = (info.name, info.version.partition(".")[0], info.file_format)
    if found != (NAME, VERSION.partition(".")[0], "tfrecord"):
        raise InputError(
            f"{path}: dataset {info.name!r}, version {info.version!r}, as {info.file_format!r} "
            f"files; this program reads {NAME!r} {VERSION} as 'tfrecord'. Write it again with "
            "`xcot prep`"
        )
    return {
        split.name: Split(split.name, tuple(split.shard_lengths), split.num_bytes)
        for split in info.splits
    }


def _commit(directory: Path, written: Mapping[str, list[ShardWriter]]) -> None:
    """Puts finished shards in the place of the old dataset."""
    splits = [
        Split(name, tuple(w.records for w in writers), sum(w.data_bytes for w in writers))
        for name, writers in written.items()
    ]
    (directory / INFO_FILE).unlink(missing_ok=True)  # from here on nothing there looks complete
    for stale in directory.glob(f"{NAME}-*.tfrecord-*-of-*"):
        stale.unlink()
    for split in splits:
        for writer, file in zip(written[split.name], split.files, strict=True):
            writer.commit(directory / file)
    finish(directory, splits)


def finish(directory: Path, splits: Iterable[Split]) -> None:
    """Writes the schema and, last, the list of splits: from then on the dataset is complete."""
    features().save_config(directory)
    info = dataset_info_pb2.DatasetInfo(
        name=NAME,
        version=VERSION,
        description="Parallel views of reasoning problems that share one answer (xCoT).",
        citation="Chai et al., xCoT: Cross-lingual Instruction Tuning for Cross-lingual "
        "Chain-of-Thought Reasoning, arXiv 2401.07037.",
        file_format="tfrecord",
        splits=[
            dataset_info_pb2.SplitInfo(
                name=split.name,
                shard_lengths=split.lengths,
                num_bytes=split.data_bytes,
                filepath_template=_TEMPLATE,
            )
            for split in splits
        ],
    )
    write_whole(directory / INFO_FILE, json_format.MessageToJson(info, sort_keys=True) + "\n")
