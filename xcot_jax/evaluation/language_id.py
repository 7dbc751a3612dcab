"""Which of the eleven languages a generation is in."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any

from xcot_jax.languages import CODES

FEWEST_LETTERS = 12
"""Texts of fewer letters (a bare equation and its result) are in no language."""

# Digits of any script, and what is written the same in every language: LaTeX, GSM8K's calculator
# marks and Markdown.
_NOT_WORDS = re.compile(r"<<[^<>]*>>|\\[A-Za-z]+|[\d#*_`$\\{}\[\]()<>=+/|^~%-]+")
_LETTER = re.compile(r"[^\W\d_]")


def identify(text: str) -> str | None:
    """The most likely of the eleven languages; None for a text of too few letters to tell.

    Digits, formulas and markup are left out first. The classifier is langid.py's (Lui and Baldwin,
    2012) as py3langid ships it, restricted to the eleven.
    """
    words = " ".join(_NOT_WORDS.sub(" ", text).split())
    if len(_LETTER.findall(words)) < FEWEST_LETTERS:
        return None
    return str(_identifier().classify(words)[0])


def share_in(texts: Iterable[tuple[str, str]]) -> float | None:
    """The share of texts that are in their language, of those long enough to tell.

    Args:
      texts: (text, code of the language it should be in).

    Returns:
      the share; None if no text is long enough.
    """
    found = [(identify(text), wanted) for text, wanted in texts]
    told = [code == wanted for code, wanted in found if code is not None]
    return sum(told) / len(told) if told else None


@functools.cache
def _identifier() -> Any:
    from py3langid import langid  # type: ignore[import-untyped]

    model = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=False)
    model.set_languages(CODES)
    return model
