"""Phrase pairs: the phrases of a bitext that stand for each other, by its word alignment.

A pair is consistent with the alignment if no link leads out of it (Och and Ney 2004; Koehn, Och and
Marcu 2003).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from data_prep.lexicons.bitext import Bools, Ints, Side


@dataclasses.dataclass(frozen=True)
class Windows:
    """The phrases of up to so many words that begin at each running word of one language.

    Attributes:
      usable: [longest, N] whether the phrase of so many words (less one) that begins there is
        one: unbroken by punctuation and free of numbers and names.
      phrase: [longest, N] number of the phrase among all different ones; -1 if not usable.
      low: [longest, N] first word on the other side that a word of it is linked to.
      high: [longest, N] last such word; before `low` if there is none.
      tight: [longest, N] whether its first and its last word are linked.
    """

    usable: Bools
    phrase: Ints
    low: Ints
    high: Ints
    tight: Bools


def windows(
    side: Side, fixed: Bools, own: Ints, other: Ints, longest: int, *, whole: bool
) -> Windows:
    """All phrases of one language, with what they are linked to.

    Args:
      side: the running words.
      fixed: of each running word, whether no phrase may have it.
      own: this side's running words of all links.
      other: the other side's.
      longest: most words of a phrase.
      whole: whether phrases must begin and end where written words do.
    """
    count = len(side.words)
    low = np.full(count, np.iinfo(np.int64).max)
    high = np.full(count, -1)
    np.minimum.at(low, own, other)
    np.maximum.at(high, own, other)
    linked = high >= 0
    if whole:  # A written word is linked where a part of it is, as "l'heure" by "heure".
        word = np.cumsum(side.opens)
        linked = (np.bincount(word, linked) > 0)[word]
    free = ~fixed
    found = Windows(
        np.zeros((longest, count), bool),
        np.full((longest, count), -1),
        np.tile(low, (longest, 1)),
        np.tile(high, (longest, 1)),
        np.zeros((longest, count), bool),
    )
    found.usable[0], found.phrase[0], found.tight[0] = free, np.where(free, side.words, -1), linked
    numbered = len(side.vocabulary)
    for size in range(1, min(longest, count)):
        inner = slice(0, count - size)  # Where a phrase of this size still fits.
        last = slice(size, count)
        found.usable[size, inner] = (
            found.usable[size - 1, inner] & side.joins[size - 1 : count - 1] & free[last]
        )
        found.low[size, inner] = np.minimum(found.low[size - 1, inner], low[last])
        found.high[size, inner] = np.maximum(found.high[size - 1, inner], high[last])
        found.tight[size, inner] = linked[inner] & linked[last]
        at = np.nonzero(found.usable[size])[0]
        longer = found.phrase[size - 1, at] * len(side.vocabulary) + side.words[at + size]
        _, number = np.unique(longer, return_inverse=True)
        found.phrase[size, at] = number + numbered
        numbered += int(number.max(initial=-1)) + 1
    if whole:
        for size in range(min(longest, count)):
            found.usable[size, : count - size] &= side.opens[: count - size] & side.closes[size:]
        found.phrase[~found.usable] = -1
    return found


@dataclasses.dataclass(frozen=True)
class PhrasePairs:
    """Every place where a phrase of one language stands for one of the other.

    Attributes:
      source: first and last running word, [2, M].
      target: likewise.
      source_phrase: number of the phrase.
      target_phrase: likewise.
      source_count: [M] times the source phrase occurs, aligned or not.
      target_count: [M] likewise.
    """

    source: Ints
    target: Ints
    source_phrase: Ints
    target_phrase: Ints
    source_count: Ints
    target_count: Ints


def phrase_pairs(source: Windows, target: Windows) -> PhrasePairs:
    """The phrase pairs consistent with the links: no link leads out of them.

    Phrases begin and end with linked words; looser ones would add words that mean nothing there.
    """
    longest = len(source.usable)
    size, first = np.nonzero(source.usable & source.tight)
    begin, end = source.low[size, first], source.high[size, first]
    width = end - begin
    fits = width < longest
    size, first, begin, end, width = (a[fits] for a in (size, first, begin, end, width))
    fits = (
        target.usable[width, begin]
        & (target.low[width, begin] >= first)
        & (target.high[width, begin] <= first + size)
    )
    size, first, begin, end, width = (a[fits] for a in (size, first, begin, end, width))
    ours, theirs = source.phrase[size, first], target.phrase[width, begin]
    return PhrasePairs(
        np.stack([first, first + size]),
        np.stack([begin, end]),
        ours,
        theirs,
        _counts(source.phrase)[ours],
        _counts(target.phrase)[theirs],
    )


def _counts(phrases: Ints) -> Ints:
    return np.bincount(phrases[phrases >= 0])
