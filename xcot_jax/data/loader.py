"""The input pipeline of one host: shuffle, tokenize, pack, batch, prefetch, place on the mesh.

Records are dealt out to streams, whose number is a setting. Each stream packs its own, and every
batch has the same rows of each, so that what is in a batch depends on neither the number of hosts
nor the mesh: a host runs the streams whose rows its devices hold.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import logging
import math
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import grain
import jax
import numpy as np
from jax.sharding import NamedSharding

from xcot_jax import distributed
from xcot_jax.config import load
from xcot_jax.data import packing
from xcot_jax.data.records import ParallelGroup
from xcot_jax.data.source import GroupSource
from xcot_jax.data.tokenizer import Tokenizer, load_tokenizer
from xcot_jax.errors import InputError
from xcot_jax.settings import DataSettings, Settings

Groups: TypeAlias = grain.sources.RandomAccessDataSource[ParallelGroup]
"""What is read: a `GroupSource`, or a list of groups."""


_LEAST_BINS = 32
"""Rows a stream fills side by side at least, as it would leave more of each empty with fewer."""

_log = logging.getLogger(__name__)


class DropCounter:
    """Counts groups that were left out because they are longer than a row.

    Attributes:
      ids: of the groups left out so far; one that comes again in a later epoch counts once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_a_row = 0
        self.ids: set[str] = set()

    def keep(self) -> None:
        """Notes that a group was not left out."""
        self._in_a_row = 0

    def drop(self, group_id: str) -> int:
        """Notes one that was; returns how many were, one after another."""
        with self._lock:
            self.ids.add(group_id)
            self._in_a_row += 1
            if len(self.ids) == 1:
                _log.warning(
                    "group %s is longer than a row and is left out; raise data.row_tokens or "
                    "data.row_slots to train on it (dropped_groups in metrics.jsonl counts on)",
                    group_id,
                )
            return self._in_a_row


@dataclasses.dataclass(frozen=True)
class HostBatch:
    """One host's part of a batch, before it is placed on devices.

    Attributes:
      rows: stacked packed rows, as `packing.finish_row` makes them.
      numbers: of these rows in the whole batch.
      total: rows of the whole batch.
      state: of each of the host's streams after this batch, by number.
    """

    rows: packing.Ragged
    numbers: tuple[int, ...]
    total: int
    state: dict[str, Any]

    def place(self, sharding: NamedSharding) -> packing.Batch:
        """The global batch, of which this host's devices hold these rows."""
        return place(self.rows, sharding, self.numbers, self.total)

    def fingerprint(self) -> int:
        """Checksum of which records the whole batch holds, in order; all hosts call it together."""
        own = {
            str(number): zlib.crc32(np.ascontiguousarray(records).tobytes())
            for number, records in zip(self.numbers, self.rows["records"], strict=True)
        }
        rows = {
            int(number): crc
            for part in distributed.gather(json.dumps(own))
            for number, crc in json.loads(part).items()
        }
        return zlib.crc32(np.array([rows[number] for number in sorted(rows)], np.uint32).tobytes())

    @property
    def fill(self) -> float:
        """Share of the rows' tokens that is not padding."""
        return float((self.rows["segment_ids"] > 0).mean())


class EncodeGroups(grain.transforms.MapWithIndex):
    """Tokenizes and lays out groups; too long ones become None, which Grain leaves out."""

    def __init__(self, tokenizer: Tokenizer, settings: Settings, dropped: DropCounter, groups: int):
        self._tokenizer, self._data, self._dropped = tokenizer, settings.data, dropped
        self._groups = groups

    def map_with_index(self, index: int, item: tuple[int, ParallelGroup]) -> packing.Ragged | None:
        """Encodes one numbered group."""
        record, group = item
        data = self._data
        element = packing.encode_group(
            group,
            self._tokenizer,
            data.students + 1,
            record,
            student_ce=data.student_ce,
            preamble_ce=data.preamble_ce,
        )
        if packing.fits(element, data.row_tokens, data.row_slots):
            self._dropped.keep()
            return element
        in_a_row = self._dropped.drop(group.id)
        if data.overlong == "error" or in_a_row >= self._groups:
            every = f", like all {self._groups} groups" if in_a_row >= self._groups else ""
            raise InputError(
                f"{data.dir}: group {group.id} has {len(element['tokens'])} tokens and "
                f"{len(element['targets'])} loss slots{every}: more than a row (data.row_tokens="
                f"{data.row_tokens}, data.row_slots={data.row_slots}); raise them"
                + ("" if every else ", or set data.overlong=drop")
            )
        return None


