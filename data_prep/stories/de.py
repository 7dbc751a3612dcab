"""German story problems.

All nouns stand in the accusative plural, which numbers leave alone; "mit", which would ask for
the dative, and separable verbs are avoided.
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
    """The number and the plural noun; there are no variants."""
    return f"{number} {noun['']}"


_NOW = "Wie viele {noun} hat {name} jetzt?"
_TOTAL = "Wie viele {noun} hat {name} insgesamt?"
_THEY = "Wie viele {noun} haben sie insgesamt?"
_OTHER = "Wie viele {noun} hat {other}?"
_EACH = "Wie viele {noun} bekommt jeder Freund?"
_HAS = "{name} hat {n1:noun}. Dann "
_GROUPS = "{name} hat {n1:container}. {container:each} {n2:noun}. Dann "

TEMPLATES = {
    "get": _HAS + "{get} {he:@} {n2:noun}. " + _NOW,
    "lose": _HAS + "{lose} {he:@} {n2:noun}. " + _NOW,
    "get_lose": _HAS + "{get} {he:@} {n2:noun} und {lose} {n3:noun}. " + _NOW,
    "lose_get": _HAS + "{lose} {he:@} {n2:noun} und {get} {n3:noun}. " + _NOW,
    "total": "{name} {get} {n1:noun} und {other} {get} {n2:noun}. " + _THEY,
    "more": "{name} {get} {n1:noun}. {other} {get} {n2:noun} mehr als {name}. " + _OTHER,
    "fewer": "{name} {get} {n1:noun}. {other} {get} {n2:noun} weniger als {name}. " + _OTHER,
    "difference": "{name} {get} {n1:noun} und {other} {get} {n2:noun}. "
    "Wie viele {noun} hat {name} mehr als {other}?",
    "groups": "{name} {get} {n1:container}. {container:each} {n2:noun}. " + _TOTAL,
    "groups_get": _GROUPS + "{get} {he:@} {n3:noun}. " + _NOW,
    "groups_lose": _GROUPS + "{lose} {he:@} {n3:noun}. " + _NOW,
    "twice": "{name} {get} {n1:noun}. {other} {get} doppelt so viele. " + _THEY,
    "shared": "{name} {get} {n1:noun} und verteilt sie gleichmäßig an {n2:friends}. " + _EACH,
    "get_shared": _HAS
    + "{get} {he:@} {n2:noun} und verteilt alle gleichmäßig an {n3:friends}. "
    + _EACH,
    "days": "Jeden Tag {get} {name} {n1:noun}. Wie viele {noun} hat {he:@} nach {n2:days}?",
    "weekdays": "Am Montag {get} {name} {n1:noun}. Am Dienstag {get} {he:@} {n2:noun}. "
    "Am Mittwoch {lose} {he:@} {n3:noun}. " + _NOW,
    "groups_get_lose": _GROUPS + "{get} {he:@} {n3:noun} und {lose} {n4:noun}. " + _NOW,
    "two_change": "{name} hat {n1:noun} und {other} hat {n2:noun}. "
    "Dann {get} {name} {n3:noun} und {other} {lose} {n4:noun}. " + _THEY,
}

PHRASES: dict[str, str | tuple[str, ...]] = {
    "has": "hat",
    "then": "dann",
    "and": "und",
    "how many": "wie viele",
    "more": "mehr",
    "fewer": "weniger",
    "than": "als",
    "now": "jetzt",
    "in total": "insgesamt",
    "they": "sie",
    "he": "er",
    "she": "sie",
    "twice as many": "doppelt so viele",
    "shares them equally among": "verteilt sie gleichmäßig an",
    "shares them all equally among": "verteilt alle gleichmäßig an",
    "friends": "Freunde",
    "each friend": "jeder Freund",
    "every day": "jeden Tag",
    "after": "nach",
    "days": "Tagen",
    "on monday": "am Montag",
    "on tuesday": "am Dienstag",
    "on wednesday": "am Mittwoch",
}

TABLE = Table(
    code="de",
    people=words(tuple(PEOPLE), *PEOPLE),
    nouns=words(
        NOUNS,
        *("Äpfel", "Bücher", "Münzen", "Blumen", "Bälle", "Eier", "Stifte", "Karten"),
        *("Orangen", "Kuchen", "Kerzen", "Briefmarken", "Steine", "Hüte", "Tassen", "Schlüssel"),
    ),
    get=words(
        GET,
        *("kauft", "findet", "sammelt", "bestellt"),
        *("erhält", "gewinnt", "erwirbt", "entdeckt"),
    ),
    lose=words(
        LOSE,
        *("verschenkt", "verkauft", "verliert", "verleiht"),
        *("entsorgt", "spendet", "verschickt", "übergibt"),
    ),
    containers=words(
        CONTAINERS,
        word("Kisten", each="jede Kiste enthält"),
        word("Beutel", each="jeder Beutel enthält"),
        word("Körbe", each="jeder Korb enthält"),
    ),
    extras=words(EXTRAS, word("", f="sie", m="er"), "sie", "Freunde", "Tagen"),
    templates=TEMPLATES,
    count=count,
    phrases=PHRASES,
)
