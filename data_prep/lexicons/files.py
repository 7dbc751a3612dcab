"""Lexicon files: read by format, and written.

- *Tab-separated* (`.tsv`, `.tab`): UTF-8, one entry a line, in four columns or, with a score, five:

      # provenance: hand-made for this example, CC0
      # source language, target language, source phrase, target phrase, score (1 if left out)
      en	sw	apples	matofaa
      en	sw	how many	ngapi	0.8

  Lines that begin with `#` are comments; `# provenance:` says where the entries come from and under
  which licence, and is copied to the data card. Several lines for one phrase are its candidates,
  drawn in proportion to their scores.
- *MUSE* (`en-sw.txt`, `en-sw.0-5000.txt`): a word and its translation a line; the languages are in
  the name (Conneau et al. 2018).
- *Wiktionary* (`.jsonl`, `.jsonl.gz`): extracts as kaikki.org offers them (Ylonen 2022), in JSON
  Lines.

Files may be compressed with gzip (`.gz`). A directory stands for all lexicon files in it.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from data_prep.lexicons.lexicon import Entry, Lexicon, build_lexicon, merged
from xcot_jax.errors import InputError
from xcot_jax.files import write_whole
from xcot_jax.languages import LANGUAGES, language


@dataclasses.dataclass
class Reading:
    """A file that is being read.

    Attributes:
      path: of the file.
      lines: its text.
      number: of the line last read.
      provenance: what the file says of its origin and licence.
      left_out: reason -> lines or translations that are no entries.
    """

    path: Path
    lines: TextIO
    number: int = 0
    provenance: list[str] = dataclasses.field(default_factory=list)
    left_out: Counter[str] = dataclasses.field(default_factory=Counter)

    def __iter__(self) -> Iterator[str]:
        """The lines that say something, comments aside."""
        for line in self.lines:
            self.number += 1
            line = line.rstrip("\r\n").removeprefix("\ufeff")
            if line.startswith("#"):
                name, _, value = line.lstrip("# ").partition(":")
                if name.strip().lower() == "provenance":
                    self.provenance.append(value.strip())
            elif line.strip():
                yield line

    def bad(self, what: object) -> InputError:
        """The error of the line last read, or of the name if none is."""
        return InputError(
            f"{self.path}:{self.number}: {what}" if self.number else f"{self.path}: {what}"
        )


def read_lexicon(path: Path) -> Lexicon:
    """Reads a lexicon file of any format, or all those of a directory (see the top of this file).

    Raises:
      InputError: naming the file and line.
    """
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.is_file() and not f.name.startswith("."))
        known = [file for file in files if _format(file)]
        if not known:
            raise InputError(f"{path}: no lexicon file in this directory; formats are {_FORMATS}")
        unknown = {"file of no lexicon format": len(files) - len(known)}
        return merged((*map(read_lexicon, known), build_lexicon((), left_out=+Counter(unknown))))
    if not path.is_file():
        raise InputError(
            f'prep.xicl.lexicon = {path}: no such file or directory, nor "story", "story-seen" or '
            '"induced"'
        )
    read = _format(path)
    if read is None:
        raise InputError(f"{path}: not the name of a lexicon file; formats are {_FORMATS}")
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        reading = Reading(path, lines)
        try:
            entries = list(read(reading))
        except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{path}: after line {reading.number}: {error}") from error
        except (TypeError, AttributeError, UnicodeEncodeError) as error:
            raise reading.bad(f"a field is not what the format says ({error})") from error
    if not entries:
        raise InputError(f"{path}: no entry in this lexicon; left out: {dict(reading.left_out)}")
    said = " ".join(reading.provenance) or "not said"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return build_lexicon(entries, f"{path.name}: {said}", reading.left_out, {path.name: digest})


def write_lexicon(path: Path, content: Lexicon | Iterable[Entry], provenance: str = "") -> None:
    """Writes a tab-separated file that `read_lexicon` reads back to the same tables.

    Args:
      path: the file.
      content: a lexicon, or its entries.
      provenance: origin and licence; a lexicon's own if left out.
    """
    if isinstance(content, Lexicon):
        provenance = provenance or content.provenance
        content = content.entries()
    lines = [f"# provenance: {' '.join(provenance.split())}"] if provenance else []
    for entry in content:
        columns = [entry.source, entry.target, entry.phrase, entry.translation]
        columns += [repr(entry.score)] if entry.score != 1 else []
        if any(not column.strip() or re.search(r"[\t\r\n]", column) for column in columns):
            raise ValueError(f"{entry}: an empty column, or a tab or line break inside")
        lines.append("\t".join(columns))
    write_whole(path, "".join(line + "\n" for line in lines))


def _tab_separated(reading: Reading) -> Iterator[Entry]:
    for line in reading:
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) not in (4, 5) or not all(columns):
            raise reading.bad(
                f"{len(columns)} columns, of them {sum(map(bool, columns))} filled; a lexicon has "
                "four or five: source language, target language, source phrase, target phrase, "
                "score"
            )
        try:
            score = float(columns[4]) if len(columns) == 5 else 1.0
        except ValueError:
            score = math.nan
        if not 0 < score < math.inf:
            raise reading.bad(f"score {columns[4]!r} is no number above 0")
        source, target = (_language(reading, code) for code in columns[:2])
        yield Entry(source, target, columns[2], columns[3], score)


_MUSE_NAME = re.compile(r"([a-z]+)-([a-z]+)(?:\.\d+-\d+)?\.txt(?:\.gz)?")


def _muse(reading: Reading) -> Iterator[Entry]:
    named = _MUSE_NAME.fullmatch(reading.path.name)
    assert named is not None
    source, target = (_language(reading, code) for code in named.groups())
    for line in reading:
        columns = line.split()
        if len(columns) != 2:
            raise reading.bad(f"{len(columns)} words; MUSE has a word and its translation a line")
        yield Entry(source, target, columns[0], columns[1])
    if not reading.provenance:
        reading.provenance.append("in MUSE's form; licence not said (MUSE's own: CC BY-NC 4.0)")


# Parts of speech of Wiktionary that are no words to be switched: names, parts of words, signs and
# numbers.
_NO_WORDS = """
name prefix suffix affix infix interfix circumfix combining_form symbol character letter punct num
"""
_OTHER_POS = frozenset(_NO_WORDS.split())
_WIKTIONARY_CODES = {"cmn": "zh", "zh": "zh"}
_STRESS = re.compile("[\u0300\u0301]")  # Written over Russian vowels by dictionaries only.


def _wiktionary(reading: Reading) -> Iterator[Entry]:
    reading.provenance.append("Wiktionary via kaikki.org, CC BY-SA and GFDL")
    for line in reading:
        try:
            word = json.loads(line)
        except json.JSONDecodeError as error:
            raise reading.bad(f"not valid JSON: {error}") from error
        if not isinstance(word, dict):
            raise reading.bad("not a JSON object")
        source, phrase = _supported(word), _said(word)
        if not phrase or not source:
            reading.left_out["word of an unsupported language, or none"] += 1
        elif word.get("pos") in _OTHER_POS:
            reading.left_out["name, number, sign or part of a word"] += 1
        else:
            for translation in _translations(word):
                target, text = _supported(translation), _said(translation)
                tags = translation.get("tags") or ()
                if not target or not text or target == source:
                    reading.left_out["translation into an unsupported language, or none"] += 1
                elif "Traditional-Chinese" in tags or tags == ["Traditional"]:
                    reading.left_out["traditional Chinese"] += 1
                else:
                    if target == "zh":  # Both forms, the simplified one last.
                        text = text.split("/")[-1].strip()
                    elif target == "ru":
                        text = _STRESS.sub("", text)
                    if text:
                        yield Entry(source, target, phrase, text)


def _translations(word: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for holder in (word, *(word.get("senses") or ())):
        yield from holder.get("translations") or ()


def _supported(record: dict[str, Any]) -> str:
    code = record.get("lang_code") or record.get("code") or ""
    code = _WIKTIONARY_CODES.get(code, code)
    return code if code in LANGUAGES else ""


def _said(record: dict[str, Any]) -> str:
    word = record.get("word")
    return " ".join(word.split()) if isinstance(word, str) else ""


def _language(reading: Reading, code: str) -> str:
    try:
        return language(code).code
    except ValueError as error:
        raise reading.bad(error) from error


# Name of a file -> how it is read; the first that matches counts.
_READERS: tuple[tuple[re.Pattern[str], Callable[[Reading], Iterator[Entry]]], ...] = (
    (_MUSE_NAME, _muse),
    (re.compile(r".*\.(?:tsv|tab)(?:\.gz)?"), _tab_separated),
    (re.compile(r".*\.jsonl(?:\.gz)?"), _wiktionary),
)
_FORMATS = "NAME.tsv (tab-separated), en-sw.txt (MUSE) and NAME.jsonl (Wiktionary, from kaikki.org)"


def _format(path: Path) -> Callable[[Reading], Iterator[Entry]] | None:
    for pattern, read in _READERS:
        if pattern.fullmatch(path.name):
            return read
    return None
