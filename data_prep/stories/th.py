"""Thai story problems, which have no spaces and no punctuation: words tell where sentences begin.

`measure` is a noun's classifier, which follows the number. Verbs stand before their object.
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
    """Noun, number and classifier, as in แอปเปิล5ลูก; there are no variants."""
    return f"{noun['']}{number}{noun['measure']}"


_ASK = "มี{noun}กี่{noun:measure}"
_NOW = "ตอนนี้{name}" + _ASK
_TOTAL = "มี{noun}ทั้งหมดกี่{noun:measure}"
_THEY = "พวกเขา" + _TOTAL
_EACH = "เพื่อนแต่ละคนได้{noun}กี่{noun:measure}"
_HAS = "{name}มี{n1:noun}จากนั้น{he:@}"
_GROUPS = "{name}มี{n1:container}{container:each}{n2:noun}จากนั้น{he:@}"
_COMPARED = "{name}{get}{n1:noun}{other}{get}{noun}"

TEMPLATES = {
    "get": _HAS + "{get}{n2:noun}" + _NOW,
    "lose": _HAS + "{lose}{n2:noun}" + _NOW,
    "get_lose": _HAS + "{get}{n2:noun}และ{lose}{n3:noun}" + _NOW,
    "lose_get": _HAS + "{lose}{n2:noun}และ{get}{n3:noun}" + _NOW,
    "total": "{name}{get}{n1:noun}และ{other}{get}{n2:noun}" + _THEY,
    "more": _COMPARED + "มากกว่า{name}{n2}{noun:measure}{other}" + _ASK,
    "fewer": _COMPARED + "น้อยกว่า{name}{n2}{noun:measure}{other}" + _ASK,
    "difference": "{name}{get}{n1:noun}และ{other}{get}{n2:noun}"
    "{name}มี{noun}มากกว่า{other}กี่{noun:measure}",
    "groups": "{name}{get}{n1:container}{container:each}{n2:noun}{name}" + _TOTAL,
    "groups_get": _GROUPS + "{get}{n3:noun}" + _NOW,
    "groups_lose": _GROUPS + "{lose}{n3:noun}" + _NOW,
    "twice": _COMPARED + "เป็นสองเท่าของ{name}" + _THEY,
    "shared": "{name}{get}{n1:noun}และแบ่งเท่าๆกันให้{n2:friends}" + _EACH,
    "get_shared": _HAS + "{get}{n2:noun}และแบ่งทั้งหมดเท่าๆกันให้{n3:friends}" + _EACH,
    "days": "ทุกวัน{name}{get}{n1:noun}หลังจากผ่านไป{n2:days}{he:@}จะ" + _ASK,
    "weekdays": "ในวันจันทร์{name}{get}{n1:noun}ในวันอังคาร{he:@}{get}{n2:noun}"
    "ในวันพุธ{he:@}{lose}{n3:noun}" + _NOW,
    "groups_get_lose": _GROUPS + "{get}{n3:noun}และ{lose}{n4:noun}" + _NOW,
    "two_change": "{name}มี{n1:noun}และ{other}มี{n2:noun}"
    "จากนั้น{name}{get}{n3:noun}และ{other}{lose}{n4:noun}" + _THEY,
}

PHRASES: dict[str, str | tuple[str, ...]] = {
    "has": "มี",
    "then": "จากนั้น",
    "and": "และ",
    "how many": "กี่",
    "more": "มากกว่า",
    "fewer": "น้อยกว่า",
    "than": "กว่า",
    "now": "ตอนนี้",
    "in total": "ทั้งหมด",
    "they": "พวกเขา",
    "he": "เขา",
    "she": "เธอ",
    "twice as many": "สองเท่า",
    "shares them equally among": "แบ่งเท่าๆกันให้",
    "shares them all equally among": "แบ่งทั้งหมดเท่าๆกันให้",
    "friends": "เพื่อน",
    "each friend": "เพื่อนแต่ละคน",
    "every day": "ทุกวัน",
    "after": "หลังจากผ่านไป",
    "days": "วัน",
    "on monday": "ในวันจันทร์",
    "on tuesday": "ในวันอังคาร",
    "on wednesday": "ในวันพุธ",
}


def _noun(noun: str, measure: str) -> Word:
    return word(noun, measure=measure)


TABLE = Table(
    code="th",
    people=words(
        tuple(PEOPLE),
        *("แอนนา", "ทอม", "มาเรีย", "เดวิด", "ซารา", "พอล", "เลนา", "โอมาร์"),
        *("นีนา", "อีวาน", "อามินา", "แม็กซ์", "เหม่ย", "เคนจิ", "จูเลีย", "ราวี"),
    ),
    nouns=words(
        NOUNS,
        *(
            _noun("แอปเปิล", "ลูก"),
            _noun("หนังสือ", "เล่ม"),
            _noun("เหรียญ", "เหรียญ"),
            _noun("ดอกไม้", "ดอก"),
        ),
        *(_noun("ลูกบอล", "ลูก"), _noun("ไข่", "ฟอง"), _noun("ปากกา", "ด้าม"), _noun("การ์ด", "ใบ")),
        *(_noun("ส้ม", "ลูก"), _noun("เค้ก", "ก้อน"), _noun("เทียน", "เล่ม"), _noun("แสตมป์", "ดวง")),
        *(_noun("ก้อนหิน", "ก้อน"), _noun("หมวก", "ใบ"), _noun("ถ้วย", "ใบ"), _noun("กุญแจ", "ดอก")),
    ),
    get=words(
        GET,
        *("ซื้อ", "เจอ", "รวบรวม", "สั่ง"),
        *("ได้รับ", "ได้รางวัลเป็น", "จัดหา", "ค้นพบ"),
    ),
    lose=words(
        LOSE,
        *("แจกจ่าย", "ขาย", "สูญเสีย", "ให้ยืม"),
        *("ทิ้ง", "บริจาค", "จัดส่ง", "ส่งมอบ"),
    ),
    containers=words(
        CONTAINERS,
        word("กล่อง", measure="ใบ", each="แต่ละกล่องมี"),
        word("ถุง", measure="ใบ", each="แต่ละถุงมี"),
        word("ตะกร้า", measure="ใบ", each="แต่ละตะกร้ามี"),
    ),
    extras=words(
        EXTRAS,
        word("", f="เธอ", m="เขา"),
        "พวกเขา",
        word("เพื่อน", measure="คน"),
        word("", measure="วัน"),
    ),
    templates=TEMPLATES,
    count=count,
    phrases=PHRASES,
    noun_phrases={"how many {noun}": "{noun}กี่{noun:measure}"},
)
