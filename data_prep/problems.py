"""The Problem: one question in several languages, one English rationale, one final number."""

from __future__ import annotations

import dataclasses
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
    """

    id: str
    question: Mapping[str, str]
    rationale: str
    answer: str
    names: tuple[str, ...] = ()
