"""English story problems, the pattern of the other languages."""

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
    """The number and the plural noun; with "more" or "fewer" between them as `variant`."""
    return f"{number} {variant} {noun['']}" if variant else f"{number} {noun['']}"


_NOW = "How many {noun} does {name} have now?"
_TOTAL = "How many {noun} does {name} have in total?"
_THEY = "How many {noun} do they have in total?"
_GROUPS = "{name} has {n1:container}. {container:each} {n2:noun}."

TEMPLATES = {
    "get": "{name} has {n1:noun}. Then {he:@} {get} {n2:noun}. " + _NOW,
    "lose": "{name} has {n1:noun}. Then {he:@} {lose} {n2:noun}. " + _NOW,
    "get_lose": "{name} has {n1:noun}. Then {he:@} {get} {n2:noun} and {lose} {n3:noun}. " + _NOW,
    "lose_get": "{name} has {n1:noun}. Then {he:@} {lose} {n2:noun} and {get} {n3:noun}. " + _NOW,
    "total": "{name} {get} {n1:noun} and {other} {get} {n2:noun}. " + _THEY,
    "more": "{name} {get} {n1:noun}. {other} {get} {n2:noun.more} than {name}. "
    "How many {noun} does {other} have?",
    "fewer": "{name} {get} {n1:noun}. {other} {get} {n2:noun.fewer} than {name}. "
    "How many {noun} does {other} have?",
    "difference": "{name} {get} {n1:noun} and {other} {get} {n2:noun}. "
    "How many more {noun} does {name} have than {other}?",
    "groups": "{name} {get} {n1:container}. {container:each} {n2:noun}. " + _TOTAL,
    "groups_get": _GROUPS + " Then {he:@} {get} {n3:noun}. " + _NOW,
    "groups_lose": _GROUPS + " Then {he:@} {lose} {n3:noun}. " + _NOW,
    "twice": "{name} {get} {n1:noun}. {other} {get} twice as many. " + _THEY,
    "shared": "{name} {get} {n1:noun} and shares them equally among {n2:friends}. "
    "How many {noun} does each friend get?",
    "get_shared": "{name} has {n1:noun}. Then {he:@} {get} {n2:noun} "
    "and shares them all equally among {n3:friends}. How many {noun} does each friend get?",
    "days": "Every day {name} {get} {n1:noun}. How many {noun} does {he:@} have after {n2:days}?",
    "weekdays": "On Monday {name} {get} {n1:noun}. On Tuesday {he:@} {get} {n2:noun}. "
    "On Wednesday {he:@} {lose} {n3:noun}. " + _NOW,
    "groups_get_lose": _GROUPS + " Then {he:@} {get} {n3:noun} and {lose} {n4:noun}. " + _NOW,
    "two_change": "{name} has {n1:noun} and {other} has {n2:noun}. "
    "Then {name} {get} {n3:noun} and {other} {lose} {n4:noun}. " + _THEY,
}

TABLE = Table(
    code="en",
    people=words(tuple(PEOPLE), *PEOPLE),
    nouns=words(NOUNS, *NOUNS),
    get=words(GET, *GET),
    lose=words(LOSE, *LOSE),
    containers=words(
        CONTAINERS,
        word("boxes", each="each box holds"),
        word("bags", each="each bag holds"),
        word("baskets", each="each basket holds"),
    ),
    extras=words(EXTRAS, word("", f="she", m="he"), "they", "friends", "days"),
    templates=TEMPLATES,
    count=count,
    phrases={},
)
