"""The final number of a generation, whatever script, locale or phrase it is written in.

How a number is read:

- Digits of every script count (১৬, ๑๖, ٣, full-width), and so do the thousands marks of every
  locale: 1,000 / 1.000 / 1 000 (and no-break, thin and figure spaces) / 1'000 / 1,00,000.
- One comma or dot before exactly three digits (1.000) could mean either. It is a thousands mark,
  unless the same text uses that mark unmistakably as its decimal mark (12.50, 0.125, 1,234.5) or
  the other one unmistakably for thousands (1,000,000), and nowhere the reverse. 0.125 and 1234.567
  are not ambiguous: nobody groups like that.
- A minus belongs to the number it touches unless it stands after a number, a word or a bracket:
  "x = -3", "-$3" and "答えは-3" are -3, "5-3" is 5 and 3, "COVID-19" is 19.
- Fractions (3/4, 2 1/2, ½, \\frac{3}{4}) are left alone: neither evaluated nor read as their parts.
- Lists without spaces (10,20,30) are separate numbers.

Two readings are reported: `strict` takes only a number that is marked as the answer, `flexible`
the last number of the text where none is.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal

# A currency before a number; locales write it between the number and its minus (-$5, -R$ 5,
# -TSh 5), or before both (CHF-5).
_SIGNS = "$¢£¤¥؋৲৳฿₠-₿﷼＄￡￥￦"
_NAMES = "USD|EUR|GBP|CHF|RUB|JPY|CNY|RMB|INR|THB|BDT|TZS|KES|TSh|KSh|Rs|Tk"
_CURRENCY = rf"(?:[A-Z]{{0,2}}\\?[{_SIGNS}]|(?<![A-Za-z])(?:{_NAMES})\.?)"
# With it, the invisible direction marks of Arabic, Persian and Hebrew.
_MONEY = re.compile(rf"(?:{_CURRENCY} ?|[\u061c\u200e\u200f])+$")

# What announces the final number. The phrases are those of MGSM's demonstrations (Shi et al.,
# arXiv 2210.03057); bare words and "####", which is a heading in Markdown too, must be followed by
# the number itself, or by its currency.
_NUMBER_NEXT = rf"(?=[^\w\n]*(?:{_CURRENCY}[^\w\n]*)?[\d½])"
ANSWER_MARKERS: dict[str, str] = {
    "gsm8k": "####" + _NUMBER_NEXT,
    "latex": r"\\boxed\s*\{",
    "en": r"\banswer\s+is\b|\bfinal answer\s*[:=]",
    "de": r"\bantwort\s+ist\b",
    "fr": r"\bréponse\s+est\b",
    "es": r"\brespuesta\s+es\b",
    "ru": r"\bответ" + _NUMBER_NEXT,
    "zh": "答案[是为]",
    "ja": "答えは",
    "th": "คำตอบคือ",
    "te": "సమాధానం" + _NUMBER_NEXT,
    "bn": "উত্তর হল",
    "sw": r"\bjibu\s+ni\b",
}
LAST_NUMBER = "last_number"
"""The rule that reads a text in which no answer is marked; the other rules are the markers."""

_MARKER = re.compile(
    "|".join(f"(?P<{name}>{marker})" for name, marker in ANSWER_MARKERS.items()), re.IGNORECASE
)
_DIGIT = re.compile(r"[\d½]")
_NOT_BLANK = re.compile(r"[^\s:]")
_CLAUSE_END = re.compile(r"[.!?](?=\s|$)|[。।]")

_ONE_CHARACTER_FORMS = str.maketrans(
    dict.fromkeys("\u00a0\u2007\u2009\u202f", " ")
    | dict.fromkeys("\u2019\u066c", "'")
    | dict.fromkeys("\u2212\u2013\ufe63\uff0d", "-")
    | {"\uff1d": "=", "\u2044": "/"}
)
# Between digits of other widths, a full-width comma is a comma: 一共有16，3个是红的.
_FULL_WIDTH_MARK = re.compile("(?<=[\uff10-\uff19])[\uff0c\uff0e](?=[\uff10-\uff19])")
_LATEX_MARK = re.compile(r"(?<=\d)(?:\{,\}|\\,)(?=\d)")
_FRACTION = re.compile(
    r"(?<![\d.,'])(?:\d{1,3} )?\d[\d.,']*(?:/\d[\d.,']*(?<!\D))+"
    r"|(?:(?<!\d)\d+ ?)?[¼-¾⅐-⅞]"
    r"|\\[dt]?frac\s*\{[^{}]*\}\s*\{[^{}]*\}"
)

# A run is digits with single marks between them; most are one number, some are lists.
_RUN = re.compile(r"(?:(?<![\w.,')])\.)?\d+(?:[.,' ٫]\d+)*")
_LIST_MARKS = " ,'.٫"
# Thai, kana and Han: without spaces between words, a minus after a letter is no hyphen.
_UNSPACED_LETTER = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")
_ONE_NUMBER = re.compile(
    r"""
    (?P<whole>
        [1-9]\d{0,2} (?P<mark>[,.'\ ]) \d{3} (?P<more> (?:(?P=mark)\d{3})* )
      | [1-9]\d? (?P<indian>,) \d\d (?:,\d\d)* ,\d{3}
      | \d*
    )
    (?: (?!(?P=mark)|(?P=indian)) (?P<point>[.,٫]) (?P<decimals>\d+) )?
    """,
    re.VERBOSE,
)


@dataclasses.dataclass(frozen=True)
class Extracted:
    """A number read from a text.

    Attributes:
      value: the number, exactly as written.
      rule: what found it: a key of `ANSWER_MARKERS`, or `LAST_NUMBER`.
      span: where it stands in the text, its sign included: from the first, up to before the second.
    """

    value: Decimal
    rule: str
    span: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class _Numeral:
    """A written number: where it starts, and its parts as matched by `_ONE_NUMBER`."""

    start: int
    parts: re.Match[str]

    @property
    def ambiguous_mark(self) -> str | None:
        """The comma or dot that could mean thousands or decimals, if this numeral has one."""
        parts = self.parts
        single = parts["mark"] in (",", ".") and not parts["more"] and not parts["point"]
        return parts["mark"] if single else None


@dataclasses.dataclass(frozen=True)
class _Number:
    """A number of a prepared text: where its digits start, its span with its sign, its value."""

    start: int
    span: tuple[int, int]
    value: Decimal


def numbers(text: str | None) -> tuple[Decimal, ...]:
    """Every number in the text, in order."""
    return tuple(number.value for number in _found(_prepared(text or "")))


def strict(text: str | None) -> Extracted | None:
    """The number that the text marks as its answer ("The answer is 72", "#### 72", \\boxed{72}).

    Returns:
      The number after the last marker of `ANSWER_MARKERS` that a number or a fraction follows;
      None if there is none, or if it is a fraction.
    """
    return _extracted(text or "", last=False)


def flexible(text: str | None) -> Extracted | None:
    """The number a generation gives as its answer: the marked one, else the last of the text.

    Returns:
      The number; None if there is none, or if what is marked is a fraction.
    """
    return _extracted(text or "", last=True)


def last_number(text: str | None) -> Decimal | None:
    """The value of `flexible`; None if it finds nothing."""
    found = flexible(text)
    return found.value if found else None


def same_number(a: Decimal | None, b: Decimal | None) -> bool:
    """Whether both are numbers and equal (72.0 is 72; no answer equals nothing)."""
    return a is not None and b is not None and a == b


def plain(value: Decimal) -> str:
    """The number in plain ASCII form, without needless zeros: "72", "-3.5"."""
    digits = format(value, "f")
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return "0" if digits == "-0" else digits


def _extracted(text: str, *, last: bool) -> Extracted | None:
    """The marked number, else, if `last` says so, the last one."""
    prepared = _prepared(text)
    found = _found(prepared)
    limit = len(prepared)
    for marker in reversed(list(_MARKER.finditer(prepared))):
        start, end = _clause(prepared, marker.end(), limit)
        limit = marker.start()
        if _DIGIT.search(prepared, start, end):
            result = prepared.rfind("=", start, end)
            marked = [n for n in found if start <= n.start < end]
            marked = [n for n in marked if n.start >= result] or marked
            return _placed(text, marked[0], str(marker.lastgroup)) if marked else None
    return _placed(text, found[-1], LAST_NUMBER) if found and last else None


def _placed(text: str, number: _Number, rule: str) -> Extracted:
    """The number with its span in the text as it was before `_prepared` shortened it."""
    start, end = number.span
    for mark in _LATEX_MARK.finditer(_in_ascii(text)):
        longer = len(mark[0]) - 1
        start += longer if mark.start() < start else 0
        end += longer if mark.start() < end else 0
    return Extracted(number.value, rule, (start, end))


def _in_ascii(text: str) -> str:
    """The text with ASCII digits and marks, character by character."""
    text = _FULL_WIDTH_MARK.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    text = re.sub(r"[^\D0-9]", lambda match: str(unicodedata.decimal(match[0])), text)
    return text.translate(_ONE_CHARACTER_FORMS)


def _prepared(text: str) -> str:
    """The text with ASCII digits and marks, and every fraction blotted out with "½"."""
    text = _LATEX_MARK.sub(",", _in_ascii(text))
    return _FRACTION.sub(lambda match: "½" * len(match[0]), text)


def _found(prepared: str) -> list[_Number]:
    """Every number of a prepared text."""
    numerals = [n for run in _RUN.finditer(prepared) for n in _numerals(run.start(), run[0])]
    decimal_marks = {mark for numeral in numerals for mark in _shown_decimal_marks(numeral)}
    found = []
    for numeral in numerals:
        sign = _sign(prepared, numeral.start)
        value = _value(numeral, decimal_marks)
        begin = numeral.start if sign is None else sign
        span = (begin, numeral.start + len(numeral.parts[0]))
        found.append(_Number(numeral.start, span, value if sign is None else value.copy_negate()))
    return found


def _numerals(start: int, run: str) -> Iterator[_Numeral]:
    """The run as one number if it reads as one, else as the numbers of a list."""
    if parts := _ONE_NUMBER.fullmatch(run):
        yield _Numeral(start, parts)
        return
    mark = next(mark for mark in _LIST_MARKS if mark in run)
    for piece in run.split(mark):
        if piece:
            yield from _numerals(start, piece)
        start += len(piece) + 1


def _shown_decimal_marks(numeral: _Numeral) -> Iterator[str]:
    """The decimal marks this numeral leaves no doubt about."""
    if numeral.ambiguous_mark is None:
        parts = numeral.parts
        if parts["point"] in (",", "."):
            yield parts["point"]
        if (thousands := parts["mark"] or parts["indian"]) in (",", "."):
            yield {",": ".", ".": ","}[thousands]


def _value(numeral: _Numeral, decimal_marks: set[str]) -> Decimal:
    """What the numeral is worth without its sign, given the decimal marks shown in its text."""
    whole, decimals = numeral.parts["whole"], numeral.parts["decimals"] or ""
    if numeral.ambiguous_mark is not None and decimal_marks == {numeral.ambiguous_mark}:
        whole, decimals = whole.split(numeral.ambiguous_mark)
    whole = re.sub("[,.' ]", "", whole) or "0"
    return Decimal(f"{whole}.{decimals}" if decimals else whole)


def _sign(prepared: str, start: int) -> int | None:
    """Where the minus of the number at `start` stands, if it is negative.

    A minus that is a subtraction or a hyphen is none.
    """
    first = max(0, start - 20)
    before = _MONEY.sub("", prepared[first:start])
    if not before.endswith("-"):
        return first + len(before) - 2 if before.endswith(("=- ", "= - ")) else None
    left = _MONEY.sub("", before[:-1])
    operand = _MONEY.sub("", left.rstrip(" ")).rstrip(" ")[-1:]
    if operand and (operand in ")]}%" or unicodedata.category(operand)[0] == "N"):
        return None
    word = left and unicodedata.category(left[-1])[0] in "LM"
    hyphen = word and not _UNSPACED_LETTER.match(left[-1])
    return None if hyphen else first + len(before) - 1


def _clause(prepared: str, start: int, limit: int) -> tuple[int, int]:
    """Start and end of what follows an answer marker: to the first sentence end after a digit."""
    first = _NOT_BLANK.search(prepared, start, limit)
    if first is None:
        return limit, limit
    line_end = prepared.find("\n", first.start(), limit)
    line_end = limit if line_end < 0 else line_end
    digit = _DIGIT.search(prepared, first.start(), line_end)
    end = _CLAUSE_END.search(prepared, digit.start(), line_end) if digit else None
    return first.start(), end.start() if end else line_end
