"""Problems on disk: written as a stream, read at random, so that memory does not grow with them."""

from __future__ import annotations

import array
import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np

from data_prep.problems import Problem, from_line, to_line


class _Stored(Sequence[Problem]):
    """Problems that are read when they are asked for, by `_read`."""

    @overload
    def __getitem__(self, index: int) -> Problem: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Problem]: ...
    def __getitem__(self, index: int | slice) -> Problem | Sequence[Problem]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        return self._read(range(len(self))[index])

    def _read(self, number: int) -> Problem:
        raise NotImplementedError


class ProblemStore(_Stored):
    """The problems of a JSON Lines file that `write` made, in its order.

    Keeps 8 bytes a problem. Can be read by threads and inherited by forked workers; a pickled store
    opens its file again where it arrives.

    Attributes:
      path: the file; where it is not the same on another machine, it is set before reading.
    """

    def __init__(self, path: Path) -> None:
        """Opens the file and finds its lines."""
        self.path = path
        self._offsets = array.array("q", [0])
        with path.open("rb") as lines:
            for line in lines:
                self._offsets.append(self._offsets[-1] + len(line))
        self._file: BinaryIO | None = None

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def _read(self, number: int) -> Problem:
        begin, end = self._offsets[number], self._offsets[number + 1]
        if self._file is None:
            self._file = self.path.open("rb")
        return from_line(os.pread(self._file.fileno(), end - begin, begin))

    def __iter__(self) -> Iterator[Problem]:
        with self.path.open("rb") as lines:
            yield from map(from_line, lines)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_offsets": self._offsets}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._file = None


class Selection(_Stored):
    """Some problems of a sequence, by their numbers in it (4 bytes each)."""

    def __init__(self, problems: Sequence[Problem], numbers: Iterable[int]) -> None:
        self._problems = problems
        self._numbers = np.fromiter(numbers, dtype=np.uint32)

    def __len__(self) -> int:
        return len(self._numbers)

    def _read(self, number: int) -> Problem:
        return self._problems[int(self._numbers[number])]


def write(path: Path, problems: Iterable[Problem]) -> ProblemStore:
    """Writes problems under a temporary name, which takes the final one when all are there."""
    temporary = path.with_name(f".{path.name}.tmp")
    with contextlib.closing(temporary.open("w", encoding="utf-8")) as file:
        file.writelines(map(to_line, problems))
    temporary.replace(path)
    return ProblemStore(path)
