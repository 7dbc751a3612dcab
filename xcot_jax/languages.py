"""The eleven MGSM languages: code, name, script, spacing and resource level."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from typing import Literal

from xcot_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Language:
    """One language of the benchmarks.

    Attributes:
      code: ISO 639-1 code, as in MGSM's file names.
      name: English name, as in MSVAMP's file names and in prompts.
      script: ISO 15924 script code of its writing system.
      spaced: whether words are written with spaces between them.
      resource: resource level in web text, after MGSM (Shi et al., arXiv 2210.03057, table 1).
    """

    code: str
    name: str
    script: str
    spaced: bool
    resource: Literal["high", "low"]


LANGUAGES: dict[str, Language] = {
    language.code: language
    for language in (
        Language("en", "English", "Latn", True, "high"),
        Language("de", "German", "Latn", True, "high"),
        Language("fr", "French", "Latn", True, "high"),
        Language("es", "Spanish", "Latn", True, "high"),
        Language("ru", "Russian", "Cyrl", True, "high"),
        Language("zh", "Chinese", "Hans", False, "high"),
        Language("ja", "Japanese", "Jpan", False, "high"),
        Language("th", "Thai", "Thai", False, "low"),
        Language("te", "Telugu", "Telu", True, "low"),
        Language("bn", "Bengali", "Beng", True, "low"),
        Language("sw", "Swahili", "Latn", True, "low"),
    )
}

CODES: tuple[str, ...] = tuple(LANGUAGES)
HIGH_RESOURCE: tuple[str, ...] = tuple(c for c, v in LANGUAGES.items() if v.resource == "high")
LOW_RESOURCE: tuple[str, ...] = tuple(c for c, v in LANGUAGES.items() if v.resource == "low")


def language(code: str) -> Language:
    """Returns the language with this code.

    Raises:
      InputError: for a code that is not one of the eleven, with the nearest one.
    """
    if code not in LANGUAGES:
        near = difflib.get_close_matches(code, CODES, n=1, cutoff=0.0)
        raise InputError(
            f"unknown language {code!r}; did you mean {near[0]!r}? ({', '.join(CODES)})"
        )
    return LANGUAGES[code]


def ordered(codes: Iterable[str]) -> tuple[str, ...]:
    """The given codes, without repeats, in the order of the table."""
    wanted = {language(code).code for code in codes}
    return tuple(code for code in CODES if code in wanted)
