"""Groups from problems in a fixed order, by one process or several, to the same bytes.

The tasks of a split are numbered in an order drawn by the seed. The number of a task decides its
shard and its place there, so that neither workers nor runner change a byte of the output.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_prep import workers
from data_prep.data_card import Tally
from data_prep.groups import generator, make_group, plan
from data_prep.problems import Problem
from data_prep.tasks import Context
from xcot_jax.data.records import ParallelGroup, decode, encode

CHUNK = 128  # Tasks that a worker makes at a time.
_SAMPLE = 2_000
_WORTH_A_WORKER = 4_000  # Tasks below which another process costs more than it brings.


@dataclasses.dataclass(frozen=True)
class Work:
    """The groups of one split, to be made.

    Attributes:
      split: name of the split.
      problems: what they are made of.
      context: what they are made with.
    """

    split: str
    problems: Sequence[Problem]
    context: Context


@dataclasses.dataclass(frozen=True)
class Refs:
    """Some tasks in a row: the number of the first, and the (problem, task of it) of each."""

    split: str
    first: int
    problems: np.ndarray
    tasks: np.ndarray


@dataclasses.dataclass(frozen=True)
class Job:
    """All groups of a dataset, to be made and written.

    Attributes:
      works: split -> its groups.
      orders: split -> the order of its tasks.
      shards: split -> most files it is to have (1 where it is not named).
      directory: where records are written.
      address: where they are written instead, in the words of Beam's file systems.
    """

    works: Mapping[str, Work]
    orders: Mapping[str, Order]
    shards: Mapping[str, int]
    directory: Path
    address: str = ""

    @property
    def shard_counts(self) -> dict[str, int]:
        """Files of each split: no more than it has tasks."""
        return {
            split: max(min(self.shards.get(split, 1), len(order)), 1)
            for split, order in self.orders.items()
        }


@dataclasses.dataclass(frozen=True)
class Chunk:
    """What became of some tasks.

    Attributes:
      tasks: how many there were.
      records: number of a task and its group, serialised.
      tally: counts of the groups, and of those that could not be made.
    """

    tasks: int
    records: list[tuple[int, bytes]]
    tally: Tally


class Order:
    """The order in which the tasks of a split are made; 8 bytes a task, 8 a problem.

    Attributes:
      unasked: problems without any task, because they are asked in no wanted language.
    """

    def __init__(self, work: Work) -> None:
        """Plans every problem once to count its tasks."""
        self.split = work.split
        counts = np.fromiter(
            (len(plan(problem, work.context)) for problem in work.problems), dtype=np.uint32
        )
        self.unasked = int((counts == 0).sum())
        self._ends = np.cumsum(counts, dtype=np.int64)
        total = int(self._ends[-1]) if len(counts) else 0
        self._order = np.arange(total, dtype=np.int64)
        generator(work.context.seed, "order", work.split).shuffle(self._order)

    def __len__(self) -> int:
        return len(self._order)

    def chunks(self, size: int = CHUNK) -> Iterator[Refs]:
        """All tasks in order, some at a time."""
        for first in range(0, len(self), size):
            drawn = self._order[first : first + size]
            problems = np.searchsorted(self._ends, drawn, side="right")
            begins = np.where(problems > 0, self._ends[problems - 1], 0)
            yield Refs(self.split, first, problems, drawn - begins)


def make_chunk(work: Work, refs: Refs) -> Chunk:
    """Makes the groups of some tasks. Pure."""
    tally, records = Tally(), []
    for offset, (problem, task) in enumerate(
        zip(refs.problems.tolist(), refs.tasks.tolist(), strict=True)
    ):
        made = make_group(plan(work.problems[problem], work.context)[task], work.context)
        if isinstance(made, str):
            tally.dropped[made] += 1
        else:
            tally.add(made, work.split)
            records.append((refs.first + offset, encode(made.group)))
    return Chunk(len(refs.tasks), records, tally)


def sample(job: Job, split: str) -> Iterator[ParallelGroup]:
    """Some groups of a split: those of its first tasks, which are in random order."""
    refs = itertools.islice(job.orders[split].chunks(CHUNK), -(-_SAMPLE // CHUNK))
    for part in refs:
        for _, record in make_chunk(job.works[split], part).records:
            yield decode(record)


def make(
    works: Mapping[str, Work],
    orders: Mapping[str, Order],
    asked: int,
    tally: Tally,
    chunk: int = CHUNK,
) -> dict[str, Iterator[tuple[int, bytes]]]:
    """The records of every split, streaming; each split is to be read to its end, in turn.

    Args:
      works: split -> its groups.
      orders: split -> the order of its tasks.
      asked: for how many processes, `prep.workers`.
      tally: gets the counts.
      chunk: tasks that a worker makes at a time.

    Raises:
      InputError: if a worker dies.
    """

    def records(split: str) -> Iterator[tuple[int, bytes]]:
        with tqdm(total=len(orders[split]), desc=f"make {split}", unit=" groups") as bar:
            refs, total = orders[split].chunks(chunk), len(orders[split])
            count = min(workers.count(asked, total, _WORTH_A_WORKER), -(-total // chunk))
            for done in workers.ordered_map(make_chunk, works[split], refs, count):
                tally.update(done.tally)
                yield from done.records
                bar.update(done.tasks)

    return {split: records(split) for split in works}
