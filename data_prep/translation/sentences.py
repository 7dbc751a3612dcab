"""Cutting a text into sentences, and putting their translations together again."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Abbreviations before names and numbers, and initials, end no sentence though a capital follows.
_ABBREVIATED = re.compile(
    r"(?:^|[\s(])"
    r"(?:(?:[A-Z]\.)*[A-Z]|Mr|Mrs|Ms|Mx|Dr|Prof|Sr|Jr|St|Mt|Ft|Nos?|Nr|vs|approx|Hr|Fr|Sra|Srta)"
    r"\.\s*$"
)
_BETWEEN = {"zh": "", "ja": ""}  # Thai, too, puts a space between sentences.


def split(text: str, code: str) -> list[list[str]]:
    """The sentences of a text in this language, line by line, without the spaces around them."""
    return [_sentences(line, code) for line in text.strip().splitlines()]


def join(lines: Iterable[Iterable[str]], code: str) -> str:
    """The text of such lines of sentences in this language."""
    return "\n".join(_BETWEEN.get(code, " ").join(line) for line in lines)


def _sentences(line: str, code: str) -> list[str]:
    from icu4py.breakers import SentenceBreaker

    found: list[str] = []
    unfinished = False
    for part in SentenceBreaker(line, f"{code}@ss=standard"):
        if unfinished:
            found[-1] += part
        else:
            found.append(part)
        unfinished = bool(_ABBREVIATED.search(found[-1]))
    return [part.strip() for part in found if part.strip()]
