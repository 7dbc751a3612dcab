"""Bengali story problems.

Nouns stand bare after number and counter, as in 5টি আপেল. Verbs are the same for all. Names have a
genitive, `gen`: who has things has them "near" them, কাছে.
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
    """Number, counter and noun; there are no variants."""
    return f"{number}{noun['counter']} {noun['']}"


_NOW = "এখন {name:gen} কাছে কয়টি {noun} আছে?"
_TOTAL = "{name:gen} কাছে মোট কয়টি {noun} আছে?"
_THEY = "তাদের কাছে মোট কয়টি {noun} আছে?"
_OTHER = "{other:gen} কাছে কয়টি {noun} আছে?"
_EACH = "প্রত্যেক বন্ধু কয়টি {noun} পায়?"
_HAS = "{name:gen} কাছে {n1:noun} আছে। তারপর সে "
_GROUPS = "{name:gen} কাছে {n1:container} আছে। {container:each} {n2:noun} আছে। তারপর সে "

TEMPLATES = {
    "get": _HAS + "{n2:noun} {get}। " + _NOW,
    "lose": _HAS + "{n2:noun} {lose}। " + _NOW,
    "get_lose": _HAS + "{n2:noun} {get} এবং {n3:noun} {lose}। " + _NOW,
    "lose_get": _HAS + "{n2:noun} {lose} এবং {n3:noun} {get}। " + _NOW,
    "total": "{name} {n1:noun} {get} এবং {other} {n2:noun} {get}। " + _THEY,
    "more": "{name} {n1:noun} {get}। {other} {name:gen} চেয়ে {n2:noun} বেশি {get}। " + _OTHER,
    "fewer": "{name} {n1:noun} {get}। {other} {name:gen} চেয়ে {n2:noun} কম {get}। " + _OTHER,
    "difference": "{name} {n1:noun} {get} এবং {other} {n2:noun} {get}। "
    "{name:gen} কাছে {other:gen} চেয়ে কয়টি {noun} বেশি আছে?",
    "groups": "{name} {n1:container} {get}। {container:each} {n2:noun} আছে। " + _TOTAL,
    "groups_get": _GROUPS + "{n3:noun} {get}। " + _NOW,
    "groups_lose": _GROUPS + "{n3:noun} {lose}। " + _NOW,
    "twice": "{name} {n1:noun} {get}। {other} {name:gen} দ্বিগুণ {noun} {get}। " + _THEY,
    "shared": "{name} {n1:noun} {get} এবং সেগুলি {n2:friends} মধ্যে সমানভাবে ভাগ করে দেয়। " + _EACH,
    "get_shared": _HAS + "{n2:noun} {get} এবং সবগুলি {n3:friends} মধ্যে সমানভাবে ভাগ করে দেয়। " + _EACH,
    "days": "{name} প্রতিদিন {n1:noun} {get}। {n2:days} পরে {name:gen} কাছে কয়টি {noun} থাকবে?",
    "weekdays": "সোমবার {name} {n1:noun} {get}। মঙ্গলবার সে {n2:noun} {get}। "
    "বুধবার সে {n3:noun} {lose}। " + _NOW,
    "groups_get_lose": _GROUPS + "{n3:noun} {get} এবং {n4:noun} {lose}। " + _NOW,
    "two_change": "{name:gen} কাছে {n1:noun} আছে এবং {other:gen} কাছে {n2:noun} আছে। "
    "তারপর {name} {n3:noun} {get} এবং {other} {n4:noun} {lose}। " + _THEY,
}

PHRASES: dict[str, str | tuple[str, ...]] = {
    "has": "আছে",
    "then": "তারপর",
    "and": "এবং",
    "how many": "কয়টি",
    "more": "বেশি",
    "fewer": "কম",
    "than": "চেয়ে",
    "now": "এখন",
    "in total": "মোট",
    "they have": "তাদের কাছে",
    "he": "সে",
    "she": "সে",
    "twice as many": "দ্বিগুণ",
    "equally": "সমানভাবে",
    "among": "মধ্যে",
    "friends": "বন্ধুর",
    "each friend": "প্রত্যেক বন্ধু",
    "every day": "প্রতিদিন",
    "after": "পরে",
    "days": "দিন",
    "on monday": "সোমবার",
    "on tuesday": "মঙ্গলবার",
    "on wednesday": "বুধবার",
}


def _person(nominative: str, genitive: str) -> Word:
    return word(nominative, gen=genitive)


def _counted(*nouns: str) -> list[Word]:
    return [word(noun, counter="টি") for noun in nouns]


def _container(noun: str, each: str) -> Word:
    return word(noun, counter="টি", each=each)


TABLE = Table(
    code="bn",
    people=words(
        tuple(PEOPLE),
        *(_person("আন্না", "আন্নার"), _person("টম", "টমের"), _person("মারিয়া", "মারিয়ার")),
        *(_person("ডেভিড", "ডেভিডের"), _person("সারা", "সারার"), _person("পল", "পলের")),
        *(_person("লেনা", "লেনার"), _person("ওমর", "ওমরের"), _person("নিনা", "নিনার")),
        *(_person("ইভান", "ইভানের"), _person("আমিনা", "আমিনার"), _person("ম্যাক্স", "ম্যাক্সের")),
        *(_person("মেই", "মেইয়ের"), _person("কেঞ্জি", "কেঞ্জির"), _person("জুলিয়া", "জুলিয়ার")),
        _person("রবি", "রবির"),
    ),
    nouns=words(
        NOUNS,
        *_counted("আপেল", "বই", "মুদ্রা", "ফুল", "বল", "ডিম", "কলম", "কার্ড"),
        *_counted("কমলা", "কেক", "মোমবাতি", "ডাকটিকিট", "পাথর", "টুপি", "কাপ", "চাবি"),
    ),
    get=words(
        GET,
        *("কেনে", "খুঁজে পায়", "সংগ্রহ করে", "অর্ডার করে"),
        *("গ্রহণ করে", "জেতে", "জোগাড় করে", "আবিষ্কার করে"),
    ),
    lose=words(
        LOSE,
        *("বিলিয়ে দেয়", "বিক্রি করে", "হারায়", "ধার দেয়"),
        *("ফেলে দেয়", "দান করে", "পাঠিয়ে দেয়", "হস্তান্তর করে"),
    ),
    containers=words(
        CONTAINERS,
        _container("বাক্স", "প্রতিটি বাক্সে"),
        _container("ব্যাগ", "প্রতিটি ব্যাগে"),
        _container("ঝুড়ি", "প্রতিটি ঝুড়িতে"),
    ),
    extras=words(
        EXTRAS,
        "সে",
        "তাদের",
        word("বন্ধুর", counter=" জন"),
        word("দিন", counter=""),
    ),
    templates=TEMPLATES,
    count=count,
    phrases=PHRASES,
)
