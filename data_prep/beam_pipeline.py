"""The groups of a dataset as an Apache Beam pipeline, on whatever runner its options name.

Chunks of task numbers are dealt to workers, which make the groups with the same pure function as
`data_prep.making`; the records of a shard come together, are put in order and written. The bytes
are those of the local runner.

Workers that do not share this machine's disk read the problems from, and write the shards to, an
address that Beam's file systems know, such as gs://.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from data_prep.data_card import Tally
from data_prep.making import CHUNK, Job, Refs, Work, make_chunk
from data_prep.store import ProblemStore
from xcot_jax.data import dataset
from xcot_jax.data.dataset import Split
from xcot_jax.data.tfrecord import frame
from xcot_jax.errors import InputError

_Key = tuple[str, int]  # Split and number of a shard.
_Placed = tuple[_Key, tuple[int, bytes]]  # A record with its shard and its place.
_UNCOMPRESSED = "application/octet-stream"


def run(job: Job, tally: Tally, options: Sequence[str]) -> None:
    """Runs the pipeline to its end and completes the dataset.

    Args:
      job: the groups. With an address, shards are written there, and `publish` does the rest.
      tally: gets the counts.
      options: pipeline options, as on a command line.

    Raises:
      InputError: for a split without groups.
    """
    target = job.address or str(job.directory)
    stores = {split: work.problems for split, work in job.works.items()}
    if job.address:
        for store in stores.values():
            assert isinstance(store, ProblemStore)
            _upload(store.path, _problems_address(target, store))
    chunks = [part for order in job.orders.values() for part in order.chunks(CHUNK)]
    with _pipeline(options) as pipeline:
        made = (
            pipeline
            | "Chunks" >> beam.Create(chunks)
            | "Spread" >> beam.Reshuffle()
            | "Make"
            >> beam.ParDo(_Make(dict(job.works), job.shard_counts, target)).with_outputs(
                "tally", main="records"
            )
        )
        lengths = (
            made.records
            | "Shards" >> beam.GroupByKey()
            | "Write" >> beam.ParDo(_WriteShard(target))
            | "Gather" >> beam.combiners.ToList()
        )
        counts = made.tally | "Add" >> beam.CombineGlobally(_add)
        _ = lengths | "Keep lengths" >> beam.ParDo(_Keep(_join(target, ".lengths")))
        _ = counts | "Keep counts" >> beam.ParDo(_Keep(_join(target, ".counts")))
    tally.update(_kept(_join(target, ".counts")))
    written: dict[_Key, tuple[int, int]] = dict(_kept(_join(target, ".lengths")))
    dataset.finish(job.directory, [_named(split, written, target) for split in job.works])


def _pipeline(options: Sequence[str]) -> beam.Pipeline:
    try:
        return beam.Pipeline(options=PipelineOptions(list(options)))
    except (ValueError, SystemExit) as error:  # The latter from its parser of options.
        raise InputError(f"--beam-options={' '.join(options)}: {error}") from error


def publish(directory: Path, address: str) -> None:
    """Puts what stands beside the shards at their address; what makes it complete comes last."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    files.sort(key=lambda path: path.name == dataset.INFO_FILE)
    for path in files:
        _upload(path, _join(address, *path.relative_to(directory).parts))


def holds_dataset(address: str) -> bool:
    """Whether a complete dataset is at an address."""
    return bool(FileSystems.exists(_join(address, dataset.INFO_FILE)))


class _Make(beam.DoFn):
    """Makes the groups of a chunk."""

    def __init__(self, works: dict[str, Work], shards: dict[str, int], target: str) -> None:
        self._works = works
        self._shards = shards
        self._target = target

    def setup(self) -> None:
        for work in self._works.values():
            store = work.problems
            if isinstance(store, ProblemStore) and not store.path.exists():
                store.path = _download(_problems_address(self._target, store))

    def process(self, part: Refs) -> Iterator[_Placed | beam.pvalue.TaggedOutput]:
        chunk = make_chunk(self._works[part.split], part)
        count = self._shards[part.split]
        for place, record in chunk.records:
            yield (part.split, place % count), (place, record)
        yield beam.pvalue.TaggedOutput("tally", chunk.tally)


class _WriteShard(beam.DoFn):
    """Writes the records of a shard, in order."""

    def __init__(self, target: str) -> None:
        self._target = target

    def process(
        self, shard: tuple[_Key, Iterable[tuple[int, bytes]]]
    ) -> Iterator[tuple[_Key, tuple[int, int]]]:
        key, records = shard
        count = size = 0
        with FileSystems.create(_shard_address(self._target, key), _UNCOMPRESSED) as file:
            for _, record in sorted(records):
                file.write(frame(record))
                count, size = count + 1, size + len(record)
        yield key, (count, size)


class _Keep(beam.DoFn):
    """Hands a value of the pipeline to the process that started it, by a file."""

    def __init__(self, address: str) -> None:
        self._address = address

    def process(self, value: object) -> None:
        with FileSystems.create(self._address, _UNCOMPRESSED) as file:
            file.write(pickle.dumps(value))


def _kept(address: str) -> Any:
    with FileSystems.open(address, _UNCOMPRESSED) as file:
        value = pickle.loads(file.read())
    FileSystems.delete([address])
    return value


def _add(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.update(tally)
    return total


def _join(address: str, *parts: str) -> str:
    joined: str = FileSystems.join(address, *parts)
    return joined


def _problems_address(target: str, store: ProblemStore) -> str:
    return _join(target, store.path.parent.name, store.path.name)


def _shard_address(target: str, key: _Key) -> str:
    """Where a shard stands until all are written: not under a name that a reader looks for."""
    split, number = key
    return _join(target, f".{dataset.NAME}-{split}-{number:05d}.tmp")


def _named(split: str, lengths: dict[_Key, tuple[int, int]], target: str) -> Split:
    """Gives the shards of a split their names, now that it is known how many there are."""
    keys = sorted(key for key in lengths if key[0] == split)
    if not keys:
        raise InputError(f"{target}: split {split!r} has no groups; leave it out")
    counts, sizes = zip(*(lengths[key] for key in keys), strict=True)
    written = Split(split, counts, sum(sizes))
    FileSystems.rename(
        [_shard_address(target, key) for key in keys], [_join(target, f) for f in written.files]
    )
    return written


def _upload(path: Path, address: str) -> None:
    with path.open("rb") as source, FileSystems.create(address, _UNCOMPRESSED) as file:
        while block := source.read(1 << 20):
            file.write(block)


def _download(address: str) -> Path:
    with (
        FileSystems.open(address, _UNCOMPRESSED) as source,
        tempfile.NamedTemporaryFile(suffix=".jsonl", delete=False) as file,
    ):
        while block := source.read(1 << 20):
            file.write(block)
    return Path(file.name)
