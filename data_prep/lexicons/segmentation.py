"""Segmentation: sentences and words of a text, in scripts with and without spaces.

ICU's dictionaries find the words of Chinese, Japanese and Thai; the words of spaced scripts are
those that code-switching matches (`lexicon.WORD`).
"""

from __future__ import annotations

from collections.abc import Iterable

import regex

from data_prep.lexicons.lexicon import WORD
from xcot_jax.languages import language

Span = tuple[int, int]

_SPEAKS = regex.compile(r"[\p{L}\p{N}]")

# What is one word in writing and two in translation: "l'heure", "Tom's", "a-t-elle", 每年 (each
# year), 三天 (three days). The pattern ends where the word is cut.
_CUTS = {
    "en": regex.compile(r"(?=['’]s$)"),
    "fr": regex.compile(
        r"(?<=^(?:[cdjlmnst]|\p{L}*qu)['’])|(?<!-t)(?=-(?:t-)?(?:ils?|elles?|on|je|nous|vous|ce)$)",
        regex.IGNORECASE,
    ),
    "zh": regex.compile(
        r"""^(?: 每 | [这那](?![样么里些]) | 一(?![半起共些样定直般旦边下致切部品])
               | [两二三四五六七八九十]+
                 (?= [个天次周名张条件杯只支颗棵家层袋倍套双盒包瓶罐份辆首排行本] | 年(?!级) )
             )(?=.)
          | (?<= ^[每这那一两二三四五六七八九十]? [个本] )(?= [人月书]$ )""",
        regex.VERBOSE,
    ),
}


def sentences(text: str, code: str) -> list[str]:
    """The sentences of a text, each with the white space after it; joined they are the text."""
    from icu4py.breakers import SentenceBreaker  # ICU's data, which few need.

    return list(SentenceBreaker(text, language(code).code)) if text else []


def word_spans(text: str, code: str) -> list[Span]:
    """Where the words of a text begin and end; a number is a word, punctuation is none.

    In an unspaced script the words are ICU's, in a spaced one those of `lexicon.WORD`.
    """
    if language(code).spaced:
        return [match.span() for match in WORD.finditer(text)]
    from icu4py.breakers import WordBreaker

    spans = []
    start = 0
    for piece in WordBreaker(text, code) if text else ():
        end = start + len(piece)
        if _SPEAKS.search(piece):
            spans.append((start, end))
        start = end
    return spans


def words(text: str, code: str) -> list[str]:
    """The words of a text, as they are written."""
    return [text[start:end] for start, end in word_spans(text, code)]


def cut_spans(text: str, spans: Iterable[Span], code: str) -> list[Span]:
    """Word spans with elided articles, clitics, possessive endings and Chinese numerals cut off."""
    cut = _CUTS.get(code)
    if cut is None:
        return list(spans)
    found = []
    for start, end in spans:
        for middle in [start + match.end() for match in cut.finditer(text[start:end])]:
            found.append((start, middle))
            start = middle
        found.append((start, end))
    return found