class _Numbered:
    """A source whose elements carry their number in it."""

    def __init__(self, source: Groups):
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: Any) -> tuple[int, ParallelGroup]:
        return int(index), self._source[int(index)]

    def __repr__(self) -> str:
        return f"numbered({self._source!r})"


def fingerprints(settings: Settings, tokenizer: Tokenizer) -> dict[str, str]:
    """Checksums of the dataset's description and of the tokenizer, to see whether they changed."""
    digest = hashlib.sha256()
    for name in ("dataset_info.json", "data_card.json"):
        path = Path(settings.data.dir) / name
        digest.update(path.read_bytes() if path.exists() else b"")
    return {"dataset": digest.hexdigest(), "tokenizer": tokenizer.fingerprint}


def find_tokenizer(settings: Settings) -> Tokenizer:
    """The tokenizer the settings name, or that of the model to start from, or the dataset's own.

    Raises:
      InputError: if there is none, or it has not the chat template asked for.
    """
    if named := settings.data.tokenizer or settings.model.init_from:
        return load_tokenizer(named, settings.data.chat)
    path = Path(settings.data.dir) / "tokenizer.model"
    if not path.exists():
        raise InputError(
            f"{path} does not exist; set data.tokenizer to a Hugging Face directory or a "
            "SentencePiece .model, or prepare the data with prep.tokenizer.train=True"
        )
    return load_tokenizer(path, settings.data.chat)


def check_prepared(settings: Settings) -> None:
    """Refuses a dataset made for other prompts, or for fewer students, than the run asks for.

    Raises:
      InputError: naming the setting.
    """
    path = Path(settings.data.dir) / "config.json"
    if not path.exists():
        return
    saved = load(path)
    prepared = saved.prep
    if prepared.teacher and settings.data.students > saved.data.students:
        raise InputError(
            f"{settings.data.dir} was prepared with data.students={saved.data.students}, so that "
            f"data.students={settings.data.students} would leave loss slots empty; set "
            f"--config.data.students={saved.data.students}, or prepare the data anew"
        )
    for key, was, now in (
        ("prep.template", prepared.template, settings.prep.template),
        ("prep.random_cot.prompt", prepared.random_cot.prompt, settings.prep.random_cot.prompt),
    ):
        if was != now:
            raise InputError(
                f"{settings.data.dir} was prepared with {key}={was!r}, but this run would ask with "
                f"{now!r}; set --config.{key}={was!r}, or prepare the data anew"
            )


