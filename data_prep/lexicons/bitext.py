"""Bitexts: the parallel questions of two languages as sentence pairs of numbered words."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import regex
from numpy.typing import NDArray

from data_prep.code_switch import NUMBER_WORDS
from data_prep.lexicons.lexicon import word_key
from data_prep.lexicons.segmentation import cut_spans, sentences, word_spans, words
from xcot_jax.languages import language

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

UNTRANSLATED = "induction: question left in the words of its source"
_COPIED = 0.6  # Share of a translation's words that are its source's: names seldom reach half.
_MOSTLY, _SOMETIMES = 0.5, 0.05  # Shares of capitals inside sentences that make a name.
# Words of an unspaced script are one if they stand together so often, for so great a share of the
# rarer one's occurrences and of the more frequent one's.
_COLLOCATIONS, _TOGETHER, _NOT_BY_CHANCE = 5, 0.95, 0.01
_DIGIT = regex.compile(r"\p{N}")
_CASED = frozenset({"Latn", "Cyrl"})
CAPITALISED_NOUNS = frozenset({"de"})

# Measure words, which stand between a number and a noun and have no counterpart elsewhere.
_MEASURES: dict[str, frozenset[str]] = {
    "zh": frozenset("个只条颗支枝张把棵辆件朵位名头本匹枚幅首座台架艘顶株根粒盏部栋篇封顿"),
    "ja": frozenset("個つ匹枚冊台頭羽着軒"),
    "th": frozenset({"ตัว", "อัน", "คัน", "เล่ม", "ใบ"}),
}


@dataclasses.dataclass(frozen=True)
class Side:
    """The running words of one language of a bitext; arrays have a row for each.

    Attributes:
      code: the language.
      vocabulary: the words as they are compared, by index.
      texts: the questions.
      lengths: words of each sentence.
      words: index in the vocabulary.
      text: index of the question.
      begin: offset of the first character.
      end: offset after the last character.
      opens: whether a written word begins here, and not inside ("l'" and "heure" are one); always,
        in unspaced scripts.
      closes: whether a written word ends here.
      joins: whether nothing but white space stands between this word and the next of its sentence.
      initial: whether it is the first of its sentence.
    """

    code: str
    vocabulary: Sequence[str]
    texts: Sequence[str]
    lengths: Ints
    words: Ints
    text: Ints
    begin: Ints
    end: Ints
    opens: Bools
    closes: Bools
    joins: Bools
    initial: Bools

    def written(self, first: int, last: int) -> str:
        """The text from one running word to another of the same sentence."""
        text = self.texts[self.text[first]][self.begin[first] : self.end[last]]
        return " ".join(text.split())

    def numbers(self) -> Bools:
        """Of each word of the vocabulary: whether it has a digit or is a known number word."""
        spelt = NUMBER_WORDS.get(self.code, frozenset())
        return np.array(
            [
                bool(_DIGIT.search(word)) or any(part in spelt for part in word.split("-"))
                for word in self.vocabulary
            ],
            bool,
        )

    def measures(self) -> Bools:
        """Of each word of the vocabulary: whether it is a measure word."""
        known = _MEASURES.get(self.code, frozenset())
        return np.array([word in known for word in self.vocabulary], bool)

    def names(self) -> Bools:
        """Of each running word: whether it is a name, as far as capitals tell.

        Words that are mostly capitalised inside sentences are names everywhere, and so are those
        never seen elsewhere than at a beginning; words that are now and then ("Bill", "Rose") where
        they are capitalised. None in scripts without capitals, nor in German.
        """
        size = len(self.vocabulary)
        if language(self.code).script not in _CASED or self.code in CAPITALISED_NOUNS:
            return np.zeros(len(self.words), bool)
        capital = np.array(
            [
                self.texts[text][begin].isupper()
                for text, begin in zip(self.text.tolist(), self.begin.tolist(), strict=True)
            ],
            bool,
        )
        inner = np.bincount(self.words[~self.initial], minlength=size)
        capitals = np.bincount(self.words[capital & ~self.initial], minlength=size)
        lower = np.bincount(self.words[~capital], minlength=size)
        share = np.where(inner > 0, capitals / np.maximum(inner, 1), lower == 0)
        return (share > _MOSTLY)[self.words] | (capital & (share > _SOMETIMES)[self.words])

    def forms(self) -> list[str]:
        """How each word of the vocabulary is mostly written inside a sentence.

        Those never seen there are written in lower case.
        """
        inside: dict[int, Counter[str]] = defaultdict(Counter)
        beginning: dict[int, str] = {}
        for at, (word, initial) in enumerate(
            zip(self.words.tolist(), self.initial.tolist(), strict=True)
        ):
            if initial:
                beginning.setdefault(word, self.written(at, at).lower())
            else:
                inside[word][self.written(at, at)] += 1
        return [
            max(inside[word].items(), key=lambda item: (item[1], item[0]))[0]
            if word in inside
            else beginning.get(word, key)
            for word, key in enumerate(self.vocabulary)
        ]


# Of a running word: the attributes of `Side` from `words` on, in order.
_Row = tuple[int, int, int, int, bool, bool, bool, bool]


class _Reader:
    """Gathers the running words of one language."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.vocabulary: dict[str, int] = {}
        self.texts: list[str] = []
        self.lengths: list[int] = []
        self.rows: list[_Row] = []

    def sentences(self, text: str) -> list[list[_Row]]:
        """The words of each sentence of a text."""
        number = len(self.texts)
        self.texts.append(text)
        found = []
        start = 0
        for sentence in sentences(text, self.code):
            whole = word_spans(sentence, self.code)
            opening = {begin for begin, _ in whole}
            closing = {end for _, end in whole}
            spans = cut_spans(sentence, whole, self.code)
            spaced = language(self.code).spaced
            nexts = [begin for begin, _ in spans[1:]]
            found.append(
                [
                    (
                        self.vocabulary.setdefault(
                            word_key(sentence[begin:end]), len(self.vocabulary)
                        ),
                        number,
                        start + begin,
                        start + end,
                        begin in opening or not spaced,
                        end in closing or not spaced,
                        index < len(nexts) and not sentence[end : nexts[index]].strip(),
                        index == 0,
                    )
                    for index, (begin, end) in enumerate(spans)
                ]
            )
            start += len(sentence)
        return found

    def add(self, rows: Sequence[_Row]) -> None:
        """Adds a sentence."""
        self.lengths.append(len(rows))
        self.rows.extend(rows)

    def side(self) -> Side:
        """All that was added."""
        columns = np.array(self.rows, np.int64).reshape(-1, 8).T
        numbers, flags = columns[:4], columns[4:].astype(bool)
        return Side(
            self.code,
            list(self.vocabulary),
            self.texts,
            np.array(self.lengths, np.int64),
            *numbers,
            *flags,
        )


