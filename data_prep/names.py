"""Names in a problem, found by its translations: capitalised words that they leave as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import regex

from data_prep.problems import Problem
from xcot_jax.languages import LANGUAGES

_CAPITALISED = regex.compile(r"\p{Lu}[\p{L}\p{M}]+")
_LOWER = regex.compile(r"\b\p{Ll}[\p{L}\p{M}]+")


def shared_names(question: Mapping[str, str]) -> tuple[str, ...]:
    """Capitalised words that stand in two languages of one question, in a fixed order.

    A word that only begins a sentence is translated; a name is not. Names that are written
    otherwise in every other language, as in another script, are not found.
    """
    words = [
        set(_CAPITALISED.findall(text))
        for code, text in question.items()
        if LANGUAGES[code].script == "Latn"
    ]
    once: set[str] = set()
    twice: set[str] = set()
    for found in words:
        twice |= once & found
        once |= found
    return tuple(sorted(twice))


def named(problem: Problem) -> Problem:
    """The problem with its names, if it does not list them itself."""
    names = () if problem.names else shared_names(problem.question)
    return dataclasses.replace(problem, names=names) if names else problem


def all_names(problems: Iterable[Problem]) -> frozenset[str]:
    """Names of the problems that are no other word too: "John", but not "Bill" or "Computer"."""
    names: set[str] = set()
    words: set[str] = set()
    for problem in problems:
        names.update(problem.names)
        for text in problem.question.values():
            words.update(_LOWER.findall(text))
    return frozenset(name for name in names if name.lower() not in words)
