"""The answers of a generations file, as scores, comparisons and reports read them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xcot_jax.errors import InputError

DIRECT = "direct"
"""The mode in which a question is simply asked; its files carry the benchmark's name alone."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """One question of a benchmark and what was made of the answer: a line of a generations file.

    Attributes:
      id: the same for the same problem in every language.
      language: code of the language it was asked in.
      question: its text.
      text: what the answer was read from.
      extracted: the number read from it, in plain form; None if there was none.
      span: where in `text` that number stands; None if there was none.
      gold: the right number, in plain form.
      correct: whether `extracted` is `gold`.
      strict_correct: whether the number that the text marks as its answer is `gold`.
      truncated: whether the generation was cut off before the model ended it.
      translation: the question as the model said it in another language first, if it did.
      translation_language: code of that language.
    """

    id: str
    language: str
    question: str
    text: str
    extracted: str | None
    span: tuple[int, int] | None
    gold: str
    correct: bool
    strict_correct: bool
    truncated: bool
    translation: str | None
    translation_language: str | None

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Answer:
        """The answer of a line; keys that no score needs are left alone.

        Raises:
          ValueError: if a key is missing.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if missing := [name for name in names if name not in line]:
            raise ValueError(f"an answer without {', '.join(missing)}")
        span = line["span"]
        fields = {name: line[name] for name in names}
        return cls(**{**fields, "span": None if span is None else (int(span[0]), int(span[1]))})


def file_stem(benchmark: str, mode: str) -> str:
    """What the files of a benchmark in a mode are called, without their ending."""
    return benchmark if mode == DIRECT else f"{benchmark}.{mode}"


def read_answers(path: Path, command: str) -> tuple[Answer, ...]:
    """Reads a generations file.

    Args:
      path: of the file.
      command: what writes it, for the error.

    Raises:
      InputError: for a line that is damaged or was written by an older version.
    """
    answers = []
    # Only line feeds end lines, as texts may hold U+2028.
    for number, line in enumerate(path.read_text("utf-8").split("\n"), start=1):
        if not line:
            continue
        try:
            answers.append(Answer.from_json(json.loads(line)))
        except (ValueError, TypeError, IndexError) as error:
            raise InputError(
                f"{path}, line {number}: not an answer as it is written today ({error}); "
                f"evaluate again: {command}"
            ) from error
    return tuple(answers)
