"""Spanish story problems.

`ask` is "how many", agreeing with the noun, `opening` the same as it begins a question, and `them`
the pronoun; `y` is "and" and the name, as "y" is "e" before an i. Subject pronouns are left out.
"Recibe", which is a verb of the stories, is avoided in the templates.
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


_ASK = "¿{noun:opening} {noun}"
_NOW = _ASK + " tiene {name} ahora?"
_TOTAL = _ASK + " tiene {name} en total?"
_THEY = _ASK + " tienen en total?"
_OTHER = _ASK + " tiene {other}?"
_EACH = _ASK + " le tocan a cada amigo?"
_HAS = "{name} tiene {n1:noun}. Luego "
_GROUPS = "{name} tiene {n1:container}. {container:each} {n2:noun}. Luego "

TEMPLATES = {
    "get": _HAS + "{get} {n2:noun}. " + _NOW,
    "lose": _HAS + "{lose} {n2:noun}. " + _NOW,
    "get_lose": _HAS + "{get} {n2:noun} y {lose} {n3:noun}. " + _NOW,
    "lose_get": _HAS + "{lose} {n2:noun} y {get} {n3:noun}. " + _NOW,
    "total": "{name} {get} {n1:noun} {other:y} {get} {n2:noun}. " + _THEY,
    "more": "{name} {get} {n1:noun}. {other} {get} {n2:noun} más que {name}. " + _OTHER,
    "fewer": "{name} {get} {n1:noun}. {other} {get} {n2:noun} menos que {name}. " + _OTHER,
    "difference": "{name} {get} {n1:noun} {other:y} {get} {n2:noun}. "
    + _ASK
    + " más tiene {name} que {other}?",
    "groups": "{name} {get} {n1:container}. {container:each} {n2:noun}. " + _TOTAL,
    "groups_get": _GROUPS + "{get} {n3:noun}. " + _NOW,
    "groups_lose": _GROUPS + "{lose} {n3:noun}. " + _NOW,
    "twice": "{name} {get} {n1:noun}. {other} {get} el doble. " + _THEY,
    "shared": "{name} {get} {n1:noun} y {noun:them} reparte por igual entre {n2:friends}. " + _EACH,
    "get_shared": _HAS + "{get} {n2:noun} y lo reparte todo por igual entre {n3:friends}. " + _EACH,
    "days": "Cada día {name} {get} {n1:noun}. " + _ASK + " tiene {name} después de {n2:days}?",
    "weekdays": "El lunes {name} {get} {n1:noun}. El martes {get} {n2:noun}. "
    "El miércoles {lose} {n3:noun}. " + _NOW,
    "groups_get_lose": _GROUPS + "{get} {n3:noun} y {lose} {n4:noun}. " + _NOW,
    "two_change": "{name} tiene {n1:noun} {other:y} tiene {n2:noun}. "
    "Luego {name} {get} {n3:noun} {other:y} {lose} {n4:noun}. " + _THEY,
}

PHRASES: dict[str, str | tuple[str, ...]] = {
    "has": "tiene",
    "then": "luego",
    "and": "y",
    "how many": ("cuántas", "cuántos"),
    "more": "más",
    "fewer": "menos",
    "than": "que",
    "now": "ahora",
    "in total": "en total",
    "they have": "tienen",
    "twice as many": "el doble",
    "shares them equally among": ("las reparte por igual entre", "los reparte por igual entre"),
    "shares them all equally among": "lo reparte todo por igual entre",
    "friends": "amigos",
    "each friend": "cada amigo",
    "every day": "cada día",
    "after": "después de",
    "days": "días",
    "on monday": "el lunes",
    "on tuesday": "el martes",
    "on wednesday": "el miércoles",
}


def _feminine(plural: str) -> Word:
    return word(plural, ask="cuántas", opening="Cuántas", them="las")


def _masculine(plural: str) -> Word:
    return word(plural, ask="cuántos", opening="Cuántos", them="los")


def _person(name: str) -> Word:
    return word(name, y=f"{'e' if name[0] == 'I' else 'y'} {name}")


_PEOPLE = (
    *("Anna", "Tom", "María", "David", "Sara", "Paul", "Lena", "Omar"),
    *("Nina", "Iván", "Amina", "Max", "Mei", "Kenji", "Julia", "Ravi"),
)

TABLE = Table(
    code="es",
    people=words(tuple(PEOPLE), *map(_person, _PEOPLE)),
    nouns=words(
        NOUNS,
        *(_feminine("manzanas"), _masculine("libros"), _feminine("monedas"), _feminine("flores")),
        *(_feminine("pelotas"), _masculine("huevos")),
        *(_masculine("bolígrafos"), _feminine("tarjetas")),
        *(_feminine("naranjas"), _masculine("pasteles"), _feminine("velas"), _masculine("sellos")),
        *(_feminine("piedras"), _masculine("sombreros"), _feminine("tazas"), _feminine("llaves")),
    ),
    get=words(
        GET,
        *("compra", "encuentra", "recoge", "encarga"),
        *("recibe", "gana", "obtiene", "descubre"),
    ),
    lose=words(
        LOSE,
        *("regala", "vende", "pierde", "presta"),
        *("desecha", "dona", "envía", "entrega"),
    ),
    containers=words(
        CONTAINERS,
        word("cajas", each="cada caja contiene"),
        word("bolsas", each="cada bolsa contiene"),
        word("cestas", each="cada cesta contiene"),
    ),
    extras=words(EXTRAS, "", "", "amigos", "días"),
    templates=TEMPLATES,
    count=count,
    phrases=PHRASES,
    noun_phrases={"how many {noun}": "{noun:ask} {noun}"},
)