def read_side(texts: Iterable[str], code: str) -> Side:
    """Texts of one language, sentence by sentence."""
    reader = _Reader(code)
    for text in texts:
        for sentence in reader.sentences(text):
            reader.add(sentence)
    return reader.side()


def read_bitext(
    texts: Iterable[tuple[str, str]], source: str, target: str, left_out: Counter[str]
) -> tuple[Side, Side]:
    """Parallel texts, sentence by sentence where both have the same number of sentences.

    Args:
      texts: a text in each language.
      source: one language.
      target: the other.
      left_out: counts texts that were left untranslated.
    """
    left, right = _Reader(source), _Reader(target)
    for text, translation in texts:
        if untranslated(text, translation, source, target):
            left_out[UNTRANSLATED] += 1
            continue
        ours, theirs = left.sentences(text), right.sentences(translation)
        if len(ours) != len(theirs):
            ours, theirs = [sum(ours, [])], [sum(theirs, [])]
        for one, other in zip(ours, theirs, strict=True):
            if one and other:
                left.add(one)
                right.add(other)
    return _whole(left.side()), _whole(right.side())


def _whole(side: Side) -> Side:
    """The words with those joined that hardly ever stand apart; in unspaced scripts only.

    They are names and words that ICU's dictionary lacks, such as 自行车 (bicycle), cut into
    自行|车.
    """
    if language(side.code).spaced or len(side.words) < 2:
        return side
    size = len(side.vocabulary)
    touching = np.nonzero(side.joins[:-1] & (side.end[:-1] == side.begin[1:]))[0]
    _, pair, times = np.unique(
        side.words[touching] * size + side.words[touching + 1],
        return_inverse=True,
        return_counts=True,
    )
    counts = np.bincount(side.words, minlength=size)
    ratios = (
        times[pair] / counts[side.words[touching]],
        times[pair] / counts[side.words[touching + 1]],
    )
    number = side.numbers()[side.words]
    glued = touching[
        (times[pair] >= _COLLOCATIONS)
        & (np.maximum(*ratios) >= _TOGETHER)
        & (np.minimum(*ratios) >= _NOT_BY_CHANCE)
        & ~number[touching]
        & ~number[touching + 1]
    ]
    inside = np.zeros(len(side.words), bool)  # Whether a word belongs to the one before.
    inside[glued + 1] = True
    first = np.nonzero(~inside)[0]
    last = np.append(first[1:], len(side.words)) - 1
    sentence = np.repeat(np.arange(len(side.lengths)), side.lengths)[first]
    vocabulary: dict[str, int] = {}
    words = [
        vocabulary.setdefault(word_key(side.written(*span)), len(vocabulary))
        for span in zip(first.tolist(), last.tolist(), strict=True)
    ]
    return Side(
        side.code,
        list(vocabulary),
        side.texts,
        np.bincount(sentence, minlength=len(side.lengths)),
        np.array(words, np.int64),
        side.text[first],
        side.begin[first],
        side.end[last],
        side.opens[first],
        side.closes[last],
        side.joins[last],
        side.initial[first],
    )


def untranslated(text: str, translation: str, source: str, target: str) -> bool:
    """Whether most words of a translation are words of its source; numbers do not count."""
    asked = {word_key(word) for word in words(text, source)}
    said = [word_key(w) for w in words(translation, target) if not _DIGIT.search(w)]
    return sum(word in asked for word in said) > _COPIED * max(len(said), 1)
