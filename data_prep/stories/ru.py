"""Russian story problems.

All nouns are inanimate and stand after numerals or "сколько": `few` (genitive singular) after 2, 3
and 4, `many` (genitive plural) after the rest. Names have a genitive, `gen`.
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
    """The number and the noun in agreement; there are no variants.

    Raises:
      ValueError: for 1, 21, 31, ...: the forms that go with them are not in the table.
    """
    if number % 10 == 1 and number % 100 != 11:
        raise ValueError(f"no Russian noun form for {number}")
    few = number % 10 in (2, 3, 4) and number % 100 not in (12, 13, 14)
    return f"{number} {noun['few' if few else 'many']}"


_ASK = "Сколько {noun:many}"
_NOW = _ASK + " теперь у {name:gen}?"
_TOTAL = "Сколько всего {noun:many} у {name:gen}?"
_THEY = "Сколько всего {noun:many} у них?"
_OTHER = _ASK + " у {other:gen}?"
_EACH = _ASK + " достаётся каждому другу?"
_HAS = "У {name:gen} {n1:noun}. Затем {he:@} "
_GROUPS = "У {name:gen} {n1:container}. {container:each} {n2:noun}. Затем {he:@} "

TEMPLATES = {
    "get": _HAS + "{get} {n2:noun}. " + _NOW,
    "lose": _HAS + "{lose} {n2:noun}. " + _NOW,
    "get_lose": _HAS + "{get} {n2:noun} и {lose} {n3:noun}. " + _NOW,
    "lose_get": _HAS + "{lose} {n2:noun} и {get} {n3:noun}. " + _NOW,
    "total": "{name} {get} {n1:noun}, а {other} {get} {n2:noun}. " + _THEY,
    "more": "{name} {get} {n1:noun}. {other} {get} на {n2:noun} больше, чем {name}. " + _OTHER,
    "fewer": "{name} {get} {n1:noun}. {other} {get} на {n2:noun} меньше, чем {name}. " + _OTHER,
    "difference": "{name} {get} {n1:noun}, а {other} {get} {n2:noun}. "
    "На сколько {noun:many} у {name:gen} больше, чем у {other:gen}?",
    "groups": "{name} {get} {n1:container}. {container:each} {n2:noun}. " + _TOTAL,
    "groups_get": _GROUPS + "{get} {n3:noun}. " + _NOW,
    "groups_lose": _GROUPS + "{lose} {n3:noun}. " + _NOW,
    "twice": "{name} {get} {n1:noun}. {other} {get} вдвое больше. " + _THEY,
    "shared": "{name} {get} {n1:noun} и делит их поровну между {n2:friends}. " + _EACH,
    "get_shared": _HAS + "{get} {n2:noun} и делит всё поровну между {n3:friends}. " + _EACH,
    "days": "Каждый день {name} {get} {n1:noun}. " + _ASK + " у {name:gen} через {n2:days}?",
    "weekdays": "В понедельник {name} {get} {n1:noun}. Во вторник {he:@} {get} {n2:noun}. "
    "В среду {he:@} {lose} {n3:noun}. " + _NOW,
    "groups_get_lose": _GROUPS + "{get} {n3:noun} и {lose} {n4:noun}. " + _NOW,
    "two_change": "У {name:gen} {n1:noun}, а у {other:gen} {n2:noun}. "
    "Затем {name} {get} {n3:noun}, а {other} {lose} {n4:noun}. " + _THEY,
}

PHRASES: dict[str, str | tuple[str, ...]] = {
    "then": "затем",
    "and": ("и", "а"),
    "how many": "сколько",
    "more": "больше",
    "fewer": "меньше",
    "than": "чем",
    "now": "теперь",
    "in total": "всего",
    "they have": "у них",
    "he": "он",
    "she": "она",
    "twice as many": "вдвое больше",
    "shares them equally among": "делит их поровну между",
    "shares them all equally among": "делит всё поровну между",
    "friends": "друзьями",
    "each friend": "каждому другу",
    "every day": "каждый день",
    "after": "через",
    "days": ("дня", "дней"),
    "on monday": "в понедельник",
    "on tuesday": "во вторник",
    "on wednesday": "в среду",
}


def _noun(few: str, many: str) -> Word:
    return Word({"few": few, "many": many})


def _person(nominative: str, genitive: str) -> Word:
    return word(nominative, gen=genitive)


TABLE = Table(
    code="ru",
    people=words(
        tuple(PEOPLE),
        *(_person("Анна", "Анны"), _person("Том", "Тома"), _person("Мария", "Марии")),
        *(_person("Давид", "Давида"), _person("Сара", "Сары"), _person("Пауль", "Пауля")),
        *(_person("Лена", "Лены"), _person("Омар", "Омара"), _person("Нина", "Нины")),
        *(_person("Иван", "Ивана"), _person("Амина", "Амины"), _person("Макс", "Макса")),
        *(_person("Мэй", "Мэй"), _person("Кэндзи", "Кэндзи"), _person("Юлия", "Юлии")),
        _person("Рави", "Рави"),
    ),
    nouns=words(
        NOUNS,
        *(_noun("яблока", "яблок"), _noun("книги", "книг"), _noun("монеты", "монет")),
        *(_noun("цветка", "цветков"), _noun("мяча", "мячей"), _noun("яйца", "яиц")),
        *(_noun("ручки", "ручек"), _noun("карточки", "карточек")),
        *(_noun("апельсина", "апельсинов"), _noun("торта", "тортов"), _noun("свечи", "свечей")),
        *(_noun("марки", "марок"), _noun("камня", "камней"), _noun("шляпы", "шляп")),
        *(_noun("чашки", "чашек"), _noun("ключа", "ключей")),
    ),
    get=words(
        GET,
        *("покупает", "находит", "собирает", "заказывает"),
        *("получает", "выигрывает", "приобретает", "обнаруживает"),
    ),
    lose=words(
        LOSE,
        *("раздаёт", "продаёт", "теряет", "одалживает"),
        *("выбрасывает", "жертвует", "отправляет", "отдаёт"),
    ),
    containers=words(
        CONTAINERS,
        Word({"few": "коробки", "many": "коробок", "each": "в каждой коробке"}),
        Word({"few": "пакета", "many": "пакетов", "each": "в каждом пакете"}),
        Word({"few": "корзины", "many": "корзин", "each": "в каждой корзине"}),
    ),
    extras=words(
        EXTRAS,
        word("", f="она", m="он"),
        "они",
        word("друзьями", few="друзьями", many="друзьями"),
        Word({"few": "дня", "many": "дней"}),
    ),
    templates=TEMPLATES,
    count=count,
    phrases=PHRASES,
    noun_forms=("many", "few"),
    noun_phrases={"how many {noun}": "сколько {noun:many}"},
)
