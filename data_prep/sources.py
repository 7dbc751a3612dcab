"""Readers: a corpus in, problems out as a stream, each with its split."""

from __future__ import annotations

import array
import dataclasses
import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep import story_problems
from data_prep.problems import Problem
from data_prep.quality.numbers import strip_calculator_marks
from xcot_jax.errors import InputError
from xcot_jax.languages import CODES
from xcot_jax.settings import Settings

SPLITS = ("test", "validation", "train")  # In this order: training gives way to what is held out.


@dataclasses.dataclass(frozen=True)
class Source:
    """A kind of corpus.

    Attributes:
      read: yields (split, problem) and counts what it leaves out by reason; may be called again.
      generated: whether its questions are right by construction and need no filter.
    """

    read: Callable[[Settings, Counter[str]], Iterator[tuple[str, Problem]]]
    generated: bool = False


def read(settings: Settings, dropped: Counter[str]) -> Iterator[tuple[str, Problem]]:
    """Reads the corpus `prep.source` names, one problem at a time.

    All languages of a problem are kept, whatever `prep.languages` says: it chooses what groups are
    made of, while held-out problems and the tokenizer are the same for every choice.

    Args:
      settings: the run.
      dropped: gets reason -> how many problems, or questions of problems, were left out for it.

    Yields:
      The split, one of `SPLITS`, and the problem.

    Raises:
      InputError: for a missing file, a malformed row (naming file and line), or an id used twice.
    """
    return SOURCES[settings.prep.source].read(settings, dropped)


def read_story(settings: Settings, dropped: Counter[str]) -> Iterator[tuple[str, Problem]]:
    """The embedded corpus, generated (`prep.story`)."""
    try:
        splits = story_problems.generate(
            seed=settings.seed,
            languages=CODES,
            high_resource=settings.high_resource,
            **dataclasses.asdict(settings.prep.story),
        )
    except ValueError as error:
        raise InputError(f"prep.story: {error}") from error
    for split in SPLITS:
        for problem in getattr(splits, split):
            yield split, problem


def read_parallel(settings: Settings, dropped: Counter[str]) -> Iterator[tuple[str, Problem]]:
    """Parallel JSON Lines: `{"id", "question": {language: text}, "answer"}`.

    `answer` is a rationale in GSM8K's form: calculator marks `<<48/2=24>>`, and a last line
    `#### 72`; or an object of language -> such a text, with English among them.
    """
    return _read_file(settings, _parallel_row, dropped)


def read_gsm8k(settings: Settings, dropped: Counter[str]) -> Iterator[tuple[str, Problem]]:
    """GSM8K's own JSON Lines: `{"question", "answer"}`, in English."""
    return _read_file(settings, _gsm8k_row, dropped)


SOURCES: dict[str, Source] = {
    "story": Source(read_story, generated=True),
    "parallel": Source(read_parallel),
    "gsm8k": Source(read_gsm8k),
}

_NUMBER = r"-?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
_FINAL = re.compile(rf"(?:^|\s)####[ \t]*\$?({_NUMBER})\.?[ \t]*$")


def split_answer(text: str) -> tuple[str, str] | None:
    """GSM8K's answer text as (rationale, final number), or None if no `#### number` ends it.

    >>> split_answer("He eats 2*600 = <<2*600=1200>>1200 nuts.\\n#### 1,200")
    ('He eats 2*600 = 1200 nuts.', '1200')
    """
    text = text.strip()
    final = _FINAL.search(text)
    if final is None:
        return None
    rationale = strip_calculator_marks(text[: final.start()]).strip()
    return rationale, final.group(1).replace(",", "")


def rendered(text: str) -> str:
    """A question as compared with others: case, spacing and Unicode composition apart."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def read_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """The values of a JSON Lines file with their line numbers; blank lines are passed over.

    Raises:
      InputError: naming the line that is not JSON.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if text.strip():
                    yield number, json.loads(text)
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}:{number}: not UTF-8 ({error.reason}); convert or unpack the file"
                ) from error
            except json.JSONDecodeError as error:
                where = f"{error.msg} at character {error.colno}"
                raise InputError(f"{path}:{number}: not valid JSON: {where}") from error
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}:{number}: cannot be read as JSON: {error}") from error


# A row's id (None: its place in the file), questions, and answer texts by language.
_Row = tuple[Any, Mapping[str, str], Mapping[str, str]]


def _read_file(
    settings: Settings, parse: Callable[[Any], _Row], dropped: Counter[str]
) -> Iterator[tuple[str, Problem]]:
    prep = settings.prep
    if not prep.path:
        raise InputError(f"prep.source = {prep.source!r} reads a file: set prep.path to it")
    path = Path(prep.path).expanduser()
    if not path.is_file():
        raise InputError(f"prep.path = {prep.path}: no such file")
    # A plain multilingual baseline may do without the language that teachers speak.
    needed = settings.high_resource[0] if prep.teacher else None
    last = _last_held_out(path, parse, needed, settings)
    for number, row in read_json_lines(path):
        problem = _problem(f"{path}:{number}", number, parse, row, needed, dropped)
        if problem is not None:
            held_out = _rank(settings.seed, problem.id) <= last
            yield ("validation" if held_out else "train"), problem


