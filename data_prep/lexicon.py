"""Bilingual lexicons: phrases of one language and their candidate translations into another.

A lexicon file is UTF-8 text, one entry a line, in four columns separated by tabs:

    # provenance: hand-made for this example, CC0
    # source language, target language, source phrase, target phrase
    en	sw	apples	matofaa
    en	sw	how many	ngapi

Lines that begin with `#` are comments; `# provenance:` says where the entries come from and under
which licence, and is copied to the data card. Several lines for one phrase are its candidates.
"""

from __future__ import annotations

import dataclasses
import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import regex

from data_prep import story_problems
from xcot_jax.errors import InputError
from xcot_jax.languages import CODES, LANGUAGES, language
from xcot_jax.settings import Settings

# Letters with their combining marks (Bengali, Telugu and Thai vowels are marks), and digits.
WORD = regex.compile(r"[\p{L}\p{M}\p{N}_]+(?:[-'’][\p{L}\p{M}\p{N}_]+)*")
_DIGIT = regex.compile(r"\p{N}")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line of a lexicon: a phrase and one translation of it."""

    source: str
    target: str
    phrase: str
    translation: str


@dataclasses.dataclass(frozen=True)
class Table:
    """The phrases of one language pair, ready for longest match.

    Attributes:
      candidates: phrase, as `phrase_key` gives it -> its translations, in the lexicon's order.
      longest: first word of a phrase (first character, in an unspaced script) -> words
        (characters) of the longest phrase that begins with it.
    """

    candidates: Mapping[str, tuple[str, ...]]
    longest: Mapping[str, int]


_NOTHING = Table({}, {})


@dataclasses.dataclass(frozen=True)
class Lexicon:
    """Translations of phrases, for any number of language pairs.

    Attributes:
      tables: (source language, target language) -> its phrases.
      provenance: where the entries come from, in words.
      left_out: reason -> entries that code-switching could not use.
      digest: SHA-256 of the entries.
    """

    tables: Mapping[tuple[str, str], Table]
    provenance: str = ""
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)
    digest: str = ""

    def table(self, source: str, target: str) -> Table:
        """The phrases from one language into another; empty if there are none."""
        return self.tables.get((source, target), _NOTHING)

    def covers(self, source: str, target: str) -> bool:
        """Whether anything can be translated from one language into the other."""
        return (source, target) in self.tables

    def sizes(self) -> dict[str, int]:
        """Phrases of each language pair, such as `{"en-sw": 812}`."""
        return {f"{s}-{t}": len(table.candidates) for (s, t), table in sorted(self.tables.items())}

    def translations(self) -> list[str]:
        """Every translation, without repeats, in a fixed order."""
        found: dict[str, None] = {}
        for _, table in sorted(self.tables.items(), key=lambda item: item[0]):
            for candidates in table.candidates.values():
                found.update(dict.fromkeys(candidates))
        return list(found)


def build_lexicon(entries: Iterable[Entry], provenance: str = "") -> Lexicon:
    """Indexes entries. Those with a digit are left out and counted: numbers are never switched."""
    candidates: dict[tuple[str, str], dict[str, dict[str, None]]] = {}
    longest: dict[tuple[str, str], dict[str, int]] = {}
    left_out: Counter[str] = Counter()
    digest = hashlib.sha256()
    for entry in entries:
        digest.update("\t".join(dataclasses.astuple(entry)).encode() + b"\n")
        parts = phrase_parts(entry.phrase, entry.source)
        translation = unicodedata.normalize("NFC", entry.translation.strip())
        if not parts:
            left_out["no word, or punctuation inside"] += 1
        elif _DIGIT.search(entry.phrase) or _DIGIT.search(translation):
            left_out["has a digit"] += 1
        else:
            pair = (entry.source, entry.target)
            key = phrase_key(parts, entry.source)
            candidates.setdefault(pair, {}).setdefault(key, {})[translation] = None
            starts = longest.setdefault(pair, {})
            starts[parts[0]] = max(starts.get(parts[0], 0), len(parts))
    tables = {
        pair: Table({key: tuple(found) for key, found in phrases.items()}, longest[pair])
        for pair, phrases in candidates.items()
    }
    return Lexicon(tables, provenance, dict(left_out), digest.hexdigest())


def word_key(word: str) -> str:
    """The form in which words are compared: case and Unicode composition do not count."""
    return word.lower() if word.isascii() else unicodedata.normalize("NFC", word).casefold()


def phrase_parts(phrase: str, source: str) -> tuple[str, ...]:
    """The words of a phrase (its characters, in an unspaced script), as they are compared.

    Empty if the phrase has no word or has punctuation inside, which no fragment of a text matches.
    """
    phrase = phrase.strip()
    if not language(source).spaced:
        return tuple(phrase)
    if WORD.sub("", phrase).strip():
        return ()
    return tuple(word_key(word) for word in WORD.findall(phrase))


def phrase_key(parts: Iterable[str], source: str) -> str:
    """The key of a phrase's parts in `Table.candidates`."""
    return (" " if LANGUAGES[source].spaced else "").join(parts)


def read_lexicon(path: Path) -> Lexicon:
    """Reads a tab-separated lexicon file (see the top of this file).

    Raises:
      InputError: naming the file and line.
    """
    if not path.is_file():
        raise InputError(f'prep.xicl.lexicon = {path}: no such file, nor "story" or "story-seen"')
    entries: list[Entry] = []
    provenance: list[str] = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            line = line.rstrip("\r\n").removeprefix("\ufeff")
            if line.startswith("#"):
                name, _, value = line.lstrip("# ").partition(":")
                if name.strip().lower() == "provenance":
                    provenance.append(value.strip())
            elif line.strip():
                entries.append(_entry(line, f"{path}:{number}"))
    if not entries:
        raise InputError(f"{path}: no entry in this lexicon")
    said = " ".join(provenance) or "not said"
    return build_lexicon(entries, f"{path.name}: {said}")


def _entry(line: str, where: str) -> Entry:
    columns = [column.strip() for column in line.split("\t")]
    if len(columns) != 4 or not all(columns):
        raise InputError(
            f"{where}: {len(columns)} columns, of them {sum(map(bool, columns))} filled; a lexicon "
            "has four: source language, target language, source phrase, target phrase"
        )
    try:
        language(columns[0]), language(columns[1])
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
    return Entry(*columns)


def story_lexicon(settings: Settings, *, seen_only: bool = False) -> Lexicon:
    """The embedded corpus's; `seen_only`: without words withheld from low-resource training."""
    entries = [
        Entry("en", target, phrase, translation)
        for target in CODES
        if target != "en"
        for phrase, translation in story_problems.lexicon(
            target, seen_only=seen_only, withheld=settings.prep.story.withheld
        )
    ]
    words = "the embedded corpus's words" + (", without the withheld ones" if seen_only else "")
    return build_lexicon(entries, words)


def load_lexicon(settings: Settings) -> Lexicon:
    """The lexicon `prep.xicl.lexicon` names: "story", "story-seen" or a file.

    Raises:
      InputError: if there is no such file, or a line of it is not an entry.
    """
    name = settings.prep.xicl.lexicon
    if name in ("story", "story-seen"):
        return story_lexicon(settings, seen_only=name == "story-seen")
    return read_lexicon(Path(name).expanduser())
