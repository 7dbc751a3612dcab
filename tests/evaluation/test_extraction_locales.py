"""Ten thousand numbers as locales write them, in every script and frame, are recovered."""

from __future__ import annotations

import dataclasses
import random
from decimal import Decimal

from xcot_jax.evaluation.extraction import ANSWER_MARKERS, LAST_NUMBER, flexible, strict
from xcot_jax.languages import CODES

LATIN = "0123456789"


@dataclasses.dataclass(frozen=True)
class Locale:
    """How numbers are written somewhere (after the Unicode CLDR).

    Attributes:
      thousands: mark between groups.
      point: mark before decimals.
      digits: that may be used.
      money: patterns of amounts, of a minus (or nothing) and a number.
      indian: groups of two digits above the lowest three.
      minus: the minus, with what direction marks come with it.
    """

    thousands: str
    point: str
    digits: tuple[str, ...] = (LATIN,)
    money: tuple[str, ...] = ("{0}{1}",)
    indian: bool = False
    minus: str = "-"


LOCALES = {
    "en": Locale(",", ".", money=("{0}${1}", "{0}£{1}", "{0}{1}%", "${0}{1}", "USD {0}{1}")),
    "en-IN": Locale(",", ".", money=("{0}₹{1}", "{0}Rs {1}", "{0}Rs.{1}"), indian=True),
    "de": Locale(".", ",", money=("{0}{1}\u00a0€", "{0}{1} Euro", "{0}{1}\u00a0%")),
    "de-AT": Locale("\u00a0", ",", money=("{0}€\u00a0{1}",)),
    "de-CH": Locale("\u2019", ".", money=("CHF{0}{1}", "CHF {0}{1}", "{0}{1} Franken")),
    "it-CH": Locale("'", ".", money=("CHF{0}{1}",)),
    "fr": Locale("\u202f", ",", money=("{0}{1}\u00a0€", "{0}{1}\u202f€")),
    "fr-CH": Locale("\u202f", ",", money=("{0}{1}\u00a0CHF",), minus="\u2212"),
    "es": Locale(".", ",", money=("{0}{1}\u00a0€", "{0}{1} euros")),
    "es-MX": Locale(",", ".", money=("{0}${1}",)),
    "pt-BR": Locale(".", ",", money=("{0}R$\u00a0{1}", "{0}R$ {1}")),
    "ru": Locale("\u00a0", ",", money=("{0}{1}\u00a0₽", "{0}{1} руб."), minus="\u2212"),
    "sv": Locale("\u2009", ",", money=("{0}{1}\u00a0kr",), minus="\u2212"),
    "zh": Locale(
        ",", ".", (LATIN, "".join(chr(0xFF10 + d) for d in range(10))), ("{0}¥{1}", "{0}{1}元")
    ),
    "ja": Locale(
        ",", ".", (LATIN, "".join(chr(0xFF10 + d) for d in range(10))), ("{0}￥{1}", "{0}{1}円")
    ),
    "ko": Locale(",", ".", money=("{0}₩{1}",)),
    "th": Locale(",", ".", (LATIN, "๐๑๒๓๔๕๖๗๘๙"), ("{0}฿{1}", "{0}{1} บาท")),
    "te": Locale(",", ".", (LATIN, "౦౧౨౩౪౫౬౭౮౯"), ("{0}₹{1}", "{0}{1} రూపాయలు"), indian=True),
    "bn": Locale(",", ".", (LATIN, "০১২৩৪৫৬৭৮৯"), ("{0}{1}৳", "{0}{1} টাকা"), indian=True),
    "hi": Locale(",", ".", (LATIN, "०१२३४५६७८९"), ("{0}₹{1}", "{0}{1} रुपये"), indian=True),
    "sw": Locale(",", ".", money=("{0}TSh\u00a0{1}", "{0}TSh {1}", "{0}{1} shilingi")),
    "ar": Locale(
        "\u066c", "\u066b", ("٠١٢٣٤٥٦٧٨٩",), ("\u200f{0}{1}\u00a0ج.م.\u200f",), minus="\u061c-"
    ),
    "fa": Locale(
        "\u066c", "\u066b", ("۰۱۲۳۴۵۶۷۸۹",), ("{0}﷼{1}", "{0}{1} ریال"), minus="\u200e\u2212"
    ),
    "latex": Locale("{,}", ".", money=("{0}\\${1}",)),
    "plain": Locale("", "."),
}

