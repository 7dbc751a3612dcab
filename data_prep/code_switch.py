"""Code-switching: fragments of a text replaced by their translations (xCoT, section 3, xICL).

What is never touched, so that the problem stays the same problem:

- numbers: anything with a digit, and number words;
- maths: a word that has an operator in it or stands beside one ("total = 5 * price", "x - y");
- abbreviations and addresses with points inside ("a.m.");
- names: the protected words, and capitalised words that do not begin a sentence, there and where
  they do begin one ("Mark has ... does Mark"). German is excepted: it capitalises every noun.

A fragment takes whole words. It is exchanged as it stands, so the white space around it stays:
inside an English sentence a Thai or Chinese fragment is set off by spaces, and inside an unspaced
text no space is added.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import regex

from data_prep.lexicons.lexicon import WORD, Lexicon, Table, phrase_key, word_key
from data_prep.quality import number_words, numbers
from xcot_jax.data.records import Switch
from xcot_jax.languages import language

_ENGLISH_NUMBERS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred
thousand million billion dozen third thirds fourth fourths fifth fifths sixth sixths seventh
sevenths eighth eighths ninth ninths tenth tenths
"""

# Languages whose number words are just these; of the others, all that may be read as a number.
NUMBER_WORDS: dict[str, frozenset[str]] = {"en": frozenset(_ENGLISH_NUMBERS.split())}

_CAPITALISED_NOUNS = frozenset({"de"})
_CHUNK = regex.compile(r"\S+")
_MATHS = regex.compile(r"[\p{N}=+*/^<>\\_{}|~×÷√≤≥≠%]")
# Abbreviations and addresses: "a.m.", "www.the.com".
_DOTTED = regex.compile(r"\p{L}\.\p{L}")
_OPERATOR = regex.compile(r"[=+*/^<>×÷≤≥≠]+")
_DASH = regex.compile(r"[-−–]")
# In an unspaced script: numbers, Latin words and formulas, with what holds them together.
_FOREIGN = regex.compile(r"[\p{N}\p{Latin}=+*/^<>\\_{}|~×÷√≤≥≠%$.,:-]*[\p{N}\p{Latin}=+*/^<>×÷%]+")
_MARK = regex.compile(r"\p{M}")
_LETTER = regex.compile(r"\p{L}")
_ABBREVIATION = regex.compile(r"(?:^|[^\p{L}])(?:Mr|Mrs|Ms|Dr|St|Mt|Prof|Jr|Sr|Capt|Sgt|\p{Lu})\.$")
_CLOSERS = "\"'”’»)]*_"
_OPENERS = "\"'“‘«([¿¡*_"
_SENTENCE_END = (".", "!", "?", ":", ";", "…", "।", "。", "？", "！")


