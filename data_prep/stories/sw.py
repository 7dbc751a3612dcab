"""Swahili story problems.

Nouns are plurals; `ask` is "how many" and `all` is "all", each agreeing with the noun's class.
Subject pronouns are part of the verb.
"""

from __future__ import annotations

from data_prep.stories.tables import (
    CONTAINERS,
    EXTRAS,
    GET,
    LOSE,
    NOUNS,
    PEOPLE,
    Table,
    Word,
    word,
    words,
)


def count(number: int, noun: Word, variant: str) -> str:
    """The plural noun and the number, as in "vitabu 5"; there are no variants."""
    return f"{noun['']} {number}"


_ASK = "{noun} {noun:ask}"
_NOW = f"Sasa {{name}} ana {_ASK}?"
_TOTAL = f"Kwa jumla {{name}} ana {_ASK}?"
_THEY = f"Kwa jumla wana {_ASK}?"
_OTHER = f"{{other}} ana {_ASK}?"
_EACH = f"Kila rafiki anapewa {_ASK}?"
_HAS = "{name} ana {n1:noun}. Kisha "
_GROUPS = "{name} ana {n1:container}. {container:each} {n2:noun}. Kisha "

TEMPLATES = {
    "get": _HAS + "{get} {n2:noun}. " + _NOW,
    "lose": _HAS + "{lose} {n2:noun}. " + _NOW,
    "get_lose": _HAS + "{get} {n2:noun} halafu {lose} {n3:noun}. " + _NOW,
    "lose_get": _HAS + "{lose} {n2:noun} halafu {get} {n3:noun}. " + _NOW,
    "total": "{name} {get} {n1:noun} na {other} {get} {n2:noun}. " + _THEY,
    "more": "{name} {get} {n1:noun}. {other} {get} {n2:noun} zaidi kuliko {name}. " + _OTHER,
    "fewer": "{name} {get} {n1:noun}. {other} {get} {n2:noun} pungufu kuliko {name}. " + _OTHER,
    "difference": "{name} {get} {n1:noun} na {other} {get} {n2:noun}. "
    f"{{name}} ana {_ASK} zaidi kuliko {{other}}?",
    "groups": "{name} {get} {n1:container}. {container:each} {n2:noun}. " + _TOTAL,
    "groups_get": _GROUPS + "{get} {n3:noun}. " + _NOW,
    "groups_lose": _GROUPS + "{lose} {n3:noun}. " + _NOW,
    "twice": "{name} {get} {n1:noun}. {other} {get} {noun} mara mbili ya {name}. " + _THEY,
    "shared": "{name} {get} {n1:noun} na kuwagawia {n2:friends} kwa usawa. " + _EACH,
    "get_shared": _HAS
    + "{get} {n2:noun} na kuwagawia {n3:friends} {noun} {noun:all} kwa usawa. "
    + _EACH,
    "days": "Kila siku {name} {get} {n1:noun}. " + f"Baada ya {{n2:days}} ana {_ASK}?",
    "weekdays": "Jumatatu {name} {get} {n1:noun}. Jumanne {get} {n2:noun}. "
    "Jumatano {lose} {n3:noun}. " + _NOW,
    "groups_get_lose": _GROUPS + "{get} {n3:noun} halafu {lose} {n4:noun}. " + _NOW,
    "two_change": "{name} ana {n1:noun} na {other} ana {n2:noun}. "
    "Kisha {name} {get} {n3:noun} na {other} {lose} {n4:noun}. " + _THEY,
}

PHRASES: dict[str, str | tuple[str, ...]] = {
    "has": "ana",
    "then": "kisha",
    "and": "na",
    "how many": ("ngapi", "mangapi"),
    "more": "zaidi",
    "fewer": "pungufu",
    "than": "kuliko",
    "now": "sasa",
    "in total": "kwa jumla",
    "they have": "wana",
    "twice as many": "mara mbili",
    "equally": "kwa usawa",
    "friends": "marafiki",
    "each friend": "kila rafiki",
    "every day": "kila siku",
    "after": "baada ya",
    "days": "siku",
    "on monday": "Jumatatu",
    "on tuesday": "Jumanne",
    "on wednesday": "Jumatano",
}


def _ma(noun: str) -> Word:
    return word(noun, ask="mangapi", all="yote")


def _vi(noun: str) -> Word:
    return word(noun, ask="vingapi", all="vyote")


def _mi(noun: str) -> Word:
    return word(noun, ask="mingapi", all="yote")


def _n(noun: str) -> Word:
    return word(noun, ask="ngapi", all="zote")


TABLE = Table(
    code="sw",
    people=words(tuple(PEOPLE), *PEOPLE),
    nouns=words(
        NOUNS,
        *(_ma("matofaa"), _vi("vitabu"), _n("sarafu"), _ma("maua")),
        *(_mi("mipira"), _ma("mayai"), _n("kalamu"), _n("kadi")),
        *(_ma("machungwa"), _n("keki"), _mi("mishumaa"), _n("stempu")),
        *(_ma("mawe"), _n("kofia"), _vi("vikombe"), _n("funguo")),
    ),
    get=words(
        GET,
        *("ananunua", "anaokota", "anakusanya", "anaagiza"),
        *("anapokea", "anashinda", "anapata", "anagundua"),
    ),
    lose=words(
        LOSE,
        *("anatoa", "anauza", "anapoteza", "anaazimisha"),
        *("anatupa", "anachangia", "anatuma", "anakabidhi"),
    ),
    containers=words(
        CONTAINERS,
        word("masanduku", each="kila sanduku lina"),
        word("mifuko", each="kila mfuko una"),
        word("vikapu", each="kila kikapu kina"),
    ),
    extras=words(EXTRAS, "", "", "marafiki", "siku"),
    templates=TEMPLATES,
    count=count,
    phrases=PHRASES,
    noun_phrases={"how many {noun}": "{noun} {noun:ask}"},
)
