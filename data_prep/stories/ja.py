"""Japanese story problems.

`counter` is a noun's counter. Verbs are stems; the templates add the past ました (ます for habits).
Subjects are left out where they have just been named. 本 for "books" would also be the counter of
pens, so books are 書籍. Containers are counted with つ, which serves up to 9.
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
    """Number and counter without the noun, as in 5個; there are no variants."""
    return f"{number}{noun['counter']}"


_MANY = "{noun}を何{noun:counter}"
_NOW = "{name}は今、" + _MANY + "持っていますか？"
_TOTAL = "{name}は全部で" + _MANY + "持っていますか？"
_THEY = "合わせて" + _MANY + "持っていますか？"
_OTHER = "{other}は" + _MANY + "持っていますか？"
_EACH = "それぞれの友達は" + _MANY + "もらいましたか？"
_ONE = "{name}は{noun}を{n1:noun}"
_HAS = _ONE + "持っていました。その後、{noun}を{n2:noun}"
_GROUPS = (
    "{name}は{container}を{n1:container}持っていました。"
    "{container:each}{noun}が{n2:noun}入っていました。その後、{noun}を{n3:noun}"
)

TEMPLATES = {
    "get": _HAS + "{get}ました。" + _NOW,
    "lose": _HAS + "{lose}ました。" + _NOW,
    "get_lose": _HAS + "{get}、{n3:noun}{lose}ました。" + _NOW,
    "lose_get": _HAS + "{lose}、{n3:noun}{get}ました。" + _NOW,
    "total": _ONE + "{get}、{other}は{n2:noun}{get}ました。" + _THEY,
    "more": _ONE + "{get}ました。{other}は{name}より{n2:noun}多く{get}ました。" + _OTHER,
    "fewer": _ONE + "{get}ました。{other}は{name}より{n2:noun}少なく{get}ました。" + _OTHER,
    "difference": _ONE + "{get}、{other}は{n2:noun}{get}ました。"
    "{name}は{other}より{noun}を何{noun:counter}多く持っていますか？",
    "groups": "{name}は{container}を{n1:container}{get}ました。"
    "{container:each}{noun}が{n2:noun}入っていました。" + _TOTAL,
    "groups_get": _GROUPS + "{get}ました。" + _NOW,
    "groups_lose": _GROUPS + "{lose}ました。" + _NOW,
    "twice": _ONE + "{get}ました。{other}はその二倍{get}ました。" + _THEY,
    "shared": _ONE + "{get}、{n2:friends}の友達に同じ数ずつ分けました。" + _EACH,
    "get_shared": _HAS + "{get}、全部を{n3:friends}の友達に同じ数ずつ分けました。" + _EACH,
    "days": "{name}は毎日{noun}を{n1:noun}{get}ます。{n2:days}後には" + _MANY + "持っていますか？",
    "weekdays": "{name}は月曜日に{noun}を{n1:noun}{get}ました。火曜日に{n2:noun}{get}ました。"
    "水曜日に{n3:noun}{lose}ました。" + _NOW,
    "groups_get_lose": _GROUPS + "{get}、{n4:noun}{lose}ました。" + _NOW,
    "two_change": _ONE + "、{other}は{n2:noun}持っていました。"
    "その後、{name}は{n3:noun}{get}、{other}は{n4:noun}{lose}ました。" + _THEY,
}

PHRASES: dict[str, str | tuple[str, ...]] = {
    "has": ("持っていました", "持っています"),
    "then": "その後",
    "how many": ("何個", "何枚", "何本", "何冊"),
    "more": "多く",
    "fewer": "少なく",
    "than": "より",
    "now": "今",
    "in total": ("合わせて", "全部で"),
    "twice as many": "二倍",
    "equally": "同じ数ずつ",
    "friends": "友達",
    "each friend": "それぞれの友達",
    "every day": "毎日",
    "after": "後に",
    "days": "日",
    "on monday": "月曜日に",
    "on tuesday": "火曜日に",
    "on wednesday": "水曜日に",
}


def _counted(**nouns: str) -> list[Word]:
    return [word(noun, counter=counter) for noun, counter in nouns.items()]


TABLE = Table(
    code="ja",
    people=words(
        tuple(PEOPLE),
        *("アンナ", "トム", "マリア", "デイビッド", "サラ", "ポール", "レナ", "オマール"),
        *("ニーナ", "イワン", "アミナ", "マックス", "メイ", "ケンジ", "ジュリア", "ラヴィ"),
    ),
    nouns=words(
        NOUNS,
        *_counted(リンゴ="個", 書籍="冊", コイン="枚", 花="本", ボール="個", 卵="個"),
        *_counted(ペン="本", カード="枚", オレンジ="個", ケーキ="個", ろうそく="本", 切手="枚"),
        *_counted(石="個", 帽子="個", カップ="個", 鍵="本"),
    ),
    get=words(
        GET, *("買い", "見つけ", "集め", "注文し"), *("受け取り", "獲得し", "手に入れ", "発見し")
    ),
    lose=words(LOSE, *("あげ", "売り", "なくし", "貸し"), *("捨て", "寄付し", "送り", "渡し")),
    containers=words(
        CONTAINERS,
        word("箱", counter="つ", each="それぞれの箱には"),
        word("袋", counter="つ", each="それぞれの袋には"),
        word("かご", counter="つ", each="それぞれのかごには"),
    ),
    extras=words(EXTRAS, "", "", word("友達", counter="人"), word("日", counter="日")),
    templates=TEMPLATES,
    count=count,
    phrases=PHRASES,
    noun_phrases={"how many {noun}": "{noun}を何{noun:counter}"},
)
