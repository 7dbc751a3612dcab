"""The Problem: one question in several languages, an English rationale, one final number."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Problem:
    """One reasoning problem, parallel across languages.

    Attributes:
      id: unique within its corpus, stable across runs.
      question: language code -> question text; the languages may differ between problems.
      rationale: English chain of thought, without calculator marks and without the final answer
        line.
      answer: the final number in plain ASCII form, such as "72" or "-3.5".
      names: words of any language that code-switching must leave alone, such as people's names.
      rationales: language code -> chain of thought in a language other than English, where there
        is one.
    """

    id: str
    question: Mapping[str, str]
    rationale: str
    answer: str
    names: tuple[str, ...] = ()
    rationales: Mapping[str, str] = dataclasses.field(default_factory=dict)


def to_line(problem: Problem) -> str:
    """A problem as one line of JSON; `from_line` reads it back to an equal value."""
    row: dict[str, object] = {"id": problem.id, "question": dict(problem.question)}
    row["rationale"] = problem.rationale
    row["answer"] = problem.answer
    if problem.names:
        row["names"] = problem.names
    if problem.rationales:
        row["rationales"] = dict(problem.rationales)
    return json.dumps(row, ensure_ascii=False) + "\n"


def from_line(line: str | bytes) -> Problem:
    """The problem that `to_line` wrote."""
    row = json.loads(line)
    return Problem(
        id=row["id"],
        question=row["question"],
        rationale=row["rationale"],
        answer=row["answer"],
        names=tuple(row.get("names", ())),
        rationales=row.get("rationales", {}),
    )