def stream_count(data: DataSettings) -> int:
    """The streams of a run: as many as `data.streams` says, or one for every four rows.

    Raises:
      InputError: if the rows of a batch do not divide by them.
    """
    if data.streams and data.batch_rows % data.streams:
        raise InputError(
            f"data.batch_rows={data.batch_rows} does not divide by data.streams={data.streams}; "
            "choose a divisor, best a multiple of the number of hosts"
        )
    return data.streams or math.gcd(data.batch_rows, max(data.batch_rows // 4, 1))


def stream_bins(data: DataSettings) -> int:
    """Rows that each stream fills side by side."""
    return max(data.packing_bins // stream_count(data), min(data.packing_bins, _LEAST_BINS))


class Loader:
    """Endless batches of one host, resumable exactly on any number of hosts.

    All records are shuffled anew in every epoch, and stream s of S takes every S-th of the endless
    sequence, from the s-th on. So every record is in one stream, once in each epoch, however many
    there are. Streams do not wait for each other: at the border of an epoch, one may be some rows
    ahead. No host is ever out of records.

    Args:
      settings: of the run.
      tokenizer: ids for the records' text.
      source: records; those of the training split if None.
      numbers: which rows of the batches to make, in ascending order; all if None.

    Raises:
      InputError: if rows do not divide by streams, or there are no records.
    """

    def __init__(
        self,
        settings: Settings,
        tokenizer: Tokenizer,
        source: Groups | None = None,
        *,
        numbers: Sequence[int] | None = None,
    ):
        data = settings.data
        if source is None:
            source = GroupSource(Path(data.dir), "train")
        if not len(source):
            raise InputError(f"{data.dir}: the training split holds no groups")
        self.dropped = DropCounter()
        self.groups = len(source)
        self._source = source
        self._total = data.batch_rows
        self._numbers = tuple(range(self._total) if numbers is None else numbers)
        self.streams = stream_count(data)
        rows = self._total // self.streams
        own = sorted({number // rows for number in self._numbers})
        shuffled = grain.MapDataset.source(_Numbered(source)).shuffle(seed=settings.seed).repeat()
        encode = EncodeGroups(tokenizer, settings, self.dropped, self.groups)
        # Threads and buffers are for speed alone: neither rows nor states depend on them.
        reading = grain.ReadOptions(
            num_threads=max(4 // len(own), 1), prefetch_buffer_size=max(64 // len(own), 8)
        )
        self._iterators = {}
        for stream in own:
            encoded = shuffled[stream :: self.streams].map_with_index(encode)
            packed = packing.pack(
                encoded.to_iter_dataset(reading),
                row_tokens=data.row_tokens,
                row_slots=data.row_slots,
                bins=stream_bins(data),
                seed=settings.seed + stream,
            )
            batches = grain.experimental.ThreadPrefetchIterDataset(
                packed.batch(rows), prefetch_buffer_size=data.prefetch
            )
            self._iterators[stream] = iter(batches)
        made = [stream * rows + row for stream in own for row in range(rows)]
        self._chosen = np.searchsorted(made, self._numbers)

    def __iter__(self) -> Iterator[HostBatch]:
        return self

    def __next__(self) -> HostBatch:
        parts = [next(iterator) for iterator in self._iterators.values()]
        rows = {
            name: np.concatenate([part[name] for part in parts])[self._chosen] for name in parts[0]
        }
        state = {str(stream): it.get_state() for stream, it in self._iterators.items()}
        return HostBatch(rows, self._numbers, self._total, state)

    def group_ids(self, records: np.ndarray) -> list[str]:
        """The ids of the groups in `HostBatch.rows["records"]`, which are read anew."""
        return [self._source[int(number)].id for number in np.unique(records[records >= 0])]

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues after the batch of these states.

        Args:
          state: of all streams, from the `HostBatch.state` of all hosts.

        Raises:
          InputError: if a stream is missing.
        """
        for stream, iterator in self._iterators.items():
            if str(stream) not in state:
                raise InputError(
                    f"the checkpoint holds no state of input stream {stream}, only of "
                    f"{', '.join(sorted(state)) or 'none'}; it is damaged: use the one before"
                )
            iterator.set_state(state[str(stream)])


def evaluation_batches(
    settings: Settings, tokenizer: Tokenizer, split: str, count: int
) -> list[packing.Ragged]:
    """The first groups of a split in order, as up to `count` batches; empty rows fill the last.

    Every host gets the same whole batches, so that none waits for another. Whatever training weighs
    less is measured in full.
    """
    data = dataclasses.replace(settings.data, student_ce=1.0, preamble_ce=1.0)
    settings = dataclasses.replace(settings, data=data)
    source = _Numbered(GroupSource(Path(data.dir), split))
    if not len(source):
        return []
    encode = EncodeGroups(tokenizer, settings, DropCounter(), len(source) + 1)
    dataset = grain.MapDataset.source(source).map_with_index(encode).to_iter_dataset()
    rows = data.batch_rows
    packed = list(
        itertools.islice(
            packing.pack(
                dataset,
                row_tokens=data.row_tokens,
                row_slots=data.row_slots,
                bins=data.packing_bins,
                seed=0,
            ),
            count * rows,
        )
    )
    if not packed:
        return []
    empty = {name: np.zeros_like(value) for name, value in packed[0].items()}
    empty["languages"] += packing.NO_LANGUAGE
    empty["records"] -= 1
    packed += [empty] * (-len(packed) % rows)
    return [
        {name: np.stack([row[name] for row in packed[i : i + rows]]) for name in empty}
        for i in range(0, len(packed), rows)
    ]


def place(
    rows: packing.Ragged,
    sharding: NamedSharding,
    numbers: Sequence[int] | None = None,
    total: int | None = None,
) -> packing.Batch:
    """Puts rows on this host's devices, as its part of the global batch.

    Args:
      rows: the whole batch, or those rows of it that this host's devices hold.
      sharding: of the global batch.
      numbers: of the rows in the whole batch, ascending; None: they are the whole batch.
      total: rows of the whole batch, where `numbers` are given.
    """
    count = len(rows["tokens"]) if total is None else total
    held = np.arange(count) if numbers is None else np.asarray(numbers)

    def whole(x: np.ndarray) -> jax.Array:
        def part(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None
            first, last, _ = index[0].indices(count)
            begin = int(np.searchsorted(held, first))
            return x[begin : begin + last - first]

        return jax.make_array_from_callback((count, *x.shape[1:]), sharding, part)

    return jax.tree.map(whole, packing.to_batch(rows))
