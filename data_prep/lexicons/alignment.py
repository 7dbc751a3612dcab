"""Word alignment by expectation maximisation, of both directions at once.

Two models, one after the other: IBM model 1 (Brown et al. 1993), and the same with a prior over
positions (as Dyer, Chahuneau and Smith 2013 have, but a histogram of relative displacements that is
learned along instead of their one-parameter form, since it need not peak on the diagonal). Both
directions are trained on the product of their posteriors (Liang, Taskar and Klein 2006), so that
they learn what they agree on.

All that is computed lies in flat arrays with one row for each *cell*: a pair of a source word and a
target word of the same sentence pair. Cells come in blocks of whole sentence pairs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NULL = 0.08  # Prior probability that a word stands for none on the other side.
BINS = 33  # Of the displacement histogram, over [-1, 1].
LINK = 0.3  # Least product of both directions' posteriors of a link.
EITHER = 0.75  # Least posterior of either direction of a link beside another.
BLOCK = 1 << 19  # Cells that are worked on at once, to bound memory.
_SMOOTHING = 1e-4


@dataclasses.dataclass(frozen=True)
class Cells:
    """A block of cells, sentence pair by sentence pair, target word by target word.

    Attributes:
      source: number of the source word among the block's.
      target: number of the target word among the block's.
      pair: number of the cell's word pair among all different ones of the bitext.
      bin: of its relative displacement.
      source_words: vocabulary index of each running source word of the block.
      target_words: vocabulary index of each running target word of the block.
    """

    source: Ints
    target: Ints
    pair: Ints
    bin: Ints
    source_words: Ints
    target_words: Ints


@dataclasses.dataclass(frozen=True)
class Posteriors:
    """What each direction believes of each cell of a block.

    Attributes:
      forward: that the target word translates the source word; for one target word, these and
        its `forward_null` sum to 1.
      backward: that the source word translates the target word, likewise.
      forward_null: of each running target word, that it translates none.
      backward_null: of each running source word, that it translates none.
    """

    forward: Floats
    backward: Floats
    forward_null: Floats
    backward_null: Floats


class Model:
    """Both directions' models of a bitext.

    Attributes:
      blocks: the cells of the bitext.
    """

    def __init__(self, source_words: Ints, rows: Ints, target_words: Ints, columns: Ints) -> None:
        """Begins with uniform translations.

        Args:
          source_words: vocabulary index of each running source word.
          rows: source words of each sentence pair, at least one.
          target_words: vocabulary index of each running target word.
          columns: target words of each sentence pair, at least one.
        """
        size = int(target_words.max()) + 1
        raw = list(_blocks(source_words, rows, target_words, columns, size))
        pairs = np.unique(np.concatenate([keys for _, keys in raw]))
        self.blocks = [
            dataclasses.replace(cells, pair=np.searchsorted(pairs, keys)[cells.pair])
            for cells, keys in raw
        ]
        self._forward = _Direction(pairs // size, pairs % size)
        self._backward = _Direction(pairs % size, pairs // size)

    def posteriors(self, cells: Cells) -> Posteriors:
        """The posteriors of a block."""
        forward, forward_null = self._forward.posteriors(cells, cells.target, cells.target_words)
        backward, backward_null = self._backward.posteriors(cells, cells.source, cells.source_words)
        return Posteriors(forward, backward, forward_null, backward_null)

    def train(self, iterations: int) -> None:
        """Trains each of the two models for so many rounds."""
        for step in range(2 * iterations):
            for cells in self.blocks:
                found = self.posteriors(cells)
                agreed = found.forward * found.backward
                self._forward.expect(cells, agreed, cells.target_words, found.forward_null)
                self._backward.expect(cells, agreed, cells.source_words, found.backward_null)
            positions = step >= iterations - 1  # The last round of model 1 teaches the prior.
            self._forward.maximise(positions)
            self._backward.maximise(positions)


class _Direction:
    """The model of one direction: how words translate, and where their translations stand."""

    def __init__(self, given: Ints, made: Ints) -> None:
        self._given = given
        self._translation = 1 / np.bincount(given)[given]
        self._null = np.full(int(made.max()) + 1, 1 / len(np.unique(made)))
        self._positions = np.ones(BINS)
        self._forget()

    def posteriors(self, cells: Cells, place: Ints, made: Ints) -> tuple[Floats, Floats]:
        """Of each cell, and of each running word that it translates none."""
        prior = self._positions[cells.bin]
        weights = prior * self._translation[cells.pair]
        weights *= (1 - NULL) / np.bincount(place, prior)[place]
        nulls = NULL * self._null[made]
        total = np.bincount(place, weights) + nulls
        return weights / total[place], nulls / total

    def expect(self, cells: Cells, agreed: Floats, made: Ints, nulls: Floats) -> None:
        """Adds the expected counts of a block."""
        self._counts += np.bincount(cells.pair, agreed, minlength=len(self._counts))
        self._null_counts += np.bincount(made, nulls, minlength=len(self._null_counts))
        self._found += np.bincount(cells.bin, agreed, minlength=BINS)
        self._offered += np.bincount(cells.bin, minlength=BINS)

    def maximise(self, positions: bool) -> None:
        """Maximises the expected likelihood."""
        sums = np.bincount(self._given, self._counts)
        self._translation = self._counts / (sums[self._given] + _SMOOTHING)
        self._null = self._null_counts / self._null_counts.sum()
        if positions:
            self._positions = self._found / self._offered
        self._forget()

    def _forget(self) -> None:
        self._counts = np.zeros(len(self._translation))
        self._null_counts = np.full(len(self._null), _SMOOTHING)
        self._found = np.full(BINS, _SMOOTHING)
        self._offered = np.ones(BINS)


def links(
    source_words: Ints, rows: Ints, target_words: Ints, columns: Ints, iterations: int
) -> tuple[Ints, Ints]:
    """The links of a bitext (see `Model`): running source words, and the target words linked."""
    model = Model(source_words, rows, target_words, columns)
    model.train(iterations)
    found: list[tuple[Ints, Ints]] = []
    sources = targets = 0
    for cells in model.blocks:
        linked = symmetrise(cells, model.posteriors(cells))
        found.append((cells.source[linked] + sources, cells.target[linked] + targets))
        sources += len(cells.source_words)
        targets += len(cells.target_words)
    ours, theirs = zip(*found, strict=True)
    return np.concatenate(ours), np.concatenate(theirs)


def symmetrise(cells: Cells, found: Posteriors) -> Bools:
    """Whether each cell is a link: both directions agree, or one says so beside such a link.

    The second kind is grow-diag of Koehn, Och and Marcu (2003): a cell that touches a link, of a
    word that has none yet, so that one word may be linked to all of its translation.
    """
    linked = found.forward * found.backward > LINK
    grown = np.nonzero((np.maximum(found.forward, found.backward) > EITHER) & ~linked)[0]
    height = np.bincount(cells.target)[cells.target[grown]]
    source, target = cells.source[grown], cells.target[grown]
    beside = []  # For each of the eight neighbours of such a cell: its number, and if it exists.
    for down, right in ((d, r) for d in (-1, 0, 1) for r in (-1, 0, 1) if d or r):
        near = np.clip(grown + right * height + down, 0, len(linked) - 1)
        exists = (cells.source[near] == source + down) & (cells.target[near] == target + right)
        beside.append((near, exists))
    while True:
        has_source = np.bincount(cells.source[linked], minlength=len(cells.source_words)) > 0
        has_target = np.bincount(cells.target[linked], minlength=len(cells.target_words)) > 0
        touches = np.any([linked[near] & exists for near, exists in beside], axis=0)
        more = touches & ~linked[grown] & ~(has_source[source] & has_target[target])
        if not more.any():
            return linked
        linked[grown[more]] = True


def _blocks(
    source_words: Ints, rows: Ints, target_words: Ints, columns: Ints, size: int
) -> Iterator[tuple[Cells, Ints]]:
    """Blocks of cells, `pair` counting the block's own word pairs, with those (source, target)."""
    number = np.cumsum(rows * columns) // BLOCK
    edges = [0, *(np.nonzero(np.diff(number))[0] + 1).tolist(), len(rows)]
    ends = np.append(0, np.cumsum(rows)), np.append(0, np.cumsum(columns))
    for begin, end in zip(edges[:-1], edges[1:], strict=True):
        ours = source_words[ends[0][begin] : ends[0][end]]
        theirs = target_words[ends[1][begin] : ends[1][end]]
        cells = _cells(ours, rows[begin:end], theirs, columns[begin:end])
        keys = ours[cells.source] * size + theirs[cells.target]
        different, pair = np.unique(keys, return_inverse=True)
        yield dataclasses.replace(cells, pair=pair.astype(np.int32)), different


def _cells(source_words: Ints, rows: Ints, target_words: Ints, columns: Ints) -> Cells:
    """Each target word has one cell for each source word of its sentence."""
    heights = np.repeat(rows, columns)
    target = np.repeat(np.arange(len(target_words)), heights)
    inner = np.arange(len(target)) - np.repeat(_starts(heights), heights)
    source = inner + np.repeat(np.repeat(_starts(rows), columns), heights)
    across = np.arange(len(target_words)) - np.repeat(_starts(columns), columns)
    along = (across + 0.5) / np.repeat(columns, columns)
    displacement = (inner + 0.5) / heights[target] - along[target]
    bins = np.rint((displacement + 1) * ((BINS - 1) / 2))
    return Cells(
        source=source.astype(np.int32),
        target=target.astype(np.int32),
        pair=np.empty(0, np.int32),
        bin=bins.astype(np.int8),
        source_words=source_words,
        target_words=target_words,
    )


def _starts(lengths: Ints) -> Ints:
    return np.cumsum(lengths) - lengths
