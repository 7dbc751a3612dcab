"""Readers: a corpus in, training, validation and test problems out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from data_prep import story_problems
from data_prep.problems import Problem
from xcot_jax.errors import InputError
from xcot_jax.languages import CODES
from xcot_jax.settings import Settings


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Problems by split; no question text is in two splits.

    Attributes:
      train: what groups are trained on.
      validation: what groups of the validation split are made of.
      test: held-out problems the source itself calls a test; may be empty.
      dropped: reason -> how many problems, or questions of problems, were left out for it.
    """

    train: tuple[Problem, ...]
    validation: tuple[Problem, ...]
    test: tuple[Problem, ...]
    dropped: Mapping[str, int]


def read(settings: Settings) -> Corpus:
    """Reads the corpus `prep.source` names, without duplicates and without overlap of splits.

    All languages of a problem are kept, whatever `prep.languages` says: it chooses what groups are
    made of, while held-out problems and the tokenizer are the same for every choice.

    Raises:
      InputError: for a missing file, a malformed row (naming file and line), or too few problems.
    """
    corpus = SOURCES[settings.prep.source](settings)
    dropped = Counter(corpus.dropped)
    teacher = settings.high_resource[0]
    test = _without_duplicates(corpus.test, (), teacher, dropped, "test")
    validation = _without_duplicates(corpus.validation, test, teacher, dropped, "validation")
    train = _without_duplicates(corpus.train, (*validation, *test), teacher, dropped, "train")
    if not train:
        raise InputError(
            f"prep.source = {settings.prep.source!r} gives no training problem; "
            f"left out: {dict(dropped) or 'nothing'}"
        )
    ids = Counter(problem.id for problem in (*train, *validation, *test))
    repeated = [name for name, count in ids.items() if count > 1]
    if repeated:
        raise InputError(
            f"prep.source = {settings.prep.source!r}: id {repeated[0]!r} is used twice"
        )
    return Corpus(train, validation, test, dict(sorted(dropped.items())))


def read_story(settings: Settings) -> Corpus:
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
    return Corpus(tuple(splits.train), tuple(splits.validation), tuple(splits.test), {})


def read_parallel(settings: Settings) -> Corpus:
    """Parallel JSON Lines: `{"id", "question": {language: text}, "answer"}`.

    `answer` is a rationale in GSM8K's form: calculator marks `<<48/2=24>>`, and a last line
    `#### 72`.
    """
    return _read_file(settings, _parallel_row)


def read_gsm8k(settings: Settings) -> Corpus:
    """GSM8K's own JSON Lines: `{"question", "answer"}`, in English."""
    return _read_file(settings, _gsm8k_row)


SOURCES: dict[str, Callable[[Settings], Corpus]] = {
    "story": read_story,
    "parallel": read_parallel,
    "gsm8k": read_gsm8k,
}

_CALCULATOR = re.compile(r"<<[^<>]*>>")
_FINAL = re.compile(r"(?:^|\s)####[ \t]*\$?(-?[\d,]*\.?\d+)\.?[ \t]*$")


def split_answer(text: str) -> tuple[str, str] | None:
    """GSM8K's answer text as (rationale, final number), or None if no `#### number` ends it.

    >>> split_answer("He eats 2*600 = <<2*600=1200>>1200 nuts.\\n#### 1,200")
    ('He eats 2*600 = 1200 nuts.', '1200')
    """
    text = text.strip()
    final = _FINAL.search(text)
    if final is None:
        return None
    rationale = _CALCULATOR.sub("", text[: final.start()]).strip()
    return rationale, final.group(1).replace(",", "")


