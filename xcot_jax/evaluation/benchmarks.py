"""The benchmarks as a table: where their questions lie and how their files are read.

A new benchmark is a row of `BENCHMARKS` and a reader; one whose questions lie in a JSON Lines file
needs neither: that is what benchmark `jsonl` reads.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from xcot_jax.errors import InputError
from xcot_jax.evaluation import hub
from xcot_jax.evaluation.extraction import plain, strict
from xcot_jax.evaluation.jsonl import field, json_lines, lines
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
      rationale: the English chain of thought to it, where the benchmark has one.
    """

    id: str
    language: str
    question: str
    answer: str
    rationale: str = ""


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
      setting: key of the setting that says where its files lie.
      location: takes that place out of the settings.
      read: reads the questions there in the given languages; of a dataset of the Hugging Face Hub,
        from the local copy.
      wanted: what the place must be, in words, for the error when it is not set.
      hub: name of the benchmark's dataset on the Hugging Face Hub; "" if it has none.
      files: which of that dataset's files are read.
    """

    title: str
    setting: str
    location: Callable[[Settings], str]
    read: Callable[[str, Sequence[str], Settings], Questions]
    wanted: str
    hub: str = ""
    files: tuple[str, ...] = ()


def load(name: str, settings: Settings) -> Questions:
    """Reads a benchmark's questions in the languages of `eval.languages`.

    Raises:
      InputError: for a benchmark that is not in the table, a place that is not set, a missing
        directory or file, a dataset that cannot be had by its name, a malformed line, or no
        question at all.
    """
    if name not in BENCHMARKS:
        near = difflib.get_close_matches(name, BENCHMARKS, n=1, cutoff=0.0)[0]
        raise InputError(
            f"eval.benchmarks: no benchmark {name!r}; did you mean {near!r}? "
            f"({', '.join(BENCHMARKS)})"
        )
    row = BENCHMARKS[name]
    way_out = f"set it to {row.wanted}: --config.{row.setting}=PLACE"
    if row.hub:
        way_out += f"; or, with a network, --config.{row.setting}={hub.HUGGING_FACE}{row.hub}"
    place = row.location(settings)
    if not place:
        raise InputError(f"{row.setting} is not set, which benchmark {name!r} needs; {way_out}")
    try:
        if place.startswith(hub.HUGGING_FACE):
            place = str(hub.snapshot(place, row.files))
        elif not place.startswith(hub.TFDS) and not Path(place).expanduser().exists():
            raise InputError(f"there is no {place}; {way_out}")
        questions = row.read(place, settings.eval.languages, settings)
    except InputError as error:
        raise InputError(f"{row.setting}: {error}") from error
    if not any(questions.by_language.values()):
        raise InputError(
            f"{row.setting}: {place} holds no question of benchmark {name!r} in "
            f"{', '.join(settings.eval.languages)} (eval.languages); {way_out}"
        )
    return questions


def _read_heldout(place: str, languages: Sequence[str], settings: Settings) -> Questions:
    """The dataset's own held-out problems: `problems/{split}.jsonl`, all languages in a line."""
    path = _directory(place) / "problems" / f"{settings.eval.split}.jsonl"
    if not path.is_file():
        raise InputError(
            f"{path} is not there; xcot prep writes it when problems are held out "
            "(prep.story.heldout_count or prep.heldout above 0)"
        )
    found: dict[str, list[Question]] = {}
    for where, row in json_lines(path):
        answer = _gold(where, field(where, row, "answer", str))
        identifier = field(where, row, "id", str)
        asked = field(where, row, "question", dict)
        rationale = field(where, row, "rationale", str) if "rationale" in row else ""
        for code in languages:
            if code in asked:
                text = field(where, asked, code, str)
                question = Question(identifier, code, text, answer, rationale)
                found.setdefault(code, []).append(question)
    return _collected(found, languages)


def _read_mgsm(place: str, languages: Sequence[str], settings: Settings) -> Questions:
    """MGSM (Shi et al., arXiv 2210.03057): `mgsm_<code>.tsv`, question and answer, no header."""
    del settings
    found: dict[str, list[Question]] = {}
    for code in languages:
        path = _directory(place) / f"mgsm_{code}.tsv"
        if not path.is_file():
            raise InputError(
                f"{path} is not there; put MGSM's {path.name} there, "
                f"or leave {code!r} out of eval.languages"
            )
        for number, (where, line) in enumerate(lines(path)):
            columns = line.split("\t")
            if len(columns) != 2 or not columns[0].strip():
                raise InputError(
                    f"{where}: expected question<TAB>answer, found {len(columns)} columns; "
                    "take the file as MGSM publishes it"
                )
            answer = _gold(where, columns[1])
            found.setdefault(code, []).append(Question(f"mgsm-{number}", code, columns[0], answer))
    return _collected(found, languages)


