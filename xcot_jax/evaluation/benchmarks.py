"""The benchmarks as a table: where their questions lie and how their files are read.

A new benchmark is a row of `BENCHMARKS` and a reader.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from xcot_jax.errors import InputError
from xcot_jax.evaluation.extraction import plain
from xcot_jax.languages import language
from xcot_jax.settings import Settings


@dataclasses.dataclass(frozen=True)
class Question:
    """One question in one language.

    Attributes:
      id: the same for the same problem in every language.
      language: code of the language it is asked in.
      question: its text.
      answer: the gold number in plain ASCII form, such as "72" or "-3.5".
    """

    id: str
    language: str
    question: str
    answer: str


@dataclasses.dataclass(frozen=True)
class Questions:
    """A benchmark as read from its files.

    Attributes:
      by_language: language code -> its questions, in file order, for the languages there are.
      missing: the codes asked for that the benchmark has no questions in.
    """

    by_language: Mapping[str, tuple[Question, ...]]
    missing: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """One row of the table.

    Attributes:
      title: what reports call it.
      setting: key of the setting that says which directory its files lie in.
      directory: takes that directory out of the settings.
      read: reads the directory's questions in the given languages.
      wanted: what the directory must hold, in words, for the error when it is not set.
    """

    title: str
    setting: str
    directory: Callable[[Settings], str]
    read: Callable[[Path, Sequence[str], Settings], Questions]
    wanted: str


def load(name: str, settings: Settings) -> Questions:
    """Reads a benchmark's questions in the languages of `eval.languages`.

    Raises:
      InputError: for a benchmark that is not in the table, a directory that is not set, a missing
        directory or file, a malformed line, or no question at all.
    """
    if name not in BENCHMARKS:
        near = difflib.get_close_matches(name, BENCHMARKS, n=1, cutoff=0.0)[0]
        raise InputError(
            f"eval.benchmarks: no benchmark {name!r}; did you mean {near!r}? "
            f"({', '.join(BENCHMARKS)})"
        )
    row = BENCHMARKS[name]
    way_out = f"set it to {row.wanted}: --config.{row.setting}=DIR"
    if not row.directory(settings):
        raise InputError(f"{row.setting} is not set, which benchmark {name!r} needs; {way_out}")
    directory = Path(row.directory(settings)).expanduser()
    if not directory.is_dir():
        raise InputError(f"{row.setting}: there is no directory {directory}; {way_out}")
    try:
        questions = row.read(directory, settings.eval.languages, settings)
    except InputError as error:
        raise InputError(f"{row.setting}: {error}") from error
    if not any(questions.by_language.values()):
        raise InputError(
            f"{row.setting}: {directory} holds no question of benchmark {name!r} in "
            f"{', '.join(settings.eval.languages)} (eval.languages); {way_out}"
        )
    return questions


def _read_heldout(directory: Path, languages: Sequence[str], settings: Settings) -> Questions:
    """The dataset's own held-out problems: `problems/{split}.jsonl`, all languages in a line."""
    path = directory / "problems" / f"{settings.eval.split}.jsonl"
    if not path.is_file():
        raise InputError(
            f"{path} is not there; xcot prep writes it when problems are held out "
            "(prep.story.heldout_count or prep.heldout above 0)"
        )
    found: dict[str, list[Question]] = {}
    for where, row in _json_lines(path):
        answer = _gold(where, _field(where, row, "answer", str))
        identifier = _field(where, row, "id", str)
        asked = _field(where, row, "question", dict)
        for code in languages:
            if code in asked:
                text = _field(where, asked, code, str)
                found.setdefault(code, []).append(Question(identifier, code, text, answer))
    return _collected(found, languages)


def _read_mgsm(directory: Path, languages: Sequence[str], settings: Settings) -> Questions:
    """MGSM (Shi et al., arXiv 2210.03057): `mgsm_<code>.tsv`, question and answer, no header."""
    del settings
    found: dict[str, list[Question]] = {}
    for code in languages:
        path = directory / f"mgsm_{code}.tsv"
        if not path.is_file():
            raise InputError(
                f"{path} is not there; put MGSM's {path.name} there, "
                f"or leave {code!r} out of eval.languages"
            )
        for number, (where, line) in enumerate(_lines(path)):
            columns = line.split("\t")
            if len(columns) != 2 or not columns[0].strip():
                raise InputError(
                    f"{where}: expected question<TAB>answer, found {len(columns)} columns; "
                    "take the file as MGSM publishes it"
                )
            answer = _gold(where, columns[1])
            found.setdefault(code, []).append(Question(f"mgsm-{number}", code, columns[0], answer))
    return _collected(found, languages)


def _read_msvamp(directory: Path, languages: Sequence[str], settings: Settings) -> Questions:
    """MSVAMP (Chen et al., arXiv 2310.20246): `test_<Language>.json`; no Telugu exists."""
    del settings
    found: dict[str, list[Question]] = {}
    for code in languages:
        path = directory / f"test_{language(code).name}.json"
        if not path.is_file():
            continue
        for number, (where, row) in enumerate(_json_lines(path)):
            text = _field(where, row, "m_query", str)
            answer = _gold(where, _field(where, row, "response", str))
            found.setdefault(code, []).append(Question(f"msvamp-{number}", code, text, answer))
    return _collected(found, languages)


BENCHMARKS: dict[str, Benchmark] = {
    "heldout": Benchmark(
        "Held-out problems",
        "data.dir",
        lambda settings: settings.data.dir,
        _read_heldout,
        "a dataset directory that xcot prep wrote",
    ),
    "mgsm": Benchmark(
        "MGSM",
        "eval.mgsm_dir",
        lambda settings: settings.eval.mgsm_dir,
        _read_mgsm,
        "the directory of MGSM's mgsm_<code>.tsv files",
    ),
    "msvamp": Benchmark(
        "MSVAMP",
        "eval.msvamp_dir",
        lambda settings: settings.eval.msvamp_dir,
        _read_msvamp,
        "the directory of MSVAMP's test_<Language>.json files",
    ),
}


def _collected(found: Mapping[str, list[Question]], languages: Sequence[str]) -> Questions:
    """The questions in the order of the languages asked for, and which of these have none."""
    return Questions(
        {code: tuple(found[code]) for code in languages if found.get(code)},
        tuple(code for code in languages if not found.get(code)),
    )


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Every line, with where it stands; only line feeds end lines, as questions may hold U+2028."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; convert the file") from error
    lines = text.removesuffix("\n").split("\n") if text else []
    for number, line in enumerate(lines, start=1):
        yield f"{path}, line {number}", line.removesuffix("\r")


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every line's JSON object, with where it stands."""
    for where, line in _lines(path):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: not JSON ({error}); the file may be cut short") from error
        if not isinstance(row, dict):
            raise InputError(f"{where}: expected a JSON object, found {type(row).__name__}")
        yield where, row


def _field(where: str, row: Mapping[str, Any], key: str, kind: type) -> Any:
    """A field of the row that must be there and of that kind."""
    if not isinstance(row.get(key), kind):
        found = f"found {type(row[key]).__name__}" if key in row else f"it has {sorted(row)}"
        raise InputError(f"{where}: field {key!r} must be {kind.__name__}; {found}")
    return row[key]


def _gold(where: str, text: str) -> str:
    """A gold answer in plain form; thousands commas are allowed."""
    try:
        value = Decimal(text.strip().replace(",", ""))
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        raise InputError(f"{where}: answer {text!r} is not a number; take the file as published")
    return plain(value)