# Rule that reads the frame -> frames. What stands around the number holds numbers of its own.
FRAMES = {
    LAST_NUMBER: ("{}", "{}!", "5 + 7 = 12, so it is {}.", "So she has {} left.", "x = {}", "({})"),
    "gsm8k": ("#### {}", "3 and 4.\n#### {}\n\nQuestion: 9?"),
    "latex": ("\\boxed{{{}}}", "so $\\boxed{{{}}}$ of 100"),
    "en": ("The answer is {}.", "The answer is {}. Not 8.", "Final answer: {}"),
    "de": ("Die Antwort ist {}.",),
    "fr": ("La réponse est {}.",),
    "es": ("La respuesta es {}.",),
    "ru": ("Ответ: {}.",),
    "zh": ("答案是{}。",),
    "ja": ("答えは{}です。",),
    "th": ("คำตอบคือ {}",),
    "te": ("సమాధానం {}.",),
    "bn": ("উত্তর হল {}।",),
    "sw": ("Jibu ni {}.",),
}


def grouped(whole: str, mark: str, indian: bool) -> str:
    """The digits in groups: three, then (Indian) twos or threes."""
    head, groups, step = whole[:-3], [whole[-3:]], 2 if indian else 3
    while head:
        head, groups = head[:-step], [head[-step:], *groups]
    return mark.join(groups)


def draw(rng: random.Random) -> tuple[Decimal, str, str]:
    """A number, a text that holds it as the answer, and the rule that should find it."""
    locale = LOCALES[rng.choice(sorted(LOCALES))]
    whole = str(rng.randrange(10 ** rng.randint(1, 10)))
    decimals = "".join(rng.choices(LATIN, k=rng.choice((0, 0, 0, 1, 2, 3, 4))))
    in_groups = rng.random() < 0.7
    text = grouped(whole, locale.thousands, locale.indian) if in_groups else whole
    alone = text == whole and len(whole) <= 3 and whole != "0" and locale.point in ",."
    if alone and len(decimals) == 3:  # 1.250 is 1250 by the stated rule.
        decimals = decimals[:2]
    text += locale.point + decimals if decimals else ""
    text = text.translate(str.maketrans(LATIN, rng.choice(locale.digits)))
    negative = rng.random() < 0.4
    minus = locale.minus if negative else ""
    amount = rng.choice(locale.money) if rng.random() < 0.5 else "{0}{1}"
    rule = rng.choice(sorted(FRAMES))
    value = Decimal(f"{whole}.{decimals}" if decimals else whole)
    written = rng.choice(FRAMES[rule]).format(amount.format(minus, text))
    return -value if negative else value, written, rule


def test_ten_thousand_numbers_are_recovered() -> None:
    rng = random.Random(0)
    seen = set()
    for _ in range(10_000):
        value, text, rule = draw(rng)
        found = flexible(text)
        assert found is not None and (found.value, found.rule) == (value, rule), repr(text)
        assert strict(text) == (None if rule == LAST_NUMBER else found), repr(text)
        start, end = found.span
        alone = flexible(text[start:end])
        assert alone is not None and alone.value == value, (repr(text), found)
        assert text[start:end].strip() == text[start:end]
        seen.add(rule)
    assert seen == set(FRAMES)


def test_the_frames_hold_every_marker() -> None:
    assert set(FRAMES) == {*ANSWER_MARKERS, LAST_NUMBER}
    assert set(CODES) <= set(LOCALES)
