"""The examples of the comparison with other trainers, read back from packed rows.

What the loader packed is the one source: each side trains on the views of the same rows, ours as
they lie there, others padded one by one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

ROWS_FILE = "rows.npz"
_Item = TypeVar("_Item")


@dataclasses.dataclass(frozen=True)
class View:
    """One example: a prompt and the response that is to be learnt.

    Attributes:
      tokens: prompt and response, the end-of-sequence token included.
      response: number of tokens at the end that bear loss.
    """

    tokens: np.ndarray
    response: int


@dataclasses.dataclass(frozen=True)
class Pair:
    """The teacher's and the student's view of one problem.

    Attributes:
      teacher: the view in the high-resource language.
      student: the other; its response may begin with a restated question.
      answer: number of tokens at the end of both that are the shared answer.
    """

    teacher: View
    student: View
    answer: int

    @property
    def views(self) -> tuple[View, View]:
        """Both, each an example of its own."""
        return self.teacher, self.student


def unpack(rows: Mapping[str, np.ndarray]) -> list[Pair]:
    """The groups of stacked packed rows, each of which has a teacher and one student.

    Args:
      rows: as of `loader.HostBatch`.

    Raises:
      ValueError: for groups of another kind.
    """
    pairs = []
    for index in range(len(rows["tokens"])):
        row = {name: values[index] for name, values in rows.items()}
        used = row["ce_weight"] > 0
        segment_of_slot = np.where(used, row["segment_ids"][row["slot_positions"]], 0)
        views = [_view(row, segment_of_slot, s) for s in range(1, row["segment_ids"].max() + 1)]
        shared = row["kd_weight"][:, 0] > 0
        for number in range(0, len(views), 2):
            # The teacher's view comes first, and column 0 is its own where it teaches.
            answer = int((shared & (segment_of_slot[:, 0] == number + 1)).sum())
            if not answer or answer != (shared & (segment_of_slot[:, 1] == number + 2)).sum():
                raise ValueError(f"row {index} has groups without a teacher or with many students")
            pairs.append(Pair(views[number], views[number + 1], answer))
    return pairs


def _view(row: Mapping[str, np.ndarray], segment_of_slot: np.ndarray, segment: int) -> View:
    where = segment_of_slot == segment
    last = row["targets"][where][np.argmax(row["slot_positions"][where])]
    tokens = np.append(row["tokens"][row["segment_ids"] == segment], last)
    return View(tokens.astype(np.int64), int(where.sum()))


def by_length(
    items: Sequence[_Item], batches: int, length: Callable[[_Item], int]
) -> list[list[_Item]]:
    """Items of about the same length together, in batches of about the same number of items."""
    order = sorted(items, key=length)
    return [[order[i] for i in part] for part in np.array_split(np.arange(len(order)), batches)]


def save(batches: Sequence[Mapping[str, np.ndarray]], directory: Path) -> None:
    """Writes batches of packed rows for the workers."""
    stacked: dict[str, Any] = {name: np.stack([b[name] for b in batches]) for name in batches[0]}
    np.savez(directory / ROWS_FILE, **stacked)


def load(directory: Path) -> list[dict[str, np.ndarray]]:
    """The batches that `save` wrote."""
    with np.load(directory / ROWS_FILE) as stored:
        stacked = {name: stored[name] for name in stored.files}
    return [
        {name: values[i] for name, values in stacked.items()} for i in range(len(stacked["tokens"]))
    ]
