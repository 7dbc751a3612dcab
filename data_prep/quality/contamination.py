"""Overlap with test sets: a question that shares a long run of words with one of a benchmark.

Runs are compared by 64-bit fingerprints, so that benchmarks need not be read to be kept out:
`contamination.npy`, beside this file, holds those of the English questions of MGSM and MSVAMP, in
ascending order. It was made by

    python -m data_prep.quality.contamination mgsm/mgsm_en.tsv msvamp/test_English.json \\
        --out=data_prep/quality/contamination.npy
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import io
import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import regex

from xcot_jax.errors import InputError
from xcot_jax.files import write_whole
from xcot_jax.settings import Settings

SHIPPED = Path(__file__).with_suffix(".npy")

# So long a run no two questions share by chance. GSM8K's training questions are free of both
# benchmarks; in eight languages, runs of 8 words (16 characters) meet in 2 % of the problems ("how
# many hours will it take him to"), of 10 (20) in 0.2 %, of 13 words or 30 characters in none.
WORDS = 13
CHARACTERS = 30

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}ー々"
_TOKEN = regex.compile(
    rf"[{_UNSPACED}]\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+", regex.V1
)
_UNSPACED_LETTER = regex.compile(f"[{_UNSPACED}]")
# Hyphens, apostrophes, marks inside numbers: "1,000" is "1000", "y a-t-il" two words.
_INNER = regex.compile(r"(?<=\w)['’‐‑.,-](?=\w)")
_FIELDS = ("question", "query", "m_query")
_SUFFIXES = (".tsv", ".json", ".jsonl")
_MULTIPLIER = 0x9E3779B97F4A7C15
# Weights of the words of a run, in its fingerprint: a polynomial modulo 2**64.
_POWERS = np.array([pow(_MULTIPLIER, k, 2**64) for k in range(CHARACTERS)], np.uint64)


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Fingerprints of a set of test questions.

    Attributes:
      name: what it is, in words.
      fingerprints: ascending.
    """

    name: str
    fingerprints: np.ndarray


def tokens(text: str) -> list[str]:
    """The words of a text, and the characters of unspaced scripts, as they are compared.

    Case, composition and punctuation do not count; digits do.
    """
    return _TOKEN.findall(_INNER.sub("", unicodedata.normalize("NFKC", text).casefold()))


def fingerprints(words: Sequence[str]) -> np.ndarray:
    """A 64-bit fingerprint of each run of `WORDS` words (`CHARACTERS` in an unspaced script).

    A shorter text has one fingerprint, of the whole; an empty one has none.
    """
    if not words:
        return np.empty(0, np.uint64)
    unspaced = len(_UNSPACED_LETTER.findall("".join(words)))
    size = min(CHARACTERS if 2 * unspaced > len(words) else WORDS, len(words))
    hashes = np.array([_word_hash(word) for word in words], np.uint64)
    runs = np.ndarray((len(words) - size + 1, size), np.uint64, hashes, strides=(8, 8))
    return runs @ _POWERS[:size]


@functools.lru_cache(maxsize=65_536)
def _word_hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def overlap(text: str, benchmarks: Iterable[Benchmark]) -> tuple[str, str] | None:
    """The first run of words a text shares with a benchmark: its name and the words.

    None if there is no such run.
    """
    words = tokens(text)
    found = fingerprints(words)
    size = len(words) - len(found) + 1
    for benchmark in benchmarks:
        known = benchmark.fingerprints
        if not len(known) or not len(found):
            continue
        places = np.minimum(np.searchsorted(known, found), len(known) - 1)
        hits = np.flatnonzero(known[places] == found)
        if hits.size:
            return benchmark.name, " ".join(words[hits[0] : hits[0] + size])
    return None


def missing(settings: Settings) -> list[tuple[str, str]]:
    """Directories of benchmarks that are named but not there: setting and name."""
    named = (
        ("eval.mgsm_dir", settings.eval.mgsm_dir),
        ("eval.msvamp_dir", settings.eval.msvamp_dir),
    )
    return [(key, name) for key, name in named if name and not Path(name).expanduser().exists()]