@dataclasses.dataclass(frozen=True, slots=True)
class Fragment:
    """A stretch of a text that the lexicon covers.

    Attributes:
      start: offset of its first character.
      end: offset after its last character.
      candidates: its translations.
      words: how many words it has (characters, in an unspaced script).
      capital: whether it begins a sentence with a capital letter.
      weights: how often each candidate is drawn, relative to the others; empty: alike.
    """

    start: int
    end: int
    candidates: tuple[str, ...]
    words: int
    capital: bool = False
    weights: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Coverage:
    """How far a lexicon reached in a text, and how much of that was switched.

    Attributes:
      words: words that could have been switched, had the lexicon reached everywhere.
      covered_words: of these, words the lexicon covers.
      switched_words: of these, words that were switched.
      fragments: fragments the lexicon covers.
    """

    words: int = 0
    covered_words: int = 0
    switched_words: int = 0
    fragments: int = 0

    def __add__(self, other: Coverage) -> Coverage:
        return Coverage(
            self.words + other.words,
            self.covered_words + other.covered_words,
            self.switched_words + other.switched_words,
            self.fragments + other.fragments,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class _Word:
    start: int
    end: int
    key: str
    fixed: bool
    capital: bool = False


def code_switch(
    text: str,
    lexicon: Lexicon,
    *,
    source: str,
    target: str,
    rate: float,
    rng: np.random.Generator,
    share_of: str = "fragments",
    protected: Collection[str] = (),
) -> tuple[str, tuple[Switch, ...], Coverage]:
    """Replaces fragments of a text that the lexicon covers by their translations.

    Args:
      text: a text in language `source`.
      lexicon: translations; a phrase's candidates are drawn from by their scores.
      source: language of the text.
      target: language to switch into.
      rate: what share is replaced: 0 leaves the text as it is, 1 replaces every covered fragment.
      rng: all randomness.
      share_of: "fragments": each covered fragment is replaced with probability `rate`; "words":
        fragments are replaced, in random order, until `rate` of all words of the text are (on
        average exactly, as far as the lexicon reaches).
      protected: words to leave alone, as they are written.

    Returns:
      The new text, its switches in order, with offsets into it, and how far the lexicon reached.
    """
    found = fragments(text, lexicon, source, target, protected)
    words = word_count(text, source)
    chosen = choose(found, rate, rng, words if share_of == "words" else None)
    covered, switched = (sum(f.words for f in part) for part in (found, chosen))
    return *replace(text, chosen, rng), Coverage(words, covered, switched, len(found))


def choose(
    found: Sequence[Fragment], rate: float, rng: np.random.Generator, words: int | None = None
) -> list[Fragment]:
    """The fragments to replace: each with probability `rate` or, given the number of words of the
    text, in random order until `rate` of them are taken, on average exactly.
    """
    if words is None:
        draws = rng.random(len(found)).tolist()
        return [fragment for fragment, draw in zip(found, draws, strict=True) if draw < rate]
    wanted = rate * words
    chosen = []
    for index in rng.permutation(len(found)).tolist():
        size = found[index].words
        if size <= wanted or rng.random() * size < wanted:
            chosen.append(index)
        wanted -= size
        if wanted <= 0:
            break
    return [found[index] for index in sorted(chosen)]


def replace(
    text: str, chosen: Sequence[Fragment], rng: np.random.Generator
) -> tuple[str, tuple[Switch, ...]]:
    """Replaces fragments of a text, each by one of its candidates."""
    pieces: list[str] = []
    switches: list[Switch] = []
    done, length = 0, 0  # Offsets in the old and in the new text.
    for fragment in chosen:
        new = _candidate(fragment, rng)
        if fragment.capital:
            new = new[0].upper() + new[1:]
        pieces += (text[done : fragment.start], new)
        start = length + fragment.start - done
        length = start + len(new)
        done = fragment.end
        switches.append(Switch(start, length, text[fragment.start : fragment.end]))
    pieces.append(text[done:])
    return "".join(pieces), tuple(switches)


def word_count(text: str, source: str) -> int:
    """Words of a text (letters, in an unspaced script), as `rate` counts them."""
    kind = WORD if language(source).spaced else _LETTER
    return len(kind.findall(text))


def _candidate(fragment: Fragment, rng: np.random.Generator) -> str:
    choices = fragment.candidates
    if len(choices) == 1:
        return choices[0]
    if not fragment.weights:
        return choices[int(rng.integers(len(choices)))]
    draw = rng.random() * sum(fragment.weights)
    for choice, weight in zip(choices, fragment.weights, strict=True):
        draw -= weight
        if draw < 0:
            return choice
    return choices[-1]


def restore(text: str, switches: Sequence[Switch]) -> str:
    """The text before its fragments were switched."""
    pieces: list[str] = []
    done = 0
    for switch in switches:
        pieces += (text[done : switch.start], switch.source)
        done = switch.end
    return "".join((*pieces, text[done:]))


def shifted(switches: Sequence[Switch], by: int) -> tuple[Switch, ...]:
    """The switches of a text that now stands `by` characters further on."""
    return tuple(Switch(s.start + by, s.end + by, s.source) for s in switches)


def fragments(
    text: str, lexicon: Lexicon, source: str, target: str, protected: Collection[str] = ()
) -> list[Fragment]:
    """The longest phrases of the lexicon in a text, from left to right, without overlap."""
    table = lexicon.table(source, target)
    if not table.candidates:
        return []
    if language(source).spaced:
        return list(_spaced(_words(text, source, frozenset(protected)), table, source))
    return list(_unspaced(text, table, source, protected))


def _spaced(runs: list[list[_Word]], table: Table, source: str) -> Iterator[Fragment]:
    for run in runs:
        at = 0
        while at < len(run):
            longest = min(table.longest.get(run[at].key, 0), len(run) - at)
            for size in range(longest, 0, -1):
                key = phrase_key([word.key for word in run[at : at + size]], source)
                if key in table.candidates:
                    first, last = run[at], run[at + size - 1]
                    yield Fragment(
                        first.start,
                        last.end,
                        table.candidates[key],
                        size,
                        first.capital,
                        table.weights.get(key, ()),
                    )
                    at += size
                    break
            else:
                at += 1


@functools.lru_cache(maxsize=1 << 16)
def is_number(word: str, language: str) -> bool:
    """Whether a word, as `word_key` gives it, spells out a number."""
    if language in NUMBER_WORDS:
        return not NUMBER_WORDS[language].isdisjoint((word, *word.split("-")))
    return bool(number_words.values(word, language, numbers.readings))


def _unspaced(
    text: str, table: Table, source: str, protected: Collection[str]
) -> Iterator[Fragment]:
    fixed = bytearray(len(text))
    for match in _FOREIGN.finditer(text):
        fixed[match.start() : match.end()] = b"\1" * (match.end() - match.start())
    for name in filter(None, protected):
        start = text.find(name)
        while start >= 0:
            fixed[start : start + len(name)] = b"\1" * len(name)
            start = text.find(name, start + 1)
    at = 0
    while at < len(text):
        longest = min(table.longest.get(text[at], 0), len(text) - at)
        for size in range(longest, 0, -1):
            end = at + size
            whole = end == len(text) or not _MARK.match(text[end])
            key = text[at:end]
            known = key in table.candidates and not is_number(key, source)
            if whole and known and not any(fixed[at:end]):
                candidates, weights = table.candidates[key], table.weights.get(key, ())
                yield Fragment(at, end, candidates, size, weights=weights)
                at = end
                break
        else:
            at += 1


def _words(text: str, source: str, protected: frozenset[str]) -> list[list[_Word]]:
    """Runs of words with nothing but white space between them, fixed words left out."""
    chunks = [(m.start(), m.group()) for m in _CHUNK.finditer(text)]
    words: list[_Word] = []
    inner_capitals: set[str] = set()
    names = protected.union(*(WORD.findall(name) for name in protected))
    for index, (start, chunk) in enumerate(chunks):
        if chunk.isalpha():
            spans = [(start, start + len(chunk), chunk)]
        elif _MATHS.search(chunk) or _DOTTED.search(chunk):
            words.append(_Word(start, start + len(chunk), "", True))
            continue
        else:
            spans = [(start + m.start(), start + m.end(), m.group()) for m in WORD.finditer(chunk)]
        for begin, end, word in spans:
            key = word_key(word)
            base = _base(word)
            fixed = base in names or word in names or is_number(key, source)
            capital = word[0].isupper()
            if capital and not _begins_sentence(text, begin):
                capital = False
                if source not in _CAPITALISED_NOUNS:
                    fixed = True
                    inner_capitals.add(base)
            words.append(_Word(begin, end, key, fixed or _in_formula(chunks, index), capital))
    runs: list[list[_Word]] = []
    last_end = -1
    for word in words:
        if word.fixed or (word.capital and _base(text[word.start : word.end]) in inner_capitals):
            last_end = -1
            continue
        if last_end >= 0 and text[last_end : word.start].isspace():
            runs[-1].append(word)
        else:
            runs.append([word])
        last_end = word.end
    return runs


def _base(word: str) -> str:
    """A word without its possessive ending."""
    return word.replace("’", "'").removesuffix("'s")


def _begins_sentence(text: str, start: int) -> bool:
    before = text[:start].rstrip(_OPENERS)
    stripped = before.rstrip()
    if not stripped or "\n" in before[len(stripped) :]:
        return True
    stripped = stripped.rstrip(_CLOSERS)
    return stripped.endswith(_SENTENCE_END) and not _ABBREVIATION.search(stripped)


def _in_formula(chunks: Sequence[tuple[int, str]], index: int) -> bool:
    """Whether a word stands beside an operator; a lone letter also beside a minus sign."""
    chunk = chunks[index][1]
    for near in (index - 1, index + 1):
        if 0 <= near < len(chunks):
            other = chunks[near][1]
            if _OPERATOR.fullmatch(other) or (len(chunk) == 1 and _DASH.fullmatch(other)):
                return True
    return False
