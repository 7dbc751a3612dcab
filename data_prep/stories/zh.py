"""Chinese story problems, in simplified characters.

`measure` is a noun's measure word. Verbs are bare; the templates add the completive 了.
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
    """Number, measure word and noun, as in 5个苹果; there are no variants."""
    return f"{number}{noun['measure']}{noun['']}"


_ASK = "多少{noun:measure}{noun}？"
_NOW = "{name}现在有" + _ASK
_THEY = "{they:@@}一共有" + _ASK
_EACH = "每个朋友分到" + _ASK
_HAS = "{name}有{n1:noun}。然后{he:@}"
_GROUPS = "{name}有{n1:container}。{container:each}{n2:noun}。然后{he:@}"

TEMPLATES = {
    "get": _HAS + "{get}了{n2:noun}。" + _NOW,
    "lose": _HAS + "{lose}了{n2:noun}。" + _NOW,
    "get_lose": _HAS + "{get}了{n2:noun}，又{lose}了{n3:noun}。" + _NOW,
    "lose_get": _HAS + "{lose}了{n2:noun}，又{get}了{n3:noun}。" + _NOW,
    "total": "{name}{get}了{n1:noun}，{other}{get}了{n2:noun}。" + _THEY,
    "more": "{name}{get}了{n1:noun}。{other}比{name}多{get}了{n2:noun}。{other}有" + _ASK,
    "fewer": "{name}{get}了{n1:noun}。{other}比{name}少{get}了{n2:noun}。{other}有" + _ASK,
    "difference": "{name}{get}了{n1:noun}，{other}{get}了{n2:noun}。{name}比{other}多" + _ASK,
    "groups": "{name}{get}了{n1:container}。{container:each}{n2:noun}。{name}一共有" + _ASK,
    "groups_get": _GROUPS + "{get}了{n3:noun}。" + _NOW,
    "groups_lose": _GROUPS + "{lose}了{n3:noun}。" + _NOW,
    "twice": "{name}{get}了{n1:noun}。{other}{get}的{noun}是{name}的两倍。" + _THEY,
    "shared": "{name}{get}了{n1:noun}，平均分给{n2:friends}。" + _EACH,
    "get_shared": _HAS + "{get}了{n2:noun}，把所有的{noun}平均分给{n3:friends}。" + _EACH,
    "days": "{name}每天{get}{n1:noun}。{n2:days}后{he:@}有" + _ASK,
    "weekdays": "星期一{name}{get}了{n1:noun}。星期二{he:@}{get}了{n2:noun}。"
    "星期三{he:@}{lose}了{n3:noun}。" + _NOW,
    "groups_get_lose": _GROUPS + "{get}了{n3:noun}，又{lose}了{n4:noun}。" + _NOW,
    "two_change": "{name}有{n1:noun}，{other}有{n2:noun}。"
    "然后{name}{get}了{n3:noun}，{other}{lose}了{n4:noun}。" + _THEY,
}

PHRASES: dict[str, str | tuple[str, ...]] = {
    "has": "有",
    "then": "然后",
    "how many": "多少",
    "more": "多",
    "fewer": "少",
    "than": "比",
    "now": "现在",
    "in total": "一共",
    "they": ("他们", "她们"),
    "he": "他",
    "she": "她",
    "twice as many": "两倍",
    "equally": "平均",
    "friends": "朋友",
    "each friend": "每个朋友",
    "every day": "每天",
    "after": "后",
    "days": "天",
    "on monday": "星期一",
    "on tuesday": "星期二",
    "on wednesday": "星期三",
}


def _measured(**nouns: str) -> list[Word]:
    return [word(noun, measure=measure) for noun, measure in nouns.items()]


TABLE = Table(
    code="zh",
    people=words(
        tuple(PEOPLE),
        *("安娜", "汤姆", "玛丽亚", "大卫", "萨拉", "保罗", "莱娜", "奥马尔"),
        *("妮娜", "伊万", "阿米娜", "马克斯", "小梅", "健司", "朱莉娅", "拉维"),
    ),
    nouns=words(
        NOUNS,
        *_measured(苹果="个", 书="本", 硬币="枚", 鲜花="朵", 皮球="个", 鸡蛋="个"),
        *_measured(钢笔="支", 卡片="张", 橙子="个", 蛋糕="个", 蜡烛="根", 邮票="张"),
        *_measured(石头="块", 帽子="顶", 杯子="个", 钥匙="把"),
    ),
    get=words(GET, *("买", "找到", "收集", "订购"), *("收到", "赢得", "获得", "发现")),
    lose=words(LOSE, *("送出", "卖掉", "弄丢", "借出"), *("扔掉", "捐出", "寄走", "交出")),
    containers=words(
        CONTAINERS,
        word("盒子", measure="个", each="每个盒子里有"),
        word("袋子", measure="个", each="每个袋子里有"),
        word("篮子", measure="个", each="每个篮子里有"),
    ),
    extras=words(
        EXTRAS,
        word("", f="她", m="他"),
        word("", f="她们", m="他们"),
        word("朋友", measure="个"),
        word("天", measure=""),
    ),
    templates=TEMPLATES,
    count=count,
    phrases=PHRASES,
    noun_phrases={"how many {noun}": "多少{noun:measure}{noun}"},
)