def benchmarks(settings: Settings) -> list[Benchmark]:
    """What training problems are checked against: the shipped fingerprints and every file given.

    Raises:
      InputError: for a file or directory of the settings that cannot be read.
    """
    found = [Benchmark("MGSM and MSVAMP in English (shipped fingerprints)", _load(SHIPPED))]
    given = [
        ("eval.mgsm_dir", settings.eval.mgsm_dir),
        ("eval.msvamp_dir", settings.eval.msvamp_dir),
        *(("prep.quality.test_files", name) for name in settings.prep.quality.test_files),
    ]
    for key, name in given:
        path = Path(name).expanduser()
        # Evaluation reports its own missing directories, when it needs them; the card does, too.
        if not name or (key != "prep.quality.test_files" and not path.exists()):
            continue
        try:
            questions = list(read_questions(path))
        except InputError as error:
            raise InputError(f"{key}: {error}") from error
        found.append(Benchmark(f"{path.name} ({len(questions):,} questions)", build(questions)))
    return found


def build(questions: Iterable[str]) -> np.ndarray:
    """The fingerprints of test questions, ascending, each once."""
    parts = [fingerprints(tokens(question)) for question in questions]
    return np.unique(np.concatenate(parts)) if parts else np.empty(0, np.uint64)


def _load(path: Path) -> np.ndarray:
    return np.load(path, allow_pickle=False)


def read_questions(path: Path) -> Iterator[str]:
    """Every question of a benchmark's file, or of the files in a directory.

    Of a `.tsv` file that is the first column; of `.json` and `.jsonl` (one value, or one a line)
    every text in a field `question`, `query` or `m_query`, and every text of such an object.

    Raises:
      InputError: if there is no such file, or no question in it.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES)
        if not files:
            raise InputError(f"{path}: no {', '.join(_SUFFIXES)} file in this directory")
        for file in files:
            yield from read_questions(file)
        return
    if not path.is_file():
        raise InputError(f"{path}: no such file or directory of test questions")
    if path.suffix not in _SUFFIXES:
        raise InputError(f"{path}: test questions are read from {', '.join(_SUFFIXES)} files")
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    if path.suffix == ".tsv":
        found = [line.split("\t")[0] for line in lines]
    else:
        found = [text for value in _json_values(path, lines) for text in _texts(value)]
    found = [text for text in found if text.strip()]
    if not found:
        raise InputError(f"{path}: no field {' or '.join(_FIELDS)} with a text in this file")
    yield from found


def _json_values(path: Path, lines: Sequence[str]) -> Iterator[Any]:
    try:
        yield json.loads("\n".join(lines))
        return
    except json.JSONDecodeError:
        pass  # One value a line, then.
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{path}:{number}: not valid JSON: {error}") from error


def _texts(value: Any, *, wanted: bool = False) -> Iterator[str]:
    """The texts under the names of `_FIELDS`, at any depth."""
    if isinstance(value, str) and wanted:
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, wanted=wanted)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, wanted=wanted or key in _FIELDS)


def main() -> None:
    """Writes the fingerprints of test questions (see the top of this file)."""
    parser = argparse.ArgumentParser(description="Fingerprints of test questions.")
    parser.add_argument("files", nargs="+", type=Path, help="benchmark files or directories")
    parser.add_argument("--out", required=True, type=Path, help=".npy file to write")
    arguments = parser.parse_args()
    try:
        questions = [text for path in arguments.files for text in read_questions(path)]
    except InputError as error:
        parser.error(str(error))
    found = build(questions)
    content = io.BytesIO()
    np.save(content, found, allow_pickle=False)
    write_whole(arguments.out, content.getvalue())
    print(f"{arguments.out}: {len(found):,} fingerprints of {len(questions):,} questions")


if __name__ == "__main__":
    main()
