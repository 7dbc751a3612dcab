"""Bilingual lexicons: phrases of one language and their candidate translations into another.

Files are read in `lexicon_files.py`; `induction.py` makes a lexicon out of parallel problems.
"""

from __future__ import annotations

import dataclasses
import hashlib
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import regex

from data_prep import story_problems
from data_prep.problems import Problem
from xcot_jax.errors import InputError
from xcot_jax.languages import CODES, LANGUAGES, language
from xcot_jax.settings import Settings

# Letters with their combining marks (Bengali, Telugu and Thai vowels are marks), and digits.
WORD = regex.compile(r"[\p{L}\p{M}\p{N}_]+(?:[-'’][\p{L}\p{M}\p{N}_]+)*")
_DIGIT = regex.compile(r"\p{N}")


@dataclasses.dataclass(frozen=True)
class Entry:
    """A phrase and one translation of it.

    Attributes:
      source: language of the phrase.
      target: language of the translation.
      phrase: the phrase, in lower case unless it must be written otherwise.
      translation: the translation, as it is written inside a sentence.
      score: how often it is to be drawn, relative to the phrase's other translations; above 0.
    """

    source: str
    target: str
    phrase: str
    translation: str
    score: float = 1.0


@dataclasses.dataclass(frozen=True)
class Table:
    """The phrases of one language pair, ready for longest match.

    Attributes:
      candidates: phrase, as `phrase_key` gives it -> its translations, in the lexicon's order.
      longest: first word of a phrase (first character, in an unspaced script) -> words
        (characters) of the longest phrase that begins with it.
      weights: phrase -> the scores of its translations, where they are not all 1.
    """

    candidates: Mapping[str, tuple[str, ...]]
    longest: Mapping[str, int]
    weights: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)


_NOTHING = Table({}, {})


@dataclasses.dataclass(frozen=True)
class Lexicon:
    """Translations of phrases, for any number of language pairs.

    Attributes:
      tables: (source language, target language) -> its phrases.
      provenance: where the entries come from, in words.
      left_out: reason -> entries (lines, phrase pairs, files) that are not in the tables.
      digest: SHA-256 of the entries.
      files: SHA-256 of each file that was read, by its name.
    """

    tables: Mapping[tuple[str, str], Table]
    provenance: str = ""
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)
    digest: str = ""
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)

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
        return list(dict.fromkeys(entry.translation for entry in self.entries()))

    def entries(self) -> Iterator[Entry]:
        """All that is in the tables, in a fixed order."""
        for (source, target), table in sorted(self.tables.items(), key=lambda item: item[0]):
            for phrase, candidates in table.candidates.items():
                scores = table.weights.get(phrase) or (1.0,) * len(candidates)
                for translation, score in zip(candidates, scores, strict=True):
                    yield Entry(source, target, phrase, translation, score)


def build_lexicon(
    entries: Iterable[Entry],
    provenance: str = "",
    left_out: Mapping[str, int] | None = None,
    files: Mapping[str, str] | None = None,
) -> Lexicon:
    """Indexes entries. Those with a digit are left out and counted: numbers are never switched.

    An entry that comes twice keeps its first place and its greater score.
    """
    candidates: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    longest: dict[tuple[str, str], dict[str, int]] = {}
    dropped = Counter(left_out or {})
    digest = hashlib.sha256()
    for entry in entries:
        digest.update("\t".join(map(str, dataclasses.astuple(entry))).encode() + b"\n")
        parts = phrase_parts(entry.phrase, entry.source)
        translation = unicodedata.normalize("NFC", entry.translation.strip())
        if not parts:
            dropped["no word, or punctuation inside"] += 1
        elif _DIGIT.search(entry.phrase) or _DIGIT.search(translation):
            dropped["has a digit"] += 1
        else:
            pair = (entry.source, entry.target)
            key = phrase_key(parts, entry.source)
            found = candidates.setdefault(pair, {}).setdefault(key, {})
            found[translation] = max(found.get(translation, 0.0), entry.score)
            starts = longest.setdefault(pair, {})
            starts[parts[0]] = max(starts.get(parts[0], 0), len(parts))
    tables = {
        pair: Table(
            {key: tuple(found) for key, found in phrases.items()},
            longest[pair],
            {k: tuple(f.values()) for k, f in phrases.items() if any(s != 1 for s in f.values())},
        )
        for pair, phrases in candidates.items()
    }
    return Lexicon(tables, provenance, dict(dropped), digest.hexdigest(), dict(files or {}))


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


BUILT_IN = ("story", "story-seen", "induced")


def check_names(settings: Settings) -> None:
    """Checks, before anything is read, that the lexicons the settings name are there.

    Raises:
      InputError: for a file that is not.
    """
    prep = settings.prep
    if prep.mixture.by_lexicon or prep.tokenizer.train:
        for name in prep.xicl.lexicon:
            if name not in BUILT_IN and not Path(name).expanduser().exists():
                raise InputError(
                    f"prep.xicl.lexicon = {name}: no such file or directory, nor one of "
                    f"{', '.join(BUILT_IN)}"
                )


def load_lexicon(settings: Settings, problems: Iterable[Problem] = ()) -> Lexicon:
    """The lexicons `prep.xicl.lexicon` names, as one; translations of earlier ones come first.

    Args:
      settings: the run.
      problems: the training problems, for "induced"; gone through once for each language pair.

    Raises:
      InputError: if there is no such file, a line of it is not an entry, or nothing is induced.
    """
    # These build on this module.
    from data_prep.lexicons.files import read_lexicon
    from data_prep.lexicons.induction import induced_lexicon

    named: dict[str, Callable[[], Lexicon]] = {
        "story": lambda: story_lexicon(settings),
        "story-seen": lambda: story_lexicon(settings, seen_only=True),
        "induced": lambda: induced_lexicon(settings, problems),
    }
    return merged(
        named[name]() if name in named else read_lexicon(Path(name).expanduser())
        for name in settings.prep.xicl.lexicon
    )


def merged(lexicons: Iterable[Lexicon]) -> Lexicon:
    """Several lexicons as one; translations of earlier ones come first."""
    every = list(lexicons)
    if len(every) == 1:
        return every[0]
    left_out: Counter[str] = Counter()
    files: dict[str, str] = {}
    for lexicon in every:
        left_out.update(lexicon.left_out)
        files |= lexicon.files
    said = "; ".join(lexicon.provenance for lexicon in every)
    return build_lexicon((e for lexicon in every for e in lexicon.entries()), said, left_out, files)