def rendered(text: str) -> str:
    """A question as compared between splits: case, spacing and Unicode composition apart."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _read_file(settings: Settings, parse: Callable[[Any], tuple[Any, dict, str]]) -> Corpus:
    prep = settings.prep
    if not prep.path:
        raise InputError(f"prep.source = {prep.source!r} reads a file: set prep.path to it")
    path = Path(prep.path).expanduser()
    if not path.is_file():
        raise InputError(f"prep.path = {prep.path}: no such file")
    dropped: Counter[str] = Counter()
    # A plain multilingual baseline may do without the language that teachers speak.
    needed = settings.high_resource[0] if prep.teacher else None
    problems = tuple(_problems(path, parse, needed, dropped))
    if prep.heldout >= max(len(problems), 1):
        raise InputError(
            f"prep.heldout = {prep.heldout} leaves no training problem: {path} has {len(problems)}"
        )
    # The smallest hashes are held out: adding rows to a file hardly changes the choice.
    ranked = sorted(problems, key=lambda p: _hash(f"{settings.seed}/heldout/{p.id}"))
    held_out = {p.id for p in ranked[: prep.heldout]}
    return Corpus(
        train=tuple(p for p in problems if p.id not in held_out),
        validation=tuple(p for p in problems if p.id in held_out),
        test=(),
        dropped=dropped,
    )


def _problems(
    path: Path,
    parse: Callable[[Any], tuple[Any, dict, str]],
    needed: str | None,
    dropped: Counter[str],
) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                identifier, questions, answer = parse(json.loads(line))
            except json.JSONDecodeError as error:
                raise InputError(f"{where}: not valid JSON: {error}") from error
            except _BadRow as error:
                raise InputError(f"{where}: {error}") from error
            name = str(number - 1 if identifier is None else identifier)
            if name in seen:
                raise InputError(f"{where}: id {name!r} is already used on line {seen[name]}")
            seen[name] = number
            parts = split_answer(answer)
            kept = _usable(questions, needed, dropped)
            if not kept or (needed and needed not in kept):
                dropped[f"problem: no question in {needed or 'any language'}"] += 1
            elif parts is None:
                dropped["problem: no final number"] += 1
            elif not parts[0]:
                dropped["problem: no rationale"] += 1
            else:
                yield Problem(name, kept, *parts)


def _usable(
    questions: Mapping[str, str], needed: str | None, dropped: Counter[str]
) -> dict[str, str]:
    """The questions of a row that can be used; the others are counted."""
    kept: dict[str, str] = {}
    for code, text in questions.items():
        if code not in CODES:
            dropped[f"question: unsupported language {code}"] += 1
        elif not text.strip():
            dropped["question: empty"] += 1
        elif needed and code != needed and rendered(text) == rendered(questions.get(needed, "")):
            dropped[f"question: {code} is a copy of {needed}"] += 1
        else:
            kept[code] = text.strip()
    return kept


class _BadRow(ValueError):
    """A row whose fields are not what the format says."""


def _parallel_row(row: Any) -> tuple[Any, dict, str]:
    fields = _fields(row, ("question", "answer"))
    questions = fields["question"]
    if not isinstance(questions, dict) or not all(isinstance(v, str) for v in questions.values()):
        raise _BadRow('"question" is not an object of language -> text')
    return row.get("id"), questions, _text(fields["answer"], "answer")


def _gsm8k_row(row: Any) -> tuple[Any, dict, str]:
    fields = _fields(row, ("question", "answer"))
    question = _text(fields["question"], "question")
    return None, {"en": question}, _text(fields["answer"], "answer")


def _fields(row: Any, names: Iterable[str]) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise _BadRow("not a JSON object")
    for name in names:
        if name not in row:
            raise _BadRow(f'no field "{name}"; it has {", ".join(row) or "none"}')
    return row


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _BadRow(f'"{name}" is {type(value).__name__}, not a text')
    return value


def _without_duplicates(
    problems: Iterable[Problem],
    held_out: Iterable[Problem],
    teacher: str,
    dropped: Counter[str],
    split: str,
) -> tuple[Problem, ...]:
    """The problems whose questions are neither held out in any language nor asked before."""
    taken = {(code, rendered(q)) for p in held_out for code, q in p.question.items()}
    asked: set[tuple[str, str]] = set()
    kept = []
    for problem in problems:
        texts = {code: (code, rendered(q)) for code, q in problem.question.items()}
        key = texts.get(teacher) or min(texts.values())
        if not taken.isdisjoint(texts.values()):
            dropped[f"problem: {split} question also held out"] += 1
        elif key in asked:
            dropped[f"problem: repeated {split} question"] += 1
        else:
            asked.add(key)
            kept.append(problem)
    return tuple(kept)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
