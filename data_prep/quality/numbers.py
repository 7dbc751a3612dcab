"""Whether the numbers of a question survive its translation, compared as values.

What the source writes in digits must be there in the translation in some form: in any locale's
marks (1,000 / 1.000 / 1 000 / 1,00,000, 1.5 / 1,5), in the digits of any script, with a multiplier
(1,500,000 / 150万 / 1,5 Millionen), as a fraction, as a time of the other clock, in other units
of money ($1.50 / 150 cents), or spelt out. Where a form can be read in two ways both readings
count, so that what is reported missing is missing.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

from data_prep.quality import number_words
from xcot_jax.languages import LANGUAGES

_OTHER_DIGIT = re.compile(r"[^\D0-9]")
_FORMS = str.maketrans(
    dict.fromkeys("\u00a0\u2007\u2008\u2009\u200a\u202f\u3000", " ")
    | dict.fromkeys("’ʼ٬", "'")
    | {"٫": ".", "．": ".", "，": ",", "／": "/", "⁄": "/", "：": ":", "％": "%", "＄": "$"}
    | {"½": " 1/2 ", "¼": " 1/4 ", "¾": " 3/4 ", "⅓": " 1/3 ", "⅔": " 2/3 ", "⅛": " 1/8 "}
)
_BARE_POINT = re.compile(r"(?<![\w.,'])\.(?=\d)")
# Digits in groups of three; the mark becomes an apostrophe, which is never a decimal mark.
_GROUP_SPACE = re.compile(r"(?<=\d) (?=\d{3}(?!\d))")
_NUMERAL = re.compile(r"\d+(?:[.,']\d+)*")

_GROUPED = re.compile(
    r"[1-9]\d{0,2}(?P<mark>[.,'])\d{3}(?:(?P=mark)\d{3})*(?:(?!(?P=mark))[.,](?P<decimals>\d+))?"
)
_INDIAN = re.compile(r"[1-9]\d?(?:,\d\d)+,\d{3}(?:\.(?P<decimals>\d+))?")
_DECIMAL = re.compile(r"\d+[.,]\d+")
_RATIO = re.compile(
    r"(?:(?<![\d/.,])(\d{1,9})(?: | and |-))?(?<![\d/.,])(\d{1,9})/([1-9]\d{0,8})(?![\d/])"
)

_ITEM = re.compile(
    r"""
    (?P<hour>\d{1,2}) : (?P<minute>[0-5]\d) (?!\d)
  | (?P<clock>\d{1,2})
    (?= (?:\s?(?:-|to|and)\s?\d{1,2}(?::\d\d)?)? \s?[ap]\.?\s?m\b | \s?(?:o'clock|uhr)\b )
  | (?: (?<![\d/.,]) (?P<whole>\d{1,9}) (?:\s|-|\sand\s) )?
    (?<![\d/.,]) (?P<over>\d{1,9}) / (?P<under>[1-9]\d{0,8}) (?![\d/])
  | (?<![\d.,]) (?P<and>\d{1,9}) \s and \s (?: (?:an?|one)\s )? (?P<piece>half|third|quarter)\b
  | (?P<money>\$\s?)? (?P<numeral>\d+(?:[.,']\d+)*)
    (?: (?P<percent>\s?%|\spercent\b)
      | (?P<unit>\s?¢|[\s-](?:cents?|minutes?|months?)\b)
      | (?P<several>'?s\b)
      | (?P<k>k\b)
      | [\s-](?P<scale>hundred|thousand|million|billion)\b
    )?
    """,
    re.VERBOSE | re.IGNORECASE,
)
# An exponent of a unit (100 m2, ft^3) may become a word.
_EXPONENT = re.compile(r"(?<=\d)(\s?(?:[ckm]?m|ft|in|yd))\s?\^?[23]\b", re.IGNORECASE)
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_SCALED = re.compile(r"\d[\s-](?:" + "|".join(_SCALES) + r")\b", re.IGNORECASE)
_PIECES = {"half": Fraction(1, 2), "third": Fraction(1, 3), "quarter": Fraction(1, 4)}
# What a unit is of the next larger one, and which counts are often said in that one.
_LARGER: dict[str, tuple[int, Sequence[int]]] = {
    "¢": (100, range(1, 100)),
    "cent": (100, range(1, 100)),
    "minute": (60, (15, 30, 45)),
    "month": (12, (6,)),
}
# Chinese: 8折, 7.5折, 75折 and 七五折 say what is left of a price, in tenths or hundredths.
_DISCOUNT = re.compile(r"(\d{1,2}(?:\.\d)?|[一二三四五六七八九][点點]?五?)\s?折")
_TENTHS = str.maketrans("一二三四五六七八九", "123456789", ".点點")
# Where a noun without a number is one of its kind.
_NO_ARTICLE = frozenset({"ru", "zh", "ja", "th", "te", "bn", "sw"})

# A calculator mark: whole; closed by one bracket, or by none; or without its opening.
_CALCULATION = r"[-+*/().,%$\d\s]*=\s*[-$]*\d*[.,]?\d+%?"
_MARK = re.compile(
    rf"<<(?=>>|[^<>\n]*=)[^<>\n]*>>|<<{_CALCULATION}>?|(?<![<>=])[-+*/().,%$\d]+=[-$]*[\d.,]+>>"
)

_LONGEST = 50  # Longer strings of digits are no numbers.

Way = Sequence[Fraction]  # Values that must all be there.


def missing(source: str, text: str, language: str, *, spelt_out: bool = True) -> tuple[str, ...]:
    """The numbers of a source text, as it writes them, that its translation lacks.

    Args:
      source: the text translated from.
      text: its translation.
      language: of the translation.
      spelt_out: whether a number may be spelt out in the translation.
    """
    source, wanted = _of_source(source)
    text = _prepared(text)
    if wanted.issubset(_NUMERAL.findall(text)) and not _SCALED.search(source):
        return ()
    there = digit_values(text, lists=not LANGUAGES[language].spaced)
    # A number that is written twice need be there once, as any of the things it is the number of.
    ways: dict[str, list[Way]] = {}
    written: dict[str, str] = {}
    for item in _ITEM.finditer(source):
        number = item["clock"] or item["numeral"] or item.group()
        ways.setdefault(number, []).extend(_ways(item, language))
        written.setdefault(number, item.group().strip())
    lost = [number for number, found in ways.items() if not _satisfied(found, there)]
    if lost:
        there |= number_words.values(text, language, readings, spelt_out=spelt_out)
    return tuple(written[number] for number in lost if not _satisfied(ways[number], there))


@functools.lru_cache(maxsize=1)  # One source, and its translations one after the other.
def _of_source(text: str) -> tuple[str, frozenset[str]]:
    """A source text, prepared, and its numerals."""
    text = _prepared(_EXPONENT.sub(r"\1", text))
    return text, frozenset(_NUMERAL.findall(text))


def calculator_mark(text: str) -> str | None:
    """The first calculator mark of a text, such as `<<48/2=24>>`; None if there is none."""
    found = _MARK.search(text) if "<<" in text or ">>" in text else None
    return found.group() if found else None


def strip_calculator_marks(text: str) -> str:
    """A text without GSM8K's calculator marks: `48/2 = <<48/2=24>>24` becomes `48/2 = 24`.

    Marks inside marks go too, and marks that lack brackets on one side, so long as what stands
    there is a calculation: `<<5*2=10>10` and `5*2=10>>10` become `10`. Other angle brackets stay.
    """
    while _MARK.search(text):
        text = _MARK.sub("", text)
    return text


def readings(numeral: str) -> tuple[Fraction, ...]:
    """What digits with marks between them may mean.

    >>> [str(value) for value in readings("1.250")]
    ['1250', '5/4']
    """
    if len(numeral) > _LONGEST:
        return ()
    if numeral.isdecimal():
        return (Fraction(numeral),)
    found: dict[Fraction, None] = {}
    grouped = _GROUPED.fullmatch(numeral) or _INDIAN.fullmatch(numeral)
    if grouped:
        whole = numeral[: grouped.start("decimals") - 1] if grouped["decimals"] else numeral
        digits = "".join(filter(str.isdecimal, whole))
        found[Fraction(f"{digits}.{grouped['decimals'] or 0}")] = None
    parts = re.split("[.,']", numeral)
    if _DECIMAL.fullmatch(numeral) and not (grouped and parts[1] == "000"):
        found[Fraction(".".join(parts))] = None
    # Numbers apart after all: "10, 20,30", or "3 500" of three boxes and 500 pens.
    if not found or ("'" in numeral and not any(part[0] == "0" for part in parts)):
        found.update(dict.fromkeys(map(Fraction, parts)))
    return tuple(found)


def digit_values(text: str, *, lists: bool = False) -> set[Fraction]:
    """Every value that the digits of a text may express.

    Args:
      text: as `_prepared` gives it.
      lists: whether a comma may separate two numbers without a space.
    """
    found: set[Fraction] = set()
    for numeral in _NUMERAL.findall(text):
        found.update(readings(numeral))
        if lists and "," in numeral:
            found.update(*map(readings, numeral.split(",")))
    for whole, over, under in _RATIO.findall(text):
        ratio = Fraction(int(over), int(under))
        found.update((ratio, ratio + int(whole or 0)))
    for left in _DISCOUNT.findall(text):
        found.add(100 * (1 - Fraction("0." + left.translate(_TENTHS))))
    return found


def _prepared(text: str) -> str:
    """The text with ASCII digits and marks; groups of three after a space stand after "'"."""
    if not text.isascii():
        text = _OTHER_DIGIT.sub(lambda match: str(int(match.group())), text).translate(_FORMS)
    return _GROUP_SPACE.sub("'", _BARE_POINT.sub("0.", text))


def _satisfied(ways: Sequence[Way], there: set[Fraction]) -> bool:
    return any(there.issuperset(way) for way in ways)


def _ways(item: re.Match[str], language: str) -> Iterator[Way]:
    """In what ways a number of the source may appear in a translation."""
    if item["hour"] or item["clock"]:
        yield from _times(int(item["hour"] or item["clock"]), int(item["minute"] or 0), language)
    elif item["over"]:
        yield from _fractions(int(item["whole"] or 0), int(item["over"]), int(item["under"]))
    elif item["and"]:
        yield (Fraction(item["and"]) + _PIECES[item["piece"].lower()],)
        yield Fraction(item["and"]), _PIECES[item["piece"].lower()]
    else:
        for value in readings(item["numeral"]):
            yield from _amounts(item, value, language)


def _times(hour: int, minute: int, language: str) -> Iterator[Way]:
    hours = {hour, (hour + 12) % 24}
    if language == "sw":  # Counts hours from sunrise: 8 o'clock is the second hour.
        hours |= {(hour + 6) % 12 or 12}
    for h, after in ((Fraction(h), Fraction(h % 12 + 1)) for h in sorted(hours)):
        if not minute:
            yield (h,)
            continue
        yield h, Fraction(minute)
        yield (h + Fraction(minute, 100),)  # 10.30 Uhr
        yield after, Fraction(60 - minute)
        if minute % 15 == 0:  # Half past five, halb sechs, a quarter to six.
            yield h, Fraction(minute, 60)
            yield after, Fraction(60 - minute, 60)


def _fractions(whole: int, over: int, under: int) -> Iterator[Way]:
    ratio = Fraction(over, under)
    if whole:
        yield (whole + ratio,)
    before = (Fraction(whole),) if whole else ()
    yield *before, ratio
    yield *before, Fraction(over), Fraction(under)
    yield *before, Fraction(over), Fraction(1, under)
    yield *before, 100 * ratio
    if over == 1:
        yield *before, Fraction(under)


def _amounts(item: re.Match[str], value: Fraction, language: str) -> Iterator[Way]:
    if item["scale"]:
        yield (value * _SCALES[item["scale"].lower()],)
        return
    yield (value,)
    if item.group() == "1" and language in _NO_ARTICLE:
        yield ()
    whole, part = Fraction(value // 1), value % 1
    if part:
        yield whole, part  # Two and a half.
        yield (value * 100,)
        if item["money"]:
            yield whole, part * 100
    if item["percent"] and value != 100:
        yield (value / 100,)
    if item["unit"]:
        size, counts = _LARGER[item["unit"].strip(" -").lower().removesuffix("s")]
        if value in counts:
            yield (value / size,)
    if item["several"]:  # The 1980s, the eighties.
        yield (value % 100,)
    if item["k"]:
        yield (value * 1000,)
