"""The input pipeline of one host: shuffle, tokenize, pack, batch, prefetch, place on the mesh."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import logging
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import grain
import jax
import numpy as np
from jax.sharding import NamedSharding

from xcot_jax.config import load
from xcot_jax.data import packing
from xcot_jax.data.records import ParallelGroup
from xcot_jax.data.source import GroupSource
from xcot_jax.data.tokenizer import Tokenizer, load_tokenizer
from xcot_jax.errors import InputError
from xcot_jax.settings import Settings

Groups: TypeAlias = grain.sources.RandomAccessDataSource[ParallelGroup]
"""What is read: a `GroupSource`, or a list of groups."""


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
    """One host's share of a batch, before it is placed on devices.

    Attributes:
      rows: stacked packed rows, as `packing.finish_row` makes them.
      state: the pipeline's state after this batch.
    """

    rows: packing.Ragged
    state: dict[str, Any]

    @property
    def fingerprint(self) -> int:
        """Checksum of the record numbers, to compare what two runs have read."""
        return zlib.crc32(np.ascontiguousarray(self.rows["records"]).tobytes())

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
        element = packing.encode_group(group, self._tokenizer, data.students + 1, record)
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


def check_prompts(settings: Settings) -> None:
    """Refuses a dataset whose prompts are worded otherwise than the run would ask.

    Raises:
      InputError: naming the setting.
    """
    path = Path(settings.data.dir) / "config.json"
    if not path.exists():
        return
    prepared = load(path).prep
    for key, was, now in (
        ("prep.template", prepared.template, settings.prep.template),
        ("prep.random_cot.prompt", prepared.random_cot.prompt, settings.prep.random_cot.prompt),
    ):
        if was != now:
            raise InputError(
                f"{settings.data.dir} was prepared with {key}={was!r}, but this run would ask with "
                f"{now!r}; set --config.{key}={was!r}, or prepare the data anew"
            )


class Loader:
    """Endless batches of one host, resumable exactly.

    Every host shuffles all records in the same order and takes every `process_count`-th, so that
    hosts share no record within an epoch. Iteration never ends; the epochs follow each other,
    reshuffled.

    Args:
      settings: of the run.
      tokenizer: ids for the records' text.
      source: records; those of the training split if None.
      process_index: this host's number.
      process_count: number of hosts; `data.batch_rows` must be a multiple of it.

    Raises:
      InputError: if rows do not divide by hosts, or there are fewer records than hosts.
    """

    def __init__(
        self,
        settings: Settings,
        tokenizer: Tokenizer,
        source: Groups | None = None,
        *,
        process_index: int = 0,
        process_count: int = 1,
    ):
        data = settings.data
        if source is None:
            source = GroupSource(Path(data.dir), "train")
        if data.batch_rows % process_count:
            raise InputError(
                f"data.batch_rows={data.batch_rows} does not divide by {process_count} hosts"
            )
        if len(source) < process_count:
            raise InputError(f"{data.dir}: {len(source)} training groups for {process_count} hosts")
        self.dropped = DropCounter()
        self.groups = len(source)
        dataset = grain.MapDataset.source(_Numbered(source)).shuffle(seed=settings.seed)
        dataset = dataset[process_index::process_count].repeat()
        encoded = dataset.map_with_index(
            EncodeGroups(tokenizer, settings, self.dropped, self.groups)
        )
        rows = packing.pack(
            encoded.to_iter_dataset(grain.ReadOptions(num_threads=4, prefetch_buffer_size=64)),
            row_tokens=data.row_tokens,
            row_slots=data.row_slots,
            bins=data.packing_bins,
            seed=settings.seed,
        )
        batches = rows.batch(data.batch_rows // process_count)
        self._batches = grain.experimental.ThreadPrefetchIterDataset(
            batches, prefetch_buffer_size=data.prefetch
        )
        self._iterator = iter(self._batches)

    def __iter__(self) -> Iterator[HostBatch]:
        return self

    def __next__(self) -> HostBatch:
        rows = next(self._iterator)
        return HostBatch(rows, self._iterator.get_state())

    def restore(self, state: dict[str, Any]) -> None:
        """Continues after the batch whose `HostBatch.state` this is."""
        self._iterator.set_state(state)


def evaluation_batches(
    settings: Settings, tokenizer: Tokenizer, split: str, count: int
) -> list[packing.Ragged]:
    """The first groups of a split in order, as up to `count` batches; empty rows fill the last.

    Every host gets the same whole batches, so that none waits for another.
    """
    data = settings.data
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


def place(rows: packing.Ragged, sharding: NamedSharding) -> packing.Batch:
    """Puts this host's rows on its devices, as part of the global batch."""
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, x), packing.to_batch(rows)
    )