def _read_msvamp(place: str, languages: Sequence[str], settings: Settings) -> Questions:
    """MSVAMP (Chen et al., arXiv 2310.20246): `test_<Language>.json`; no Telugu exists."""
    del settings
    found: dict[str, list[Question]] = {}
    for code in languages:
        path = _directory(place) / f"test_{language(code).name}.json"
        if not path.is_file():
            continue
        for number, (where, row) in enumerate(json_lines(path)):
            text = field(where, row, "m_query", str)
            answer = _gold(where, field(where, row, "response", str))
            found.setdefault(code, []).append(Question(f"msvamp-{number}", code, text, answer))
    return _collected(found, languages)


def _read_jsonl(place: str, languages: Sequence[str], settings: Settings) -> Questions:
    """Any JSON Lines file, or TFDS split, whose fields `eval.jsonl_fields` names.

    The question is a text, or one for each language by its code. Without an id a line's number is
    it. The language may be left out where only one is asked. The answer is a number or ends in one
    that is marked as the answer, as GSM8K's `#### 72`.
    """
    names = settings.eval.jsonl_fields
    if len(names) != 4:
        raise InputError(
            f"eval.jsonl_fields names {len(names)} fields; it takes the file's names for id, "
            "language, question and answer, in this order"
        )
    id_name, language_name, question_name, answer_name = names
    found: dict[str, dict[str, Question]] = {code: {} for code in languages}
    tfds = place.startswith(hub.TFDS)
    rows = hub.tfds_rows(place) if tfds else json_lines(Path(place).expanduser())
    for number, (where, row) in enumerate(rows):
        answer = _marked_gold(where, row, answer_name)
        identifier = str(row.get(id_name, f"jsonl-{number}"))
        asked = row.get(question_name)
        if not isinstance(asked, Mapping):
            alone = languages[0] if len(languages) == 1 and language_name not in row else None
            code = alone or field(where, row, language_name, str)
            asked = {code: field(where, row, question_name, str)}
        for code in languages:
            if code in asked:
                if identifier in found[code]:
                    raise InputError(f"{where}: {code} has two questions of id {identifier!r}")
                text = field(where, asked, code, str)
                found[code][identifier] = Question(identifier, code, text, answer)
    return _collected({code: list(asked.values()) for code, asked in found.items()}, languages)


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
        "juletxara/mgsm",
        ("mgsm_*.tsv",),
    ),
    "msvamp": Benchmark(
        "MSVAMP",
        "eval.msvamp_dir",
        lambda settings: settings.eval.msvamp_dir,
        _read_msvamp,
        "the directory of MSVAMP's test_<Language>.json files",
        "Mathoctopus/MSVAMP",
        ("test_*.json",),
    ),
    "jsonl": Benchmark(
        "JSON Lines",
        "eval.jsonl",
        lambda settings: settings.eval.jsonl,
        _read_jsonl,
        "a JSON Lines file of questions and answers",
    ),
}


def _directory(place: str) -> Path:
    """The directory at a place.

    Raises:
      InputError: if it is something else.
    """
    path = Path(place).expanduser()
    if not path.is_dir():
        raise InputError(f"there is no directory {path}")
    return path


def _collected(found: Mapping[str, list[Question]], languages: Sequence[str]) -> Questions:
    """The questions in the order of the languages asked for, and which of these have none."""
    return Questions(
        {code: tuple(found[code]) for code in languages if found.get(code)},
        tuple(code for code in languages if not found.get(code)),
    )


def _gold(where: str, text: str) -> str:
    """A gold answer in plain form; thousands commas are allowed."""
    try:
        value = Decimal(text.strip().replace(",", ""))
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        raise InputError(f"{where}: answer {text!r} is not a number; take the file as published")
    return plain(value)


def _marked_gold(where: str, row: Mapping[str, Any], key: str) -> str:
    """A gold answer in plain form, from a number, or a text that is one or marks one."""
    value = row.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _gold(where, repr(value))
    text = field(where, row, key, str)
    marked = strict(text)
    return plain(marked.value) if marked else _gold(where, text)
