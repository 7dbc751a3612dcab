"""GroupSource: random access to the groups of one split, for Grain."""

from __future__ import annotations

import bisect
import itertools
import operator
from typing import SupportsIndex

from etils import epath

from xcot_jax.data.dataset import local_directory, read_splits
from xcot_jax.data.records import ParallelGroup, decode
from xcot_jax.data.tfrecord import CorruptRecordError, Shard
from xcot_jax.errors import InputError


class GroupSource:
    """The groups of a split, in the order of its shards (a `grain.sources.RandomAccessDataSource`).

    Can be read by threads, inherited by forked and sent to spawned workers.
    """

    def __init__(self, directory: epath.PathLike, split: str) -> None:
        """Looks for all shards, then finds the records of each.

        Args:
          directory: of a dataset that `xcot_jax.data.dataset.write_dataset` wrote.
          split: name of the split.

        Raises:
          InputError: if the directory holds no complete dataset or not this split; or if shards are
            missing (it names them all, before any is read).
          CorruptRecordError: for a damaged record header, a shard cut short, or one that holds
            another number of records than the dataset lists.
        """
        self.directory = local_directory(directory)
        self.split = split
        splits = read_splits(self.directory)
        if split not in splits:
            raise InputError(f"{self.directory} has no split {split!r}, only {', '.join(splits)}")
        layout = splits[split]
        missing = [file for file in layout.files if not (self.directory / file).exists()]
        if missing:
            raise InputError(
                f"{self.directory}: {len(missing)} of {len(layout.files)} shards of split "
                f"{split!r} are missing: {', '.join(missing)}; copy them there, or write the "
                "dataset again"
            )
        self._shards = [
            Shard(self.directory / file, records)
            for file, records in zip(layout.files, layout.lengths, strict=True)
        ]
        self._starts = list(itertools.accumulate(layout.lengths, initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: SupportsIndex) -> ParallelGroup:
        """The group at `index`, which counts from 0 over all shards.

        Raises:
          IndexError: for an index out of range.
          CorruptRecordError: if the record is not what was written, or is no group.
        """
        number = operator.index(index)
        if not 0 <= number < len(self):
            raise IndexError(f"record {number} of {self!r}")
        part = bisect.bisect_right(self._starts, number) - 1
        shard, record = self._shards[part], number - self._starts[part]
        data = shard.read(record)
        try:
            return decode(data)
        except ValueError as error:
            raise CorruptRecordError(
                str(shard.path), record, shard.offset(record), str(error)
            ) from error

    def __repr__(self) -> str:
        return f"GroupSource({str(self.directory)!r}, {self.split!r}): {len(self)} groups"