def _last_held_out(
    path: Path, parse: Callable[[Any], _Row], needed: str | None, settings: Settings
) -> int:
    """The greatest rank that is held out, -1 if none is.

    The smallest ranks are held out: adding rows to a file hardly changes the choice.
    """
    ids, ranks = array.array("Q"), array.array("Q")
    for number, row in read_json_lines(path):
        problem = _problem(f"{path}:{number}", number, parse, row, needed, Counter())
        name = _name(parse(row)[0], number)
        ids.append(_rank(-1, name))
        if problem is not None:
            ranks.append(_rank(settings.seed, name))
    _refuse_repeated_ids(path, parse, np.asarray(ids))
    heldout = settings.prep.heldout
    if ranks and heldout >= len(ranks):
        raise InputError(
            f"prep.heldout = {heldout} leaves no training problem: {path} has {len(ranks)}"
        )
    return int(np.sort(np.asarray(ranks))[heldout - 1]) if ranks and heldout else -1


def _refuse_repeated_ids(path: Path, parse: Callable[[Any], _Row], ids: np.ndarray) -> None:
    values, counts = np.unique(ids, return_counts=True)
    repeated = set(values[counts > 1].tolist())
    if not repeated:
        return
    seen: dict[str, int] = {}
    for number, row in read_json_lines(path):
        name = _name(parse(row)[0], number)
        if _rank(-1, name) in repeated and name in seen:
            raise InputError(f"{path}:{number}: id {name!r} is already used on line {seen[name]}")
        if _rank(-1, name) in repeated:
            seen[name] = number


def _name(identifier: Any, number: int) -> str:
    name = str(number - 1 if identifier is None else identifier)
    return name.encode("utf-8", "backslashreplace").decode()


def _problem(
    where: str,
    number: int,
    parse: Callable[[Any], _Row],
    row: Any,
    needed: str | None,
    dropped: Counter[str],
) -> Problem | None:
    try:
        identifier, questions, answers = parse(row)
    except _BadRow as error:
        raise InputError(f"{where}: {error}") from error
    kept = _usable(questions, dropped)
    parts = split_answer(answers.get("en", ""))
    if not kept or (needed and needed not in kept):
        dropped[f"problem: no question in {needed or 'any language'}"] += 1
    elif parts is None:
        dropped["problem: no final number"] += 1
    elif not parts[0]:
        dropped["problem: no rationale"] += 1
    else:
        others = _rationales(answers, parts[1], dropped)
        return Problem(_name(identifier, number), kept, *parts, rationales=others)
    return None


def _usable(questions: Mapping[str, str], dropped: Counter[str]) -> dict[str, str]:
    """The questions of a row that can be used; the others are counted."""
    kept: dict[str, str] = {}
    for code, text in questions.items():
        if code not in CODES:
            dropped[f"question: unsupported language {_printable(code)}"] += 1
        elif not text.strip():
            dropped["question: empty"] += 1
        else:
            kept[code] = text.strip()
    return kept


def _rationales(answers: Mapping[str, str], answer: str, dropped: Counter[str]) -> dict[str, str]:
    """The chains of thought in other languages that come to the same number."""
    kept: dict[str, str] = {}
    for code, text in answers.items():
        parts = split_answer(text)
        if code == "en":
            continue
        if code not in CODES:
            dropped[f"rationale: unsupported language {_printable(code)}"] += 1
        elif parts is None or not parts[0]:
            dropped[f"rationale: none, or no final number, in {code}"] += 1
        elif float(parts[1]) != float(answer):
            dropped[f"rationale: {code} ends in another number"] += 1
        else:
            kept[code] = parts[0]
    return kept


class _BadRow(ValueError):
    """A row whose fields are not what the format says."""


def _parallel_row(row: Any) -> _Row:
    fields = _fields(row, ("question", "answer"))
    questions = _texts(fields["question"], "question")
    answer = fields["answer"]
    answers = _texts(answer, "answer") if isinstance(answer, dict) else None
    return row.get("id"), questions, answers or {"en": _text(answer, "answer")}


def _gsm8k_row(row: Any) -> _Row:
    fields = _fields(row, ("question", "answer"))
    question = _text(fields["question"], "question")
    return None, {"en": question}, {"en": _text(fields["answer"], "answer")}


def _fields(row: Any, names: Iterable[str]) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise _BadRow("not a JSON object")
    for name in names:
        if name not in row:
            raise _BadRow(f'no field "{name}"; it has {", ".join(row) or "none"}')
    return row


def _printable(code: str) -> str:
    return code if code.isascii() and code.isprintable() else ascii(code)


def _texts(value: Any, name: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise _BadRow(f'"{name}" is not an object of language -> text')
    return {code: _text(text, name) for code, text in value.items()}


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _BadRow(f'"{name}" is {type(value).__name__}, not a text')
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _BadRow(f'"{name}" is not valid Unicode: it has a lone surrogate') from None
    return value


def _rank(seed: int, name: str) -> int:
    digest = hashlib.blake2b(f"{seed}/heldout/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest)
