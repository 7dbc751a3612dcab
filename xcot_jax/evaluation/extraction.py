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
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal

# What announces the final number. The phrases are those of MGSM's demonstrations (Shi et al.,
# arXiv 2210.03057); bare words and "####", which is a heading in Markdown too, must be followed by
# the number itself.
_NUMBER_NEXT = r"(?=[^\w\n]*[\d½])"
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
_MARKER = re.compile("|".join(ANSWER_MARKERS.values()), re.IGNORECASE)
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
_CURRENCY = "$€£¥₹฿৳"
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


def numbers(text: str | None) -> tuple[Decimal, ...]:
    """Every number in the text, in order."""
    prepared = _prepared(text or "")
    return tuple(value for _, value in _found(prepared))


def last_number(text: str | None) -> Decimal | None:
    """The number a generation gives as its answer.

    That is the number after the last answer marker ("The answer is 72", "#### 72", \\boxed{72}; see
    `ANSWER_MARKERS`) or, where nothing is marked, the last number of the text.

    Returns:
      The number, exactly as written; None if there is none, or if what is marked is a fraction.
    """
    prepared = _prepared(text or "")
    found = _found(prepared)
    limit = len(prepared)
    for marker in reversed(list(_MARKER.finditer(prepared))):
        start, end = _clause(prepared, marker.end(), limit)
        limit = marker.start()
        if _DIGIT.search(prepared, start, end):
            result = prepared.rfind("=", start, end)
            marked = [value for at, value in found if start <= at < end]
            marked = [value for at, value in found if max(start, result) <= at < end] or marked
            return marked[0] if marked else None
    return found[-1][1] if found else None


def same_number(a: Decimal | None, b: Decimal | None) -> bool:
    """Whether both are numbers and equal (72.0 is 72; no answer equals nothing)."""
    return a is not None and b is not None and a == b


def plain(value: Decimal) -> str:
    """The number in plain ASCII form, without needless zeros: "72", "-3.5"."""
    digits = format(value, "f")
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return "0" if digits == "-0" else digits


def _prepared(text: str) -> str:
    """The text with ASCII digits and marks, and every fraction blotted out with "½"."""
    text = _FULL_WIDTH_MARK.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    text = re.sub(r"[^\D0-9]", lambda match: str(unicodedata.decimal(match[0])), text)
    text = _LATEX_MARK.sub(",", text.translate(_ONE_CHARACTER_FORMS))
    return _FRACTION.sub(lambda match: "½" * len(match[0]), text)


def _found(prepared: str) -> list[tuple[int, Decimal]]:
    """Start and value of every number of a prepared text."""
    numerals = [n for run in _RUN.finditer(prepared) for n in _numerals(run.start(), run[0])]
    decimal_marks = {mark for numeral in numerals for mark in _shown_decimal_marks(numeral)}
    return [(n.start, _value(prepared, n, decimal_marks)) for n in numerals]


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


def _value(prepared: str, numeral: _Numeral, decimal_marks: set[str]) -> Decimal:
    """What the numeral is worth, given the decimal marks shown in its text."""
    whole, decimals = numeral.parts["whole"], numeral.parts["decimals"] or ""
    if numeral.ambiguous_mark is not None and decimal_marks == {numeral.ambiguous_mark}:
        whole, decimals = whole.split(numeral.ambiguous_mark)
    sign = "-" if _is_negative(prepared, numeral.start) else ""
    whole = re.sub("[,.' ]", "", whole) or "0"
    return Decimal(f"{sign}{whole}.{decimals}" if decimals else sign + whole)


def _is_negative(prepared: str, start: int) -> bool:
    """Whether a minus before this position is a sign rather than a subtraction or a hyphen."""
    before = prepared[max(0, start - 20) : start].rstrip(_CURRENCY)
    if not before.endswith("-"):
        return before.endswith(("=- ", "= - "))
    left = before[:-1].rstrip(_CURRENCY)
    operand = left.rstrip(_CURRENCY + " ")[-1:]
    if operand and (operand in ")]}%" or unicodedata.category(operand)[0] == "N"):
        return False
    word = left and unicodedata.category(left[-1])[0] in "LM"
    return not word or bool(_UNSPACED_LETTER.match(left[-1]))


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
