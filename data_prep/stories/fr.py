"""French story problems.

`ask` is "how many" and the noun, `que` is "than" and the name: both elide before a vowel. "Reçoit",
which is a verb of the stories, is avoided in the templates.
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


_NOW = "{noun:ask} {name} a-t-{he:@} maintenant ?"
_TOTAL = "{noun:ask} {name} a-t-{he:@} au total ?"
_THEY = "{noun:ask} ont-{they:@@} au total ?"
_OTHER = "{noun:ask} {other} a-t-{he:@2} ?"
_EACH = "{noun:ask} reviennent à chaque ami ?"
_HAS = "{name} a {n1:noun}. Puis {he:@} "
_GROUPS = "{name} a {n1:container}. {container:each} {n2:noun}. Puis {he:@} "

TEMPLATES = {
    "get": _HAS + "{get} {n2:noun}. " + _NOW,
    "lose": _HAS + "{lose} {n2:noun}. " + _NOW,
    "get_lose": _HAS + "{get} {n2:noun} et {lose} {n3:noun}. " + _NOW,
    "lose_get": _HAS + "{lose} {n2:noun} et {get} {n3:noun}. " + _NOW,
    "total": "{name} {get} {n1:noun} et {other} {get} {n2:noun}. " + _THEY,
    "more": "{name} {get} {n1:noun}. {other} {get} {n2:noun} de plus {name:que}. " + _OTHER,
    "fewer": "{name} {get} {n1:noun}. {other} {get} {n2:noun} de moins {name:que}. " + _OTHER,
    "difference": "{name} {get} {n1:noun} et {other} {get} {n2:noun}. "
    "{noun:ask} {name} a-t-{he:@} de plus {other:que} ?",
    "groups": "{name} {get} {n1:container}. {container:each} {n2:noun}. " + _TOTAL,
    "groups_get": _GROUPS + "{get} {n3:noun}. " + _NOW,
    "groups_lose": _GROUPS + "{lose} {n3:noun}. " + _NOW,
    "twice": "{name} {get} {n1:noun}. {other} en {get} deux fois plus. " + _THEY,
    "shared": "{name} {get} {n1:noun} et les partage équitablement entre {n2:friends}. " + _EACH,
    "get_shared": _HAS
    + "{get} {n2:noun} et partage le tout équitablement entre {n3:friends}. "
    + _EACH,
    "days": "Chaque jour, {name} {get} {n1:noun}. "
    "{noun:ask} {name} a-t-{he:@} au bout de {n2:days} ?",
    "weekdays": "Lundi, {name} {get} {n1:noun}. Mardi, {he:@} {get} {n2:noun}. "
    "Mercredi, {he:@} {lose} {n3:noun}. " + _NOW,
    "groups_get_lose": _GROUPS + "{get} {n3:noun} et {lose} {n4:noun}. " + _NOW,
    "two_change": "{name} a {n1:noun} et {other} a {n2:noun}. "
    "Puis {name} {get} {n3:noun} et {other} {lose} {n4:noun}. " + _THEY,
}

PHRASES: dict[str, str | tuple[str, ...]] = {
    "has": "a",
    "then": "puis",
    "and": "et",
    "how many": "combien de",
    "more": "de plus",
    "fewer": "de moins",
    "than": "que",
    "now": "maintenant",
    "in total": "au total",
    "they have": ("ont-ils", "ont-elles"),
    "he": "il",
    "she": "elle",
    "twice as many": "deux fois plus",
    "shares them equally among": "les partage équitablement entre",
    "shares them all equally among": "partage le tout équitablement entre",
    "friends": "amis",
    "each friend": "chaque ami",
    "every day": "chaque jour",
    "after": "au bout de",
    "days": "jours",
    "on monday": "lundi",
    "on tuesday": "mardi",
    "on wednesday": "mercredi",
}


def _before(following: str, whole: str, elided: str) -> str:
    """The word after "de" or "que", elided before a vowel."""
    return f"{elided if following[0].lower() in 'aeioœu' else whole}{following}"


def _noun(plural: str) -> Word:
    return word(plural, ask=_before(plural, "combien de ", "combien d'"))


def _person(name: str) -> Word:
    return word(name, que=_before(name, "que ", "qu'"))


_NOUNS = (
    *("pommes", "livres", "pièces", "fleurs", "ballons", "œufs", "stylos", "cartes"),
    *("oranges", "gâteaux", "bougies", "timbres", "pierres", "chapeaux", "tasses", "clés"),
)

TABLE = Table(
    code="fr",
    people=words(tuple(PEOPLE), *map(_person, PEOPLE)),
    nouns=words(NOUNS, *map(_noun, _NOUNS)),
    get=words(
        GET,
        *("achète", "trouve", "collecte", "commande"),
        *("reçoit", "gagne", "obtient", "découvre"),
    ),
    lose=words(
        LOSE,
        *("offre", "vend", "perd", "prête"),
        *("jette", "donne", "expédie", "cède"),
    ),
    containers=words(
        CONTAINERS,
        word("boîtes", each="chaque boîte contient"),
        word("sacs", each="chaque sac contient"),
        word("paniers", each="chaque panier contient"),
    ),
    extras=words(EXTRAS, word("", f="elle", m="il"), word("", f="elles", m="ils"), "amis", "jours"),
    templates=TEMPLATES,
    count=count,
    phrases=PHRASES,
    noun_phrases={"how many {noun}": "{noun:ask}"},
)
